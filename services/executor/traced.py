"""What an executor tells of its executions to whoever reads traces.

    … ─▶ publish ─▶ run ─┬▶ http_request crm ─▶ POST          a stretch: from being taken to an end or a long wait
                         └▶ branch size
    … ─▶ publish ─▶ run ─ ─ (link: goes on from) ─ ─▶ the run before

Places follow from what is on record (execution and epoch; action, iteration and attempt), so nothing is stored for
traces, and whoever takes an execution up finds the stretch before. An attempt that was waited for longer than one
stretch belongs to what accepted the execution, because the stretch that began it is over.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from libs.common.db.executions import ActionRow, ExecutionChange
from libs.common.domain.execution import ActionStatus, ExecutionStatus
from libs.common.domain.turns import End, PastAttempt
from libs.common.telemetry.spans import Span, attributes_of, place_of, record, wants
from services.executor.held import Held

_HAVE_FAILED = frozenset({"failed", "unknown", "cancelled"})


class _Record(Protocol):
    @property
    def position(self) -> int: ...

    @property
    def iteration(self) -> int: ...

    @property
    def attempt(self) -> int: ...


def place_of_stretch(came_by: str, execution_id: UUID, epoch: int) -> str:
    """The place of an execution while it is held under that epoch."""
    return place_of(came_by, execution_id, epoch)


def place_of_stretch_before(came_by: str, execution_id: UUID, epoch: int, past: Sequence[PastAttempt]) -> str:
    """That of the one before, empty if it has not begun yet. `epoch`: of its row, while nobody holds it."""
    if epoch == 0 or not wants(came_by):
        return ""
    # Whoever frees what a worker held counts the epoch up, so that this worker is fenced off.
    was_freed = any(attempt.status is ActionStatus.STARTED for attempt in past)
    return place_of_stretch(came_by, execution_id, epoch - was_freed)


def place_of_attempt(held: Held, attempt: _Record) -> str:
    """The place of an attempt of one of its actions: what it causes comes from there."""
    return place_of(held.run.traceparent, held.execution_id, attempt.position, attempt.iteration, attempt.attempt)


def tell_stretch(held: Held, now: datetime, end: End | None = None, error: str = "") -> None:
    """It has ended, or is let go of: for a while, or because of an `error` that is not its own."""
    if not wants(held.came_by):
        return
    status = ExecutionStatus.WAITING if end is None else end.status
    failure = None if end is None or end.status is ExecutionStatus.COMPLETED else end.failure
    record(
        Span(
            "run", held.run.traceparent, held.came_by, held.run.started_at, now, "consumer",
            {
                **attributes_of(tenant=held.tenant_id, execution=held.execution_id, workflow=held.workflow_id),
                "signalbox.execution.status": status.value, "signalbox.execution.epoch": held.epoch,
            },
            [held.goes_on_from] if held.goes_on_from else [],
            error if failure is None else failure.error_class,
        )
    )  # fmt: skip


def tell_attempts(changes: Sequence[tuple[Held, ExecutionChange]]) -> None:
    """What has ended of the actions that these changes record."""
    for held, change in changes:
        if wants(held.came_by):
            for row in change.records:
                if row.finished_at is not None:
                    _tell_attempt(held, row, row.finished_at)


def _tell_attempt(held: Held, row: ActionRow, finished_at: datetime) -> None:
    parent = held.run.traceparent if row.started_at >= held.run.started_at else held.accepted_by
    record(
        Span(
            f"{row.type} {row.key}", place_of_attempt(held, row), parent, row.started_at, finished_at,
            attributes={
                **attributes_of(tenant=held.tenant_id, execution=held.execution_id),
                "signalbox.action.key": row.key, "signalbox.action.type": row.type,
                "signalbox.action.status": row.status, "signalbox.action.attempt": row.attempt,
                "signalbox.action.iteration": row.iteration,
            },
            error=_error_class(row) if row.status in _HAVE_FAILED else "",
        )
    )  # fmt: skip


class _Error(msgspec.Struct):
    """What is told of an error: its class alone, as its message may quote anything."""

    error_class: str = msgspec.field(default="", name="class")


_decode_error = msgspec.json.Decoder(_Error).decode


def _error_class(row: ActionRow) -> str:
    return row.status if row.error is None else _decode_error(row.error).error_class or row.status
