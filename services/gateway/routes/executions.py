"""Executions: lists, one with the record of every attempt, and its live stream."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

import msgspec
from litestar import Response, Router, get
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream

from libs.common.clock import id_time
from libs.common.db import execution_views as table
from libs.common.db.execution_views import ExecutionFilter, StoredAttempt, StoredExecution
from libs.common.db.queue_views import OpenWait, list_open_waits
from libs.common.db.slots import QueuedFor, queued_for
from libs.common.db.workflows import find_workflow
from libs.common.domain.execution import TERMINAL, ActionStatus, ExecutionStatus, Failure
from libs.common.domain.frames import MAX_ITEMS
from libs.common.errors import NotFound
from services.gateway.auth import caller_of, parts_of, recheck, require_member, tenant_of
from services.gateway.bodies import AnyRequest
from services.gateway.documents import TENANT_SECURITY, problems
from services.gateway.live import EVENT_STREAM, LiveStreams, Seen, opened
from services.gateway.paging import DEFAULT_LIMIT, Cursor, From, Limit, Offset, Page, To, id_bound, page, window
from services.gateway.parts import GatewayParts
from services.gateway.states import Status, TriggerRef, milliseconds, progress_of
from services.gateway.values import attempt_value, execution_value

_read_failure = msgspec.json.Decoder(Failure).decode

Statuses: TypeAlias = Annotated[
    list[Status] | None, QueryParameter(name="status", description="May stand several times")
]
TriggerKind: TypeAlias = Annotated[
    Literal["manual", "schedule", "webhook", "event", "workflow", "failure"] | None, QueryParameter(name="trigger_type")
]

LastEventId: TypeAlias = Annotated[
    str | None, QueryParameter(description="The id of the last event that was received, where no header can be set")
]


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


class ApprovalWait(msgspec.Struct, frozen=True):
    """A decision that an action waits for."""

    action: str
    index: int
    approval_id: UUID | None
    until: datetime | None


class EventWait(msgspec.Struct, frozen=True):
    """An event that an action waits for: a name, or the beginning of names with a star."""

    action: str
    index: int
    event: str | None
    until: datetime | None


class ChildWait(msgspec.Struct, frozen=True):
    """An execution that an action has started, and whose end it waits for."""

    action: str
    index: int
    execution_id: UUID | None
    until: datetime | None


class WaitingFor(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a waiting execution waits for: a slot of its workflow's concurrency, or what its actions are to be told."""

    concurrency: QueuedFor | None = None
    approvals: list[ApprovalWait] = []
    events: list[EventWait] = []
    executions: list[ChildWait] = []


class Execution(ExecutionSummary, frozen=True):
    """An execution with every attempt of its actions, in the order of the workflow. `waiting_for`: of one that waits
    for something else than a time.
    """

    waiting_for: WaitingFor | None
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
    chosen, parts = filter_of(statuses, trigger_kind, created_from, created_to), parts_of(request)
    after, rows, offset, most = wanted.after_id, wanted.rows, wanted.offset, parts.settings.large_value_bytes
    async with tenant_of(request).transaction() as connection:
        if workflow_id is None:
            found = await table.list_executions(
                connection, caller.tenant_id, chosen, after=after, limit=rows, offset=offset, value_bytes=most
            )
        else:
            found = await table.list_workflow_executions(
                connection, caller.tenant_id, workflow_id, chosen,
                after=after, limit=rows, offset=offset, value_bytes=most,
            )  # fmt: skip
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
    chosen, after = filter_of(statuses, trigger_kind, created_from, created_to), wanted.after_id
    parts = parts_of(request)
    async with tenant_of(request).transaction() as connection:
        if await find_workflow(connection, caller.tenant_id, workflow_id) is None:
            raise NotFound("There is no such workflow.")
        found = await table.list_workflow_executions(
            connection, caller.tenant_id, workflow_id, chosen, after=after, limit=wanted.rows, offset=wanted.offset,
            value_bytes=parts.settings.large_value_bytes,
        )  # fmt: skip
    return page(found, wanted, summary_of, lambda row: row.id)


@get("/executions/{execution_id:uuid}", responses=problems(400, 403, 404), summary="Show an execution with its actions")
async def show_execution(request: AnyRequest, execution_id: FromPath[UUID]) -> Execution:
    """One execution and every attempt of its actions."""
    return await _load(parts_of(request), caller_of(request).tenant_id, execution_id)


