"""Rows for tests that begin in the middle: a tenant with a workflow, its triggers, executions in any state, calls.

Everything is stored by the product's own statements, so it can only be what the product may store.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from libs.common.accept import NewExecution
from libs.common.clock import new_id
from libs.common.db.accepting import CallRow, insert_accepted
from libs.common.db.executions import ActionRow, ExecutionChange, change_executions
from libs.common.db.pool import Connection
from libs.common.db.tenants import insert_tenant
from libs.common.db.triggers import StoredTrigger, list_triggers, sync_triggers
from libs.common.db.workflows import insert_version, insert_workflow

LOG = {"key": "say", "type": "log", "config": {"message": "hello"}}
_ENDED = ("completed", "failed", "cancelled", "timed_out")


async def make_tenant(connection: Connection, slug: str = "acme") -> UUID:
    """A new tenant; returns its id."""
    return (await insert_tenant(connection, new_id(), slug, slug)).id


async def make_workflow(
    connection: Connection, tenant_id: UUID, name: str = "Work", *, actions: Sequence[Mapping[str, Any]] = (LOG,)
) -> UUID:
    """An enabled workflow with its version 1; returns its id."""
    workflow_id, definition = new_id(), {"name": name, "actions": list(actions)}
    await insert_workflow(connection, tenant_id, workflow_id, name, enabled=True)
    await insert_version(connection, tenant_id, workflow_id, 1, msgspec.json.encode(definition).decode(), None)
    return workflow_id


async def make_task(connection: Connection, tenant_id: UUID, name: str = "Nightly") -> UUID:
    """An enabled scheduled task that is never due; returns its id."""
    task_id, definition = new_id(), {"name": name, "actions": [LOG]}
    await insert_workflow(connection, tenant_id, task_id, name, enabled=True, kind="task")
    task = {"name": name, "type": "action", "schedule": {"type": "interval", "hours": 1}, "config": {"type": "log"}}
    texts = [msgspec.json.encode(value).decode() for value in (definition, task)]
    await insert_version(connection, tenant_id, task_id, 1, texts[0], None, texts[1])
    await make_trigger(connection, tenant_id, task_id, key="schedule", kind="schedule")
    return task_id


def trigger_row(workflow_id: UUID, key: str = "hook", kind: str = "webhook", **more: Any) -> StoredTrigger:
    """A trigger to be stored; `more` replaces fields."""
    row = StoredTrigger(new_id(), workflow_id, key, kind, "{}", None, True, None, None, None)
    return msgspec.structs.replace(row, **more)


async def make_trigger(connection: Connection, tenant_id: UUID, workflow_id: UUID, **more: Any) -> UUID:
    """One more trigger of a workflow; returns its id. `more`: as of `trigger_row`."""
    trigger = trigger_row(workflow_id, **more)
    kept = await list_triggers(connection, tenant_id, [workflow_id])
    await sync_triggers(connection, tenant_id, workflow_id, [*kept, trigger])
    return trigger.id


def new_execution(tenant_id: UUID, workflow_id: UUID, **more: Any) -> NewExecution:
    """An execution to be accepted; `more` replaces fields."""
    new = NewExecution(tenant_id, workflow_id, 1, None, "", "manual", b"{}", id=new_id())
    return msgspec.structs.replace(new, **more)


def call_row(tenant_id: UUID, trigger_id: UUID, execution_id: UUID | None = None, **more: Any) -> CallRow:
    """A webhook call to be logged; `more` replaces fields."""
    outcome, status = ("no_match", 200) if execution_id is None else ("accepted", 202)
    row = CallRow(
        tenant_id, new_id(), trigger_id, execution_id, outcome, status, "POST", "", "{}", b"{}", "203.0.113.7", "", 500
    )
    return msgspec.structs.replace(row, **more)


def action_row(status: str = "completed", position: int = 0, **more: Any) -> ActionRow:
    """The record of an attempt; `more` replaces fields."""
    now = datetime.now(UTC)
    finished = None if status in ("started", "waiting") else now
    row = ActionRow(position, 0, 1, f"a{position}", "log", status, "{}", "{}", None, now, finished, None, None)
    return msgspec.structs.replace(row, **more)


def execution_change(
    tenant_id: UUID,
    execution_id: UUID,
    epoch: int,
    status: str = "running",
    *,
    claims: bool = False,
    records: Sequence[ActionRow] = (),
) -> ExecutionChange:
    """What a worker writes of an execution; one that waits is due at once."""
    now = datetime.now(UTC)
    return ExecutionChange(
        tenant_id, execution_id, epoch, claims, status, now if status == "waiting" else None, None, None, len(records),
        len(records), 0, 0, now, now if status in _ENDED else None, records,
    )  # fmt: skip


async def make_execution(
    connection: Connection,
    tenant_id: UUID,
    workflow_id: UUID,
    status: str = "pending",
    *,
    worker: UUID | None = None,
    records: Sequence[ActionRow] = (),
    **more: Any,
) -> UUID:
    """An execution; returns its id. Any status but `pending` is written by a worker that takes it (`worker`, or one
    that nobody knows), with these records. `more`: as of `new_execution`.
    """
    new = new_execution(tenant_id, workflow_id, **more)
    await insert_accepted(connection, [new.row()])
    if status != "pending":
        change = execution_change(tenant_id, new.id, 1, status, claims=True, records=records)
        assert await change_executions(connection, worker or new_id(), [change]) == {new.id}
    return new.id
