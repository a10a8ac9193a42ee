"""The journal: what this worker's executions have done becomes durable, many in one commit.

A write is answered by whether it still counted. While the database is away the journal keeps trying: what an executor
knows must not be lost for an outage, and whoever may take the execution meanwhile is fenced off by the epoch. Trying
again is harmless even when the lost answer was a commit, because a change that was made is made once more with the
same values.
"""

import asyncio
from collections.abc import Collection, Container, Sequence
from datetime import datetime
from uuid import UUID

import structlog

from libs.common.announce import Announcer
from libs.common.bus.messages import Ready
from libs.common.cache.protocol import LiveEvent
from libs.common.db.children import Started
from libs.common.db.executions import ExecutionChange, lost_executions, release_execution
from libs.common.db.group_commit import GroupCommit, RefusedWrite
from libs.common.db.journaling import Entry, Written, write_entries
from libs.common.db.pool import Database
from libs.common.db.workers import ANSWER_SECONDS
from libs.common.domain.execution import ExecutionStatus
from libs.common.domain.turns import Turn
from libs.common.errors import Unavailable
from libs.common.telemetry import metrics
from libs.common.telemetry.spans import is_on
from libs.common.windows import Windows
from services.executor.crowd import Crowd
from services.executor.due import DueExecutions
from services.executor.entries import entry_of, unstorable
from services.executor.held import Held
from services.executor.live import LiveReporter
from services.executor.observing import observe_made
from services.executor.traced import tell_attempts

_RETRY_SECONDS = 0.5
_BULK_BATCH = 32
"""Bulk that is written together while several tenants are about: whoever comes meanwhile waits for it."""
_log = structlog.get_logger(__name__)


class Journal:
    """Writes what happened. One instance a worker."""

    def __init__(
        self, database: Database, worker: UUID, announcer: Announcer, live: LiveReporter | None = None,
        listeners: Container[UUID] = frozenset(), windows: Windows | None = None, crowd: Crowd | None = None,
    ) -> None:  # fmt: skip
        """`announcer`: who is told of executions that others started; `live`: of everything that became true;
        `listeners`: the tenants in which somebody listens to ends; `windows`: of what runs no more; `crowd`: who knows
        whom bulk has to let pass.
        """
        self._database, self._worker, self._announcer, self._live = database, worker, announcer, live
        self._listeners, self._windows, self._crowd = listeners, windows, crowd or Crowd()
        self._due = DueExecutions(database, announcer)
        self._commits = GroupCommit[Entry, Written | None](self._write, observe=metrics.observe_journal_flush)
        self._bulk = GroupCommit[Entry, Written | None](
            self._write_bulk, max_batch=_BULK_BATCH, lanes=1, observe=metrics.observe_journal_flush
        )

    async def record(self, held: Held, turn: Turn, now: datetime) -> Written | None:
        """Make durable what `held` has done and what it does next. None: it is not ours any more, stop."""
        return (await self.record_all([(held, turn)], now))[0]

    async def record_all(self, items: Sequence[tuple[Held, Turn]], now: datetime) -> list[Written | None]:
        """As `record`, for several executions at once, in their order."""
        entries = [entry_of(held, turn, now, tells_end=held.tenant_id in self._listeners) for held, turn in items]
        is_bulk = bool(items) and all(held.is_bulk for held, _ in items)
        answers = await (self._bulk if is_bulk else self._commits).submit_all(entries)
        made: list[tuple[Held, Entry]] = []
        written: list[Written | None] = []
        for (held, _), entry, answer in zip(items, entries, answers, strict=True):
            written.append(await self._settle(held, entry, answer, now))
            if written[-1] is not None:
                held.claimed = True
                made.append((held, entry))
        if self._windows is not None:
            for held, entry in made:
                if entry.change.status != ExecutionStatus.RUNNING:
                    self._windows.ended(held.tenant_id)
        observe_made(made)
        if is_on():
            tell_attempts([(held, entry.change) for held, entry in made])
        if self._live is not None:
            self._live.report(_event(held, entry.change, now) for held, entry in made)
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

    async def lost(self, held: Collection[Held]) -> set[UUID]:
        """Which of the executions this worker has no more. While the database is away it is waited for."""
        wanted = [(one.tenant_id, one.execution_id, one.epoch) for one in held]
        while True:
            try:
                async with self._database.connection(ANSWER_SECONDS) as connection:
                    return set(await lost_executions(connection, wanted))
            except Unavailable:
                await asyncio.sleep(_RETRY_SECONDS)

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
        await self._bulk.close()
        await self._due.close()

    async def _write_bulk(self, batch: Sequence[Entry]) -> Sequence[Written | None]:
        await self._crowd.let_pass()
        return await self._write(batch)

    async def _write(self, batch: Sequence[Entry]) -> Sequence[Written | None]:
        while True:
            try:
                async with self._database.connection() as connection:
                    flush = await write_entries(connection, self._worker, batch)
            except Unavailable as error:
                metrics.count_journal_retry()
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
