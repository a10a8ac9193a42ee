"""Executions: lists, one with the record of every attempt, and its live stream."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

import msgspec
from litestar import Router, get
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream

from libs.common.clock import id_time
from libs.common.db import execution_views as table
from libs.common.db.execution_views import ExecutionFilter, StoredAttempt, StoredExecution
from libs.common.db.pool import Database
from libs.common.db.workflows import find_workflow
from libs.common.domain.execution import TERMINAL, ActionStatus, ExecutionStatus, Failure
from libs.common.domain.frames import MAX_ITEMS
from libs.common.errors import NotFound
from services.gateway.auth import caller_of, parts_of, require_member
from services.gateway.bodies import AnyRequest
from services.gateway.documents import TENANT_SECURITY, problems
from services.gateway.live import EVENT_STREAM, LiveStreams
from services.gateway.paging import DEFAULT_LIMIT, Cursor, From, Limit, Offset, Page, To, id_bound, page, window

_read_failure = msgspec.json.Decoder(Failure).decode

Status: TypeAlias = Literal["pending", "running", "waiting", "completed", "failed", "cancelled", "timed_out"]
Statuses: TypeAlias = Annotated[
    list[Status] | None, QueryParameter(name="status", description="May stand several times")
]
TriggerKind: TypeAlias = Annotated[
    Literal["manual", "schedule", "webhook", "event"] | None, QueryParameter(name="trigger_type")
]


class TriggerRef(msgspec.Struct, frozen=True):
    """What started an execution; `id` is null for a manual run."""

    id: UUID | None
    type: str


class ActionExecution(msgspec.Struct, frozen=True):
    """One attempt of one action. `position`: place in the workflow; `index`: loop index within `for_each`, else 0;
    `why`: the reason for which it was skipped.
    """

    key: str
    type: str
    position: int
    index: int
    attempt: int
    status: str
    success: bool
    input: Any
    output: Any
    error: Any
    why: str | None
    started_at: datetime
    finished_at: datetime | None
    duration_ms: float | None
    wake_at: datetime | None


class ExecutionSummary(msgspec.Struct, frozen=True):
    """An execution without its actions. `progress`: percent of the actions that are settled."""

    id: UUID
    workflow_id: UUID
    version: int
    trigger: TriggerRef
    status: str
    progress: int
    total_actions: int
    executed_actions: int
    failed_actions: int
    skipped_actions: int
    input: Any
    output: Any
    error: Any
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: float | None
    wake_at: datetime | None
    paused: bool
    actor: str | None
    parent_id: UUID | None
    retry_of: UUID | None
    trace_id: str | None


class Execution(ExecutionSummary, frozen=True):
    """An execution with every attempt of its actions, in the order of the workflow."""

    actions: list[ActionExecution]


@get("/executions", responses=problems(400, 403, 422), summary="List executions")
async def list_executions(
    request: AnyRequest,
    statuses: Statuses = None,
    workflow_id: FromQuery[UUID | None] = None,
    trigger_kind: TriggerKind = None,
    created_from: From = None,
    created_to: To = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    offset: Offset = 0,
) -> Page[ExecutionSummary]:
    """Newest first, over all workflows or of one."""
    caller, wanted = caller_of(request), window(limit, cursor, offset)
    chosen = _filter(statuses, trigger_kind, created_from, created_to)
    after, rows, offset = wanted.after_id, wanted.rows, wanted.offset
    async with parts_of(request).database.connection() as connection:
        if workflow_id is None:
            found = await table.list_executions(
                connection, caller.tenant_id, chosen, after=after, limit=rows, offset=offset
            )
        else:
            found = await table.list_workflow_executions(
                connection, caller.tenant_id, workflow_id, chosen, after=after, limit=rows, offset=offset
            )
    return page(found, wanted, summary_of, lambda row: row.id)


@get(
    "/workflows/{workflow_id:uuid}/executions", responses=problems(400, 403, 404, 422),
    summary="List the executions of a workflow",
)  # fmt: skip
async def list_workflow_executions(
    request: AnyRequest,
    workflow_id: FromPath[UUID],
    statuses: Statuses = None,
    trigger_kind: TriggerKind = None,
    created_from: From = None,
    created_to: To = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    offset: Offset = 0,
) -> Page[ExecutionSummary]:
    """Newest first."""
    caller, wanted = caller_of(request), window(limit, cursor, offset)
    chosen, after = _filter(statuses, trigger_kind, created_from, created_to), wanted.after_id
    async with parts_of(request).database.connection() as connection:
        if await find_workflow(connection, caller.tenant_id, workflow_id) is None:
            raise NotFound("There is no such workflow.")
        found = await table.list_workflow_executions(
            connection, caller.tenant_id, workflow_id, chosen, after=after, limit=wanted.rows, offset=wanted.offset
        )
    return page(found, wanted, summary_of, lambda row: row.id)


@get("/executions/{execution_id:uuid}", responses=problems(400, 403, 404), summary="Show an execution with its actions")
async def show_execution(request: AnyRequest, execution_id: FromPath[UUID]) -> Execution:
    """One execution and every attempt of its actions."""
    return await _load(parts_of(request).database, caller_of(request).tenant_id, execution_id)


@get(
    "/executions/{execution_id:uuid}/stream", responses=problems(400, 403, 404), summary="Follow an execution",
    media_type=EVENT_STREAM,
)  # fmt: skip
async def stream_execution(request: AnyRequest, execution_id: FromPath[UUID]) -> Stream:
    """Server-sent events: the whole execution now and after every change, until it has ended."""
    tenant_id, database = caller_of(request).tenant_id, parts_of(request).database

    async def look() -> tuple[bytes, bool]:
        execution = await _load(database, tenant_id, execution_id)
        return msgspec.json.encode(execution), execution.status in TERMINAL

    present = await look()
    streams: LiveStreams = request.app.state["live_streams"]
    return Stream(streams.follow(tenant_id, execution_id, present, look), media_type=EVENT_STREAM)


@get(
    "/executions/{execution_id:uuid}/actions", responses=problems(400, 403, 404, 422),
    summary="List the attempts of an execution",
)  # fmt: skip
async def list_actions(
    request: AnyRequest,
    execution_id: FromPath[UUID],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    offset: Offset = 0,
) -> Page[ActionExecution]:
    """Every attempt of every action, in the order of the workflow."""
    caller, wanted = caller_of(request), window(limit, cursor, offset)
    start = wanted.after_number or wanted.offset
    async with parts_of(request).database.connection() as connection:
        if await table.find_execution(connection, caller.tenant_id, execution_id) is None:
            raise _unknown()
        attempts = await table.list_attempts(
            connection, caller.tenant_id, execution_id, limit=wanted.rows, offset=start
        )
    return page(attempts, wanted, _action_of, lambda _: start + wanted.limit)


def summary_of(row: StoredExecution) -> ExecutionSummary:
    """The row as clients see it."""
    return ExecutionSummary(**_fields(row))


async def _load(database: Database, tenant_id: UUID, execution_id: UUID) -> Execution:
    async with database.snapshot() as connection:
        row = await table.find_execution(connection, tenant_id, execution_id)
        if row is None:
            raise _unknown()
        attempts = await table.list_attempts(connection, tenant_id, execution_id)
    return _execution_of(row, attempts)


def _execution_of(row: StoredExecution, attempts: Sequence[StoredAttempt]) -> Execution:
    return Execution(**_fields(row), actions=[_action_of(attempt) for attempt in attempts])


def _fields(row: StoredExecution) -> dict[str, Any]:
    return {
        "id": row.id,
        "workflow_id": row.workflow_id,
        "version": row.version,
        "trigger": TriggerRef(row.trigger_id, row.trigger_type),
        "status": row.status,
        "progress": _progress(row),
        "total_actions": row.total,
        "executed_actions": row.executed,
        "failed_actions": row.failed,
        "skipped_actions": row.skipped,
        "input": _json(row.input),
        "output": _json(row.output),
        "error": _json(row.error),
        "created_at": id_time(row.id),
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "duration_ms": _milliseconds(row.started_at, row.finished_at),
        "wake_at": row.wake_at,
        "paused": row.paused,
        "actor": row.actor,
        "parent_id": row.parent_id,
        "retry_of": row.retry_of,
        "trace_id": row.traceparent.split("-")[1] if row.traceparent.count("-") == 3 else None,
    }


def _action_of(row: StoredAttempt) -> ActionExecution:
    skipped = row.status == ActionStatus.SKIPPED and row.error is not None
    return ActionExecution(
        key=row.key,
        type=row.type,
        position=row.position,
        index=row.iteration % MAX_ITEMS,
        attempt=row.attempt,
        status=row.status,
        success=row.status == "completed",
        input=_json(row.input),
        output=_json(row.output),
        error=None if skipped else _json(row.error),
        why=_read_failure(row.error).message if skipped and row.error else None,
        started_at=row.started_at,
        finished_at=row.finished_at,
        duration_ms=_milliseconds(row.started_at, row.finished_at),
        wake_at=row.wake_at,
    )


def _progress(row: StoredExecution) -> int:
    if row.status == ExecutionStatus.COMPLETED:
        return 100
    settled = min(row.executed + row.skipped, row.total)
    share = 100 * settled // row.total if row.total else 0
    return share if row.status in TERMINAL else min(share, 99)


def _json(text: str | None) -> msgspec.Raw | None:
    """Stored JSON text as it is: it goes out to the letter, and is not parsed on the way."""
    return None if text is None else msgspec.Raw(text.encode())


def _milliseconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else round((end - start).total_seconds() * 1000, 3)


def _filter(
    statuses: list[Status] | None, trigger_type: str | None, start: datetime | None, end: datetime | None
) -> ExecutionFilter:
    return ExecutionFilter(tuple(statuses) if statuses else None, trigger_type, id_bound(start), id_bound(end))


def _unknown() -> NotFound:
    return NotFound("There is no such execution.")


ROUTER = Router(
    "/api/v1",
    route_handlers=[
        list_executions,
        list_workflow_executions,
        show_execution,
        stream_execution,
        list_actions,
    ],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Executions"],
)
