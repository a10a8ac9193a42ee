"""What waits, and why: the tenant's queue, and what holds one execution."""

from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec
from litestar import Router, get
from litestar.params import FromPath

from libs.common.clock import id_time
from libs.common.db.execution_views import StoredExecution, find_execution
from libs.common.db.pool import Connection
from libs.common.db.queue_views import (
    OpenWait,
    find_load,
    find_pace,
    find_place,
    find_standing,
    list_open_waits,
    list_queued,
)
from libs.common.db.slots import queued_for
from libs.common.domain.execution import ExecutionStatus
from libs.common.domain.fairness import seconds_until_turn
from libs.common.domain.frames import MAX_ITEMS
from services.gateway.auth import caller_of, parts_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest
from services.gateway.documents import TENANT_SECURITY, problems
from services.gateway.parts import GatewayParts
from services.gateway.routes.executions import unknown

_VALUE_BYTES = 0


class QueuePart(msgspec.Struct, frozen=True):
    """Executions of one workflow and one priority that wait for the tenant's turn; `oldest_at`: since when the first
    does.
    """

    workflow_id: UUID
    priority: int
    waiting: int
    oldest_at: datetime


class Queue(msgspec.Struct, frozen=True):
    """What the tenant has under way, what it may have, and what waits. `window`: most executions that are ready or
    running at once; `weight`: its share of what frees, against other tenants.
    """

    window: int
    weight: int
    running: int
    ready: int
    waiting: int
    parts: list[QueuePart]


class Limit(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that holds an execution. `place` 1 is the next; `estimated_start`: when it should go on, by the pace of
    late; `until`: when it goes on by itself, or gives up; `held_by`: executions that hold what it queues for.
    """

    limit: Literal[
        "window", "budget", "concurrency", "pause", "timer", "retry", "event", "execution", "approval", "bus"
    ]
    message: str
    place: int | None = None
    priority: int | None = None
    estimated_start: datetime | None = None
    until: datetime | None = None
    action: str | None = None
    index: int | None = None
    key: str | None = None
    held_by: list[UUID] = []
    event: str | None = None
    approval_id: UUID | None = None
    child_id: UUID | None = None


class WhyWaiting(msgspec.Struct, frozen=True):
    """What holds an execution; nothing does while it runs, and after its end."""

    execution_id: UUID
    status: str
    limits: list[Limit]


@get("/queue", responses=problems(403), summary="Show the tenant's queue")
async def show_queue(request: AnyRequest) -> Queue:
    """What is under way and what waits for the tenant's turn, by workflow and priority."""
    tenant_id, parts = caller_of(request).tenant_id, parts_of(request)
    async with tenant_of(request).snapshot() as connection:
        standing = await find_standing(connection, tenant_id, parts.settings.run_window)
        load = await find_load(connection, tenant_id)
        queued = await list_queued(connection, tenant_id)
    return Queue(
        window=standing.window,
        weight=standing.weight,
        running=load.running,
        ready=load.ready,
        waiting=sum(one.waiting for one in queued),
        parts=[QueuePart(one.workflow_id, one.priority, one.waiting, id_time(one.oldest_id)) for one in queued],
    )


@get(
    "/executions/{execution_id:uuid}/why-waiting", responses=problems(400, 403, 404),
    summary="Say why an execution waits",
)  # fmt: skip
async def why_waiting(request: AnyRequest, execution_id: FromPath[UUID]) -> WhyWaiting:
    """Every limit that holds it, with its place and an estimate where there is one."""
    tenant_id, parts = caller_of(request).tenant_id, parts_of(request)
    async with tenant_of(request).snapshot() as connection:
        row = await find_execution(connection, tenant_id, execution_id, value_bytes=_VALUE_BYTES)
        if row is None:
            raise unknown()
        limits = await _limits(parts, connection, tenant_id, row)
    return WhyWaiting(row.id, row.status, limits)


async def _limits(
    parts: GatewayParts, connection: Connection, tenant_id: UUID, row: StoredExecution
) -> list[Limit]:  # fmt: skip
    if row.paused:
        return [Limit("pause", "it is paused until somebody resumes it")]
    if row.status == ExecutionStatus.PENDING:
        return [await _turn(parts, connection, tenant_id, row.id)]
    if row.status != ExecutionStatus.WAITING:
        return []
    if (queued := await queued_for(connection, tenant_id, row.id)) is not None:
        message = f"its workflow lets {queued.limit} run at once under this key"
        return [
            Limit("concurrency", message, place=queued.place, until=row.wake_at, key=queued.key, held_by=queued.held_by)
        ]
    waits = await list_open_waits(connection, tenant_id, row.id)
    return list(map(_of_wait, waits)) or [Limit("timer", "it goes on by itself", until=row.wake_at)]


async def _turn(parts: GatewayParts, connection: Connection, tenant_id: UUID, execution_id: UUID) -> Limit:
    """What a pending execution waits for: its tenant's turn, or an executor."""
    stands = await find_place(connection, tenant_id, execution_id)
    if stands is None:
        return Limit("bus", "it is ready; the next executor with room takes it")
    standing = await find_standing(connection, tenant_id, parts.settings.run_window)
    load = await find_load(connection, tenant_id)
    seconds = seconds_until_turn(stands.place, await find_pace(connection, tenant_id, stands.first_id))
    start = None if seconds is None else parts.clock.now() + timedelta(seconds=seconds)
    full = load.outstanding >= standing.window
    message = f"{load.outstanding} executions of the tenant are under way, of at most {standing.window}"
    return Limit(
        "window" if full else "budget",
        message if full else "all tenants together have as many under way as this installation lets",
        place=stands.place, priority=stands.priority, estimated_start=start,
    )  # fmt: skip


def _of_wait(wait: OpenWait) -> Limit:
    where: dict[str, Any] = {"action": wait.key, "index": wait.iteration % MAX_ITEMS, "until": wait.until}
    match wait.awaited:
        case "event":
            return Limit("event", f"the action waits for an event {wait.event}", event=wait.event, **where)
        case "execution":
            return Limit("execution", "the action waits for the execution it started", child_id=wait.child_id, **where)
        case "approval" | "doubt":
            return Limit("approval", "the action waits for a decision", approval_id=wait.approval_id, **where)
        case _ if wait.status == "failed":
            return Limit("retry", "the action failed and is tried again", **where)
        case _:
            return Limit("timer", "the action is delayed", **where)


ROUTER = Router(
    "/api/v1",
    route_handlers=[show_queue, why_waiting],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Queue"],
)
