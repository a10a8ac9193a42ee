"""The journal: what this worker's executions have done becomes durable, many in one commit.

A write is answered by whether it still counted. While the database is away the journal keeps trying: what an executor
knows must not be lost for an outage, and whoever may take the execution meanwhile is fenced off by the epoch. Trying
again is harmless even when the lost answer was a commit, because a change that was made is made once more with the
same values.
"""

import asyncio
from collections.abc import Container, Sequence
from datetime import datetime
from uuid import UUID

import structlog

from libs.common.accept import Announcer
from libs.common.bus.messages import Ready
from libs.common.cache.protocol import LiveEvent
from libs.common.db.children import Started
from libs.common.db.executions import ActionRow, ExecutionChange, release_execution
from libs.common.db.group_commit import GroupCommit, RefusedWrite
from libs.common.db.journaling import Entry, Written, write_entries
from libs.common.db.pool import Database
from libs.common.domain.execution import ExecutionStatus
from libs.common.domain.turns import Turn
from libs.common.errors import Unavailable
from libs.common.telemetry import metrics
from libs.common.telemetry.spans import is_on
from services.executor.due import DueExecutions
from services.executor.entries import entry_of, unstorable
from services.executor.held import Held
from services.executor.live import LiveReporter
from services.executor.traced import tell_attempts

_RETRY_SECONDS = 0.5
_log = structlog.get_logger(__name__)


class Journal:
    """Writes what happened. One instance a worker."""

    def __init__(
        self, database: Database, worker: UUID, announcer: Announcer, live: LiveReporter | None = None,
        listeners: Container[UUID] = frozenset(),
    ) -> None:  # fmt: skip
        """`announcer`: who is told of executions that others started; `live`: of everything that became true;
        `listeners`: the tenants in which somebody listens to ends.
        """
        self._listeners = listeners
        self._database, self._worker, self._announcer, self._live = database, worker, announcer, live
        self._due = DueExecutions(database, announcer)
        self._commits = GroupCommit[Entry, Written | None](self._write, observe=metrics.observe_journal_flush)

    async def record(self, held: Held, turn: Turn, now: datetime) -> Written | None:
        """Make durable what `held` has done and what it does next. None: it is not ours any more, stop."""
        return (await self.record_all([(held, turn)], now))[0]

    async def record_all(self, items: Sequence[tuple[Held, Turn]], now: datetime) -> list[Written | None]:
        """As `record`, for several executions at once, in their order."""
        entries = [entry_of(held, turn, now, tells_end=held.tenant_id in self._listeners) for held, turn in items]
        answers = await self._commits.submit_all(entries)
        made: list[tuple[Held, ExecutionChange]] = []
        written: list[Written | None] = []
        for (held, _), entry, answer in zip(items, entries, answers, strict=True):
            written.append(await self._settle(held, entry, answer, now))
            if written[-1] is not None:
                held.claimed = True
                made.append((held, entry.change))
        _observe([change for _, change in made])
        if is_on():
            tell_attempts(made)
        if self._live is not None:
            self._live.report(_event(held, change, now) for held, change in made)
        return written

    async def _settle(
        self, held: Held, entry: Entry, answer: Written | BaseException | None, now: datetime
    ) -> Written | None:
        """The answer of a write; an execution whose records the database refuses for what they hold ends instead."""
        if isinstance(answer, RefusedWrite):
            change = entry.change
            _log.error(
                "records refused", execution_id=change.id, tenant_id=change.tenant_id, trace_id=held.trace_id,
                reason=answer.detail,
            )  # fmt: skip
            held.settle_ended(now)  # what an effect did meanwhile it did, whatever becomes of the run
            await held.stop_effects()
            await self._commits.submit(unstorable(held, change, now, tells_end=held.tenant_id in self._listeners))
            return None
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
        await self._due.close()

    async def _write(self, batch: Sequence[Entry]) -> Sequence[Written | None]:
        while True:
            try:
                async with self._database.connection() as connection:
                    flush = await write_entries(connection, self._worker, batch)
            except Unavailable as error:
                _log.debug("journal waits", reason=error.detail)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self._announcer.announce([_ready(one) for one in flush.started])
            if any(entry.more.has_ended or entry.more.listening or entry.more.queued for entry in batch):
                self._due.look()
            return flush.written


def _ready(started: Started) -> Ready:
    return Ready(started.tenant_id, started.id, 0, started.workflow_id, started.version, b"", started.traceparent)


def _event(held: Held, change: ExecutionChange, now: datetime) -> LiveEvent:
    return LiveEvent(change.tenant_id, change.id, held.workflow_id, change.status, now)


def _observe(changes: Sequence[ExecutionChange]) -> None:
    metrics.count_executions(change.status for change in changes if change.status != ExecutionStatus.RUNNING)
    metrics.observe_actions((row.type, row.status, _seconds(row)) for change in changes for row in change.records)


def _seconds(row: ActionRow) -> float | None:
    return None if row.finished_at is None else (row.finished_at - row.started_at).total_seconds()
