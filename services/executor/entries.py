"""What a turn of a run is to the journal: the row and records of its execution, and all that comes with them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from libs.common.clock import new_id
from libs.common.db.children import Child
from libs.common.db.executions import ActionRow, ExecutionChange
from libs.common.db.journaling import NOTHING_MORE, Entry, More
from libs.common.db.local_work import LocalAction
from libs.common.db.local_writes import LocalWrite
from libs.common.db.signals import Place
from libs.common.domain.action_type import ActionKind
from libs.common.domain.end_events import EndedRun, end_event
from libs.common.domain.events import next_chain
from libs.common.domain.execution import ActionStatus, AttemptRecord, ExecutionStatus, Failure
from libs.common.domain.turns import Effect, End, Turn
from services.executor.held import Control, Held, parks
from services.executor.traced import place_of_attempt

NEVER = datetime.max.replace(tzinfo=UTC)
"""For PostgreSQL `infinity`: what waits for somebody, not for a time."""

_ENDED = {
    ActionStatus.STARTED.value: ActionStatus.CANCELLED.value,
    ActionStatus.WAITING.value: ActionStatus.CANCELLED.value,
}
"""What becomes of an attempt that was to begin, when its execution ends before."""

_HAVE_FAILED = (ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT)
_encode = msgspec.json.Encoder().encode


def entry_of(held: Held, turn: Turn, now: datetime, *, tells_end: bool = False) -> Entry:
    """What becomes true of the execution by this turn. `tells_end`: its end is an event for somebody."""
    status, wake_at, output, error = _situation(held, turn, now)
    progress, records = held.run.progress, _latest_rows(held.run.attempts.take_records())
    held.output_bytes += sum(len(row.output) for row in records if row.output is not None)
    change = ExecutionChange(
        tenant_id=held.tenant_id,
        id=held.execution_id,
        epoch=held.epoch,
        claims=not held.claimed,
        status=status.value,
        wake_at=wake_at,
        output=output,
        error=error,
        total=progress.total,
        executed=progress.executed,
        failed=progress.failed,
        skipped=progress.skipped,
        started_at=held.run.started_at,
        finished_at=None if turn.end is None else now,
        records=records,
    )
    return Entry(change, _more(held, turn, change, now, tells_end))


def unstorable(held: Held, change: ExecutionChange, now: datetime, *, tells_end: bool = False) -> Entry:
    """The end of an execution whose records cannot be stored: what happened stands there without its values, and what
    earlier flushes left open is closed.
    """
    failure = Failure("unstorable", "the database does not take a value of this run")
    error, end = _json(failure), held.run.interrupt(ExecutionStatus.FAILED, failure, now)
    closing = _latest_rows(held.run.attempts.take_records())
    rows = {(row.position, row.iteration, row.attempt): row for row in (*change.records, *closing)}
    records = [
        row if _was_done_within_the_database(held, row) else msgspec.structs.replace(
            row, status=_ENDED.get(row.status, row.status), finished_at=row.finished_at or now, wake_at=None,
            input=None, output=None, state=None, error=None if row.error is None else error,
        )
        for row in rows.values()
    ]  # fmt: skip
    ended = msgspec.structs.replace(
        change, status=ExecutionStatus.FAILED.value, wake_at=None, output=None, error=error, finished_at=now,
        records=records,
    )  # fmt: skip
    return Entry(ended, _more(held, Turn(end=end), ended, now, tells_end))


def _was_done_within_the_database(held: Held, row: ActionRow) -> bool:
    """Whether the values of the record are those of an earlier commit, which its run only tells of once more."""
    is_local = held.run.program.steps[row.position].kind is ActionKind.LOCAL
    return is_local and row.status == ActionStatus.COMPLETED and row.state is None


def _situation(
    held: Held, turn: Turn, now: datetime
) -> tuple[ExecutionStatus, datetime | None, str | None, str | None]:
    """Status, wake time, output and error that a turn gives its execution."""
    if turn.end is not None:
        return turn.end.status, None, _json(turn.end.output), _json(turn.end.failure)
    if parks(held, turn, now):
        # Due at once when paused: the row alone knows whether it still is, and is parked for good if so.
        wake_at = now if held.wish is Control.PAUSE else turn.wake_at
        return ExecutionStatus.WAITING, wake_at or NEVER, None, None
    return ExecutionStatus.RUNNING, None, None, None


def _more(held: Held, turn: Turn, change: ExecutionChange, now: datetime, tells_end: bool) -> More:
    """What comes with the change; for most there is nothing."""
    if turn.end is not None:
        if not (held.has_ties or held.run.program.definition.on_failure or tells_end):
            return NOTHING_MORE
        return More(
            has_ended=held.has_ties,
            before_its_time=held.has_ties and turn.end.status is not ExecutionStatus.COMPLETED,
            on_failure=_on_failure(held, turn.end),
            event=end_event(_ended_run(held, change, now), new_id()) if tells_end else None,
        )
    if turn.local:
        return More(local=[_local_action(held, effect, now) for effect in turn.local])
    if change.status == ExecutionStatus.WAITING and held.has_ties:
        return More(
            listening=[Place(held.tenant_id, held.execution_id, *place) for place in held.run.listening()],
            queued=held.queued,
        )
    return NOTHING_MORE


def _local_action(held: Held, effect: Effect, now: datetime) -> LocalAction:
    record = effect.record
    held.has_ties = held.has_ties or effect.asks or record.type in ("wait", "run_workflow")
    write = LocalWrite(
        held.tenant_id, held.execution_id, effect.key, "wait" if effect.asks else record.type, effect.config,
        held.actor, now,
    )  # fmt: skip
    return LocalAction(
        write, new_id(), record.position, record.iteration, record.attempt, _chain(held),
        place_of_attempt(held, record), effect.context, effect.asks,
    )  # fmt: skip


def _on_failure(held: Held, end: End) -> Child | None:
    """What runs because it has failed. What runs for that reason has no such thing in turn."""
    workflow, scope = held.run.program.definition.on_failure, held.run.scope
    if workflow is None or end.status not in _HAVE_FAILED or scope["trigger"]["type"] == "failure":
        return None
    error = {} if end.failure is None else {"class": end.failure.error_class, "message": end.failure.message}
    data = {
        "execution": {"id": str(held.execution_id), "status": end.status.value},
        "workflow": scope["workflow"],
        "error": {**error, "action": end.failure.action if end.failure else None},
        "input": scope["input"],
    }
    return Child(
        held.tenant_id, new_id(), workflow, data, _chain(held), "failure", held.actor, held.run.traceparent,
        held.execution_id, None, None,
    )  # fmt: skip


def _ended_run(held: Held, change: ExecutionChange, now: datetime) -> EndedRun:
    workflow, trigger_type = held.run.scope["workflow"], held.run.scope["trigger"]["type"]
    return EndedRun(
        held.tenant_id, held.execution_id, held.workflow_id, workflow.get("name", ""), workflow.get("version", 0),
        change.status, trigger_type, held.data, change.output, change.error, held.run.started_at, now, _chain(held),
        held.actor, held.run.traceparent,
    )  # fmt: skip


def _chain(held: Held) -> tuple[Any, ...]:
    return next_chain(held.run.scope["trigger"]["type"], held.data, held.workflow_id)


def _latest_rows(records: Sequence[AttemptRecord]) -> list[ActionRow]:
    """One row an attempt: of two records of the same attempt in one flush the later one stands."""
    latest = {(record.position, record.iteration, record.attempt): record for record in records}
    return [_row(record) for record in latest.values()]


def _row(record: AttemptRecord) -> ActionRow:
    return ActionRow(
        record.position, record.iteration, record.attempt, record.key, record.type, record.status.value,
        _json(record.input), _json(record.output), _json(record.error), record.started_at, record.finished_at,
        record.wake_at, _json(record.state),
    )  # fmt: skip


def _json(value: Any) -> str | None:
    return None if value is None else _encode(value).decode()
