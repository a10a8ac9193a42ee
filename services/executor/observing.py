"""What the journal made true, as metrics: a batch at a time, one pass."""

from collections.abc import Iterator, Sequence

from libs.common.clock import milliseconds_of
from libs.common.db.executions import ExecutionChange
from libs.common.db.journaling import Entry
from libs.common.domain.execution import ExecutionStatus
from libs.common.telemetry.metrics import Acted, Reached, count_executions, count_waits, observe_actions
from services.executor.entries import NEVER
from services.executor.held import Held

_RUNNING, _WAITING = ExecutionStatus.RUNNING.value, ExecutionStatus.WAITING.value


def observe_made(made: Sequence[tuple[Held, Entry]]) -> None:
    """These changes were committed."""
    count_executions([one for held, entry in made if (one := _reached(held, entry.change)) is not None])
    observe_actions([one for held, entry in made for one in _acted(held, entry.change)])
    if waits := [_reason(entry) for _, entry in made if entry.change.status == _WAITING]:
        count_waits(waits)


def _reached(held: Held, change: ExecutionChange) -> Reached | None:
    if change.status == _RUNNING and not change.claims:
        return None
    triggered, ended = milliseconds_of(change.id) / 1000, change.finished_at
    queued = change.started_at.timestamp() - triggered if change.claims and change.epoch == 1 else None
    took = None if ended is None else ended.timestamp() - triggered
    return Reached(held.tenant_id, change.status, held.run.traceparent, took, queued)


def _acted(held: Held, change: ExecutionChange) -> Iterator[Acted]:
    for row in change.records:
        seconds = None if row.finished_at is None else (row.finished_at - row.started_at).total_seconds()
        yield Acted(held.tenant_id, row.type, row.status, row.attempt, seconds, held.run.traceparent)


def _reason(entry: Entry) -> str:
    if entry.more.queued:
        return "slot"
    if entry.more.listening:
        return "signal"
    return "pause" if entry.change.wake_at == NEVER else "time"
