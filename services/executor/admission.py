"""Slots of workflows with a concurrency limit: who may begin, who queues, and who is not to run at all.

An execution is taken first and asks then, before its first action; so whoever holds a slot or queues is known to be
there. One that queues is parked, and asks again when it is woken.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import structlog

from libs.common.db.concurrency import Entered, Entry, enter
from libs.common.db.pool import Database
from libs.common.domain.concurrency import skipped
from libs.common.domain.ending import template_failure
from libs.common.domain.execution import ExecutionStatus
from libs.common.domain.template_error import TemplateError
from libs.common.domain.turns import Turn
from libs.common.errors import Unavailable
from services.executor.held import Held
from services.executor.journal import Journal

_RETRY_SECONDS = 0.5
_log = structlog.get_logger(__name__)


class Admission:
    """Asks for slots."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database, self._journal = database, journal

    async def admit(self, asking: Sequence[Held], now: datetime) -> list[tuple[Held, Turn | None]]:
        """Take these executions and ask for their slots: each one that is ours, with what it does instead of beginning,
        or None when it may begin.
        """
        taken = await self._journal.record_all([(held, Turn(wake_at=now)) for held in asking], now)
        mine = [held for held, written in zip(asking, taken, strict=True) if written is not None]
        entries = [entry for held in mine if (entry := _entry(held)) is not None]
        try:
            answers = {one.execution_id: one for one in await self._enter(entries)}
        except Exception:  # noqa: BLE001 - what is taken must not stay running for ever
            _log.exception("executions let go", executions=len(mine))
            for held in mine:
                await self._journal.let_go(held)
            return []
        return [(held, _turn(held, answers.get(held.execution_id), now)) for held in mine]

    async def _enter(self, entries: Sequence[Entry]) -> list[Entered]:
        while True:
            try:
                async with self._database.connection() as connection:
                    return await enter(connection, entries)
            except Unavailable:
                await asyncio.sleep(_RETRY_SECONDS)


def _entry(held: Held) -> Entry | None:
    """What it asks for; None when it cannot be said, which ends the run."""
    concurrency = held.run.program.definition.concurrency
    if concurrency is None or held.key_of is None:
        return None
    try:
        key = held.key_of(held.run.scope)
    except TemplateError as error:
        held.run.broken = template_failure(error)
        return None
    return Entry(
        held.tenant_id, held.workflow_id, held.execution_id, key, concurrency.limit, concurrency.policy
    )  # fmt: skip


def _turn(held: Held, answer: Entered | None, now: datetime) -> Turn | None:
    held.queued = answer is not None and answer.answer == "queued"
    if held.queued:
        return Turn(wake_at=held.run.deadline)
    if answer is not None and answer.answer == "skipped":
        return Turn(end=held.run.interrupt(ExecutionStatus.CANCELLED, skipped(answer.holder), now))
    return None
