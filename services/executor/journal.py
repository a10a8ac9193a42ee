"""The journal: what this worker's executions have done becomes durable, many in one commit.

A write is answered by whether it still counted. While the database is away the journal keeps trying: what an executor
knows must not be lost for an outage, and whoever may take the execution meanwhile is fenced off by the epoch. Trying
again is harmless even when the lost answer was a commit, because a change that was made is made once more with the
same values.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import structlog

from libs.common.cache.protocol import LiveEvent
from libs.common.db.executions import ActionRow, ExecutionChange, change_executions, release_execution
from libs.common.db.group_commit import GroupCommit, RefusedWrite
from libs.common.db.pool import Database
from libs.common.domain.execution import ActionStatus, AttemptRecord, ExecutionStatus, Failure
from libs.common.domain.turns import Turn
from libs.common.errors import Unavailable
from libs.common.telemetry import metrics
from services.executor.held import Control, Held, parks
from services.executor.live import LiveReporter

NEVER = datetime.max.replace(tzinfo=UTC)
"""For PostgreSQL `infinity`: what waits for somebody, not for a time."""

_RETRY_SECONDS = 0.5
_ENDED = {
    ActionStatus.STARTED.value: ActionStatus.CANCELLED.value,
    ActionStatus.WAITING.value: ActionStatus.CANCELLED.value,
}
"""What becomes of an attempt that was to begin, when its execution ends before."""

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class Journal:
    """Writes what happened. One instance a worker."""

    def __init__(self, database: Database, worker: UUID, live: LiveReporter | None = None) -> None:
        """`live`: who is told of everything that became true."""
        self._database, self._worker, self._live = database, worker, live
        self._commits = GroupCommit[ExecutionChange, bool](self._write, observe=metrics.observe_journal_flush)

    async def record(self, held: Held, turn: Turn, now: datetime) -> bool:
        """Make durable what `held` has done and what it does next. False: it is not ours any more, stop."""
        return (await self.record_all([(held, turn)], now))[0]

    async def record_all(self, items: Sequence[tuple[Held, Turn]], now: datetime) -> list[bool]:
        """As `record`, for several executions at once, in their order."""
        changes = [_change(held, turn, now) for held, turn in items]
        answers = await self._commits.submit_all(changes)
        written = [await self._settle(change, answer, now) for change, answer in zip(changes, answers, strict=True)]
        made: list[tuple[Held, ExecutionChange]] = []
        for (held, _), change, answer in zip(items, changes, written, strict=True):
            held.claimed = held.claimed or answer
            if answer:
                made.append((held, change))
        _observe([change for _, change in made])
        if self._live is not None:
            self._live.report(_event(held, change, now) for held, change in made)
        return written

    async def _settle(self, change: ExecutionChange, answer: bool | BaseException, now: datetime) -> bool:
        """The answer of a write; an execution whose records the database refuses for what they hold ends instead."""
        if isinstance(answer, RefusedWrite):
            _log.error("records refused", execution_id=change.id, tenant_id=change.tenant_id, reason=answer.detail)
            await self._commits.submit(_unstorable(change, now))
            return False
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def let_go(self, held: Held) -> None:
        """The execution is pending again, for whoever takes it next; it goes on from its records."""
        while True:
            try:
                async with self._database.connection() as connection:
                    await release_execution(connection, held.tenant_id, held.execution_id, held.epoch)
                return
            except Unavailable:
                await asyncio.sleep(_RETRY_SECONDS)

    async def close(self) -> None:
        """Everything recorded is durable."""
        await self._commits.close()

    async def _write(self, batch: Sequence[ExecutionChange]) -> Sequence[bool]:
        while True:
            try:
                async with self._database.connection() as connection:
                    written = await change_executions(connection, self._worker, batch)
            except Unavailable:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            return [change.id in written for change in batch]


def _change(held: Held, turn: Turn, now: datetime) -> ExecutionChange:
    status, wake_at, output, error = _situation(held, turn, now)
    progress = held.run.progress
    return ExecutionChange(
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
        records=_latest_rows(held.run.attempts.take_records()),
    )


def _unstorable(change: ExecutionChange, now: datetime) -> ExecutionChange:
    """The end of an execution whose records cannot be stored; what happened stands there without its values."""
    error = _json(Failure("unstorable", "the database does not take a value of this run"))
    records = [
        msgspec.structs.replace(
            row, status=_ENDED.get(row.status, row.status), finished_at=row.finished_at or now, wake_at=None,
            input=None, output=None, state=None, error=None if row.error is None else error,
        )
        for row in change.records
    ]  # fmt: skip
    return msgspec.structs.replace(
        change, status=ExecutionStatus.FAILED.value, wake_at=None, output=None, error=error, finished_at=now,
        records=records,
    )  # fmt: skip


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


def _event(held: Held, change: ExecutionChange, now: datetime) -> LiveEvent:
    return LiveEvent(change.tenant_id, change.id, held.workflow_id, change.status, now)


def _observe(changes: Sequence[ExecutionChange]) -> None:
    metrics.count_executions(change.status for change in changes if change.status != ExecutionStatus.RUNNING)
    metrics.observe_actions((row.type, row.status, _seconds(row)) for change in changes for row in change.records)


def _seconds(row: ActionRow) -> float | None:
    return None if row.finished_at is None else (row.finished_at - row.started_at).total_seconds()