@get(
    "/executions/{execution_id:uuid}/stream", responses=problems(400, 403, 404, 429), summary="Follow an execution",
    media_type=EVENT_STREAM,
)  # fmt: skip
async def stream_execution(
    request: AnyRequest, execution_id: FromPath[UUID], last_event_id: LastEventId = None
) -> Response[Any] | Stream:
    """Server-sent events: the whole execution now and after every change, until it has ended. Whoever comes back with
    `Last-Event-ID` is told only what is new since; 204 when nothing more will come.
    """
    tenant_id, parts = caller_of(request).tenant_id, parts_of(request)
    told = request.headers.get("last-event-id", last_event_id)

    async def look() -> Seen:
        execution = await _load(parts, tenant_id, execution_id)
        return Seen(msgspec.json.encode(execution), execution.status in TERMINAL)

    async def check() -> None:
        await recheck(request)

    present = await look()
    if present.ended and present.event_id == told:
        return Response(None, status_code=204)
    streams: LiveStreams = request.app.state["live_streams"]
    stream = await opened(streams.follow(tenant_id, execution_id, present, told, look, check))
    return Stream(stream, media_type=EVENT_STREAM)


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
    parts = parts_of(request)
    most = parts.settings.large_value_bytes
    async with tenant_of(request).transaction() as connection:
        if await table.find_execution(connection, caller.tenant_id, execution_id, value_bytes=most) is None:
            raise unknown()
        attempts = await table.list_attempts(
            connection, caller.tenant_id, execution_id, limit=wanted.rows, offset=start, value_bytes=most
        )
    return page(attempts, wanted, partial(_action_of, execution_id), lambda _: start + wanted.limit)


def summary_of(row: StoredExecution) -> ExecutionSummary:
    """The row as clients see it."""
    return ExecutionSummary(**_fields(row))


async def _load(parts: GatewayParts, tenant_id: UUID, execution_id: UUID) -> Execution:
    most = parts.settings.large_value_bytes
    async with parts.database.for_tenant(tenant_id).snapshot() as connection:
        row = await table.find_execution(connection, tenant_id, execution_id, value_bytes=most)
        if row is None:
            raise unknown()
        attempts = await table.list_attempts(connection, tenant_id, execution_id, value_bytes=most)
        is_waiting = row.status == ExecutionStatus.WAITING
        queued = await queued_for(connection, tenant_id, execution_id) if is_waiting else None
        waits = await list_open_waits(connection, tenant_id, execution_id) if is_waiting else []
    return _execution_of(row, attempts, _waiting_for(queued, waits))


def _waiting_for(queued: QueuedFor | None, waits: Sequence[OpenWait]) -> WaitingFor | None:
    approvals: list[ApprovalWait] = []
    events: list[EventWait] = []
    children: list[ChildWait] = []
    for wait in waits:
        index = wait.iteration % MAX_ITEMS
        if wait.awaited in ("approval", "doubt"):
            approvals.append(ApprovalWait(wait.key, index, wait.approval_id, wait.until))
        elif wait.awaited == "event":
            events.append(EventWait(wait.key, index, wait.event, wait.until))
        elif wait.awaited == "execution":
            children.append(ChildWait(wait.key, index, wait.child_id, wait.until))
    found = WaitingFor(queued, approvals, events, children)
    return None if found == WaitingFor() else found


def _execution_of(
    row: StoredExecution, attempts: Sequence[StoredAttempt], waiting_for: WaitingFor | None
) -> Execution:  # fmt: skip
    return Execution(
        **_fields(row),
        waiting_for=waiting_for,
        actions=[_action_of(row.id, attempt) for attempt in attempts],
    )


def _fields(row: StoredExecution) -> dict[str, Any]:
    return {
        "id": row.id,
        "workflow_id": row.workflow_id,
        "version": row.version,
        "trigger": TriggerRef(row.trigger_id, row.trigger_type),
        "status": row.status,
        "progress": progress_of(row),
        "total_actions": row.total,
        "executed_actions": row.executed,
        "failed_actions": row.failed,
        "skipped_actions": row.skipped,
        "input": execution_value(row.id, "input", row.input),
        "output": execution_value(row.id, "output", row.output),
        "error": execution_value(row.id, "error", row.error),
        "created_at": id_time(row.id),
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "duration_ms": milliseconds(row.started_at, row.finished_at),
        "wake_at": row.wake_at,
        "paused": row.paused,
        "actor": row.actor,
        "parent_id": row.parent_id,
        "retry_of": row.retry_of,
        "trace_id": row.traceparent.split("-")[1] if row.traceparent.count("-") == 3 else None,
    }


def _action_of(execution_id: UUID, row: StoredAttempt) -> ActionExecution:
    skipped = row.status == ActionStatus.SKIPPED and row.error is not None and row.error.whole
    return ActionExecution(
        key=row.key,
        type=row.type,
        position=row.position,
        index=row.iteration % MAX_ITEMS,
        attempt=row.attempt,
        status=row.status,
        success=row.status == "completed",
        input=attempt_value(execution_id, row, "input", row.input),
        output=attempt_value(execution_id, row, "output", row.output),
        error=None if skipped else attempt_value(execution_id, row, "error", row.error),
        why=_read_failure(row.error.text).message if skipped and row.error else None,
        started_at=row.started_at,
        finished_at=row.finished_at,
        duration_ms=milliseconds(row.started_at, row.finished_at),
        wake_at=row.wake_at,
    )


def filter_of(
    statuses: list[Status] | None, trigger_type: str | None, start: datetime | None, end: datetime | None
) -> ExecutionFilter:
    """What the query parameters of a list ask for."""
    return ExecutionFilter(tuple(statuses) if statuses else None, trigger_type, id_bound(start), id_bound(end))


def unknown() -> NotFound:
    """There is none, or it is another tenant's."""
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
