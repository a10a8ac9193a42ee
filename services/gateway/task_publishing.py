"""Publishing a scheduled task: from what the tenant sent to the workflow behind it, in one transaction.

The workflow is stored as any other, with a version for every change, but it is of the kind `task`, so that only what
stands here changes it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from uuid import UUID

import msgspec

from libs.common.actions.installed import checkers
from libs.common.clock import new_id
from libs.common.db import scheduled_tasks as table
from libs.common.db import triggers as trigger_table
from libs.common.db import workflows as workflow_table
from libs.common.db.pool import Connection
from libs.common.db.scheduled_tasks import StoredTask
from libs.common.domain.faults import is_object
from libs.common.domain.scheduled_task import ReadTask, read_task, task_path
from libs.common.domain.templates import has_template
from libs.common.errors import Fault, InvalidInput, NotFound
from libs.common.schedule_pass import fire_before_edit
from services.gateway.auditing import note
from services.gateway.parts import Caller, GatewayParts
from services.gateway.preconditions import check_if_match
from services.gateway.publishing import store_version

Change = Callable[[dict[str, Any]], Mapping[str, Any]]
"""From the stored document to the new one."""

_READ_ONLY = frozenset({
    "id", "version", "created_at", "updated_at", "created_by", "updated_by", "trigger_id", "next_run_at", "paused",
    "paused_at", "paused_note", "paused_by", "runs",
})  # fmt: skip


async def create_task(parts: GatewayParts, caller: Caller, raw: Mapping[str, Any]) -> StoredTask:
    """Store version 1. Raises `InvalidInput`, or `Conflict` when another task has the name."""
    document, task_id = _without_read_only(raw), new_id()
    async with parts.database.for_tenant(caller.tenant_id).transaction() as connection:
        task = await _checked(connection, caller, document)
        async with parts.limits.making(connection, caller.tenant_id, task.definition):
            await workflow_table.insert_workflow(
                connection, caller.tenant_id, task_id, task.definition.name, enabled=task.definition.enabled,
                kind="task",
            )  # fmt: skip
            await note(connection, "scheduled_task.created", task_id, None, document)
            return await _stored(parts, caller, connection, task_id, 1, document, task)


async def change_task(
    parts: GatewayParts, caller: Caller, task_id: UUID, if_match: str | None, change: Change
) -> StoredTask:
    """Store the next version; the schedule keeps its ledger. Raises `NotFound`, `StaleVersion`, `InvalidInput` or
    `Conflict`.
    """
    async with parts.database.for_tenant(caller.tenant_id).transaction() as connection:
        old = await _locked(connection, caller, task_id, if_match)
        document, version = _without_read_only(change(msgspec.json.decode(old.document))), old.version + 1
        task = await _checked(connection, caller, document)
        fired = await fire_before_edit(connection, parts.acceptor, caller.tenant_id, task_id)
        name, enabled = task.definition.name, task.definition.enabled
        await workflow_table.advance_workflow(
            connection, caller.tenant_id, task_id, name, enabled=enabled, version=version
        )
        async with parts.limits.making(connection, caller.tenant_id, task.definition):
            stored = await _stored(parts, caller, connection, task_id, version, document, task)
        await note(connection, "scheduled_task.changed", task_id, old.document, document)
    fired.tell(parts.acceptor)
    return stored


async def remove_task(parts: GatewayParts, caller: Caller, task_id: UUID, if_match: str | None) -> None:
    """It runs no more and its name is free; its executions stay. Raises `NotFound` or `StaleVersion`."""
    async with parts.database.for_tenant(caller.tenant_id).transaction() as connection:
        old = await _locked(connection, caller, task_id, if_match)
        await note(connection, "scheduled_task.deleted", task_id, old.document)
        await trigger_table.sync_triggers(connection, caller.tenant_id, task_id, [])
        await workflow_table.delete_workflow(connection, caller.tenant_id, task_id)


async def find_task(connection: Connection, caller: Caller, task_id: UUID) -> StoredTask:
    """The caller's task. Raises `NotFound`."""
    return await table.find_task(connection, caller.tenant_id, task_id) or _unknown()


async def _locked(connection: Connection, caller: Caller, task_id: UUID, if_match: str | None) -> StoredTask:
    stored = await table.lock_task(connection, caller.tenant_id, task_id) or _unknown()
    check_if_match(if_match, stored.version, "task")
    return stored


async def _checked(connection: Connection, caller: Caller, document: Mapping[str, Any]) -> ReadTask:
    task, faults = read_task(document, checkers())
    faults += await _reference_faults(connection, caller, document)
    if task is None or faults:
        raise InvalidInput(faults, "The task has faults.")
    return task


async def _reference_faults(connection: Connection, caller: Caller, document: Mapping[str, Any]) -> list[Fault]:
    """That the workflow which it runs is not there."""
    config: object = document.get("config")
    name: object = config.get("workflow") if document.get("type") == "workflow" and is_object(config) else None
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 200 or has_template(name):
        return []
    if await workflow_table.resolve_workflow(connection, caller.tenant_id, name) is not None:
        return []
    return [Fault("config.workflow", f"there is no workflow {name!r}")]


async def _stored(
    parts: GatewayParts, caller: Caller, connection: Connection, task_id: UUID, version: int,
    document: dict[str, Any], task: ReadTask,
) -> StoredTask:  # fmt: skip
    text = msgspec.json.encode(document).decode()
    try:
        await store_version(parts, caller, connection, task_id, version, task.document, task.definition, text)
    except InvalidInput as error:
        moved = [Fault(task_path(document["type"], fault.path), fault.message) for fault in error.faults]
        raise InvalidInput(moved, "The task has faults.") from None
    return await find_task(connection, caller, task_id)


def _without_read_only(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What was read can be sent back."""
    return {name: value for name, value in raw.items() if name not in _READ_ONLY}


def _unknown() -> NoReturn:
    raise NotFound("There is no such scheduled task.")
