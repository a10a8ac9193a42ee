"""The life of an execution as lines: what happened when, told from its row and the records of its actions."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import Router, get
from litestar.params import FromPath

from libs.common.clock import id_time
from libs.common.db.execution_views import (
    StoredAttempt,
    StoredExecution,
    StoredValue,
    find_execution,
    list_attempts,
)
from libs.common.domain.execution import ActionStatus, Failure
from libs.common.domain.frames import MAX_ITEMS
from libs.common.errors import NotFound
from services.gateway.auth import caller_of, parts_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest
from services.gateway.documents import TENANT_SECURITY, problems

_decode_failure = msgspec.json.Decoder(Failure).decode


class LogLine(msgspec.Struct, frozen=True):
    """One thing that happened. `action`, `index` and `attempt` are null for what concerns the whole execution."""

    at: datetime
    event: str
    message: str
    action: str | None = None
    index: int | None = None
    attempt: int | None = None


class ExecutionLog(msgspec.Struct, frozen=True):
    """Every line, oldest first."""

    items: list[LogLine]


@get("/executions/{execution_id:uuid}/logs", responses=problems(400, 403, 404), summary="Read the log of an execution")
async def show_log(request: AnyRequest, execution_id: FromPath[UUID]) -> ExecutionLog:
    """What happened when: accepted, started, every attempt of every action, ended."""
    tenant_id, parts = caller_of(request).tenant_id, parts_of(request)
    most = parts.settings.large_value_bytes
    async with tenant_of(request).snapshot() as connection:
        row = await find_execution(connection, tenant_id, execution_id, value_bytes=most)
        if row is None:
            raise NotFound("There is no such execution.")
        attempts = await list_attempts(connection, tenant_id, execution_id, value_bytes=most)
    return ExecutionLog(log_of(row, attempts))


def log_of(row: StoredExecution, attempts: Sequence[StoredAttempt]) -> list[LogLine]:
    """The lines of an execution, oldest first; of one instant in the order of the workflow."""
    lines = [LogLine(id_time(row.id), "accepted", f"accepted, by a {row.trigger_type} trigger")]
    if row.started_at is not None:
        lines.append(LogLine(row.started_at, "started", f"started on version {row.version}"))
    for attempt in attempts:
        lines += _attempt_lines(attempt)
    lines.sort(key=lambda line: line.at)
    if row.finished_at is not None:
        reason = f": {_said(row.error)}" if row.error else ""
        lines.append(LogLine(row.finished_at, row.status, row.status.replace("_", " ") + reason))
    elif row.paused:
        lines.append(LogLine(lines[-1].at, "paused", "paused until it is resumed"))
    elif row.wake_at is not None and row.status == "waiting":
        lines.append(LogLine(lines[-1].at, "waiting", f"waits until {row.wake_at.isoformat()}"))
    return lines


def _attempt_lines(attempt: StoredAttempt) -> Iterator[LogLine]:
    where: dict[str, Any] = {
        "action": attempt.key, "index": attempt.iteration % MAX_ITEMS, "attempt": attempt.attempt,
    }  # fmt: skip
    name = f"{attempt.key} ({attempt.type})"
    if attempt.status == ActionStatus.SKIPPED:
        yield LogLine(attempt.started_at, "action.skipped", f"{name} skipped: {_said(attempt.error)}", **where)
        return
    if attempt.status == ActionStatus.WAITING:
        until = "" if attempt.wake_at is None else f" until {attempt.wake_at.isoformat()}"
        yield LogLine(attempt.started_at, "action.waiting", f"{name} waits{until}", **where)
        return
    yield LogLine(attempt.started_at, "action.started", f"{name} started", **where)
    if attempt.finished_at is not None:
        reason = f": {_said(attempt.error)}" if attempt.error else ""
        again = "" if attempt.wake_at is None else f"; tried again at {attempt.wake_at.isoformat()}"
        message = f"{name} {attempt.status}{reason}{again}"
        yield LogLine(attempt.finished_at, f"action.{attempt.status}", message, **where)


def _said(error: StoredValue | None) -> str:
    if error is None:
        return ""
    if not error.whole:
        return f"{error.text}… ({error.size} bytes; the record has the link)"
    failure = _decode_failure(error.text)
    where = f" in {failure.expression}" if failure.expression else ""
    return f"{failure.message} ({failure.error_class}{where})"


ROUTER = Router(
    "/api/v1",
    route_handlers=[show_log],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Executions"],
)
