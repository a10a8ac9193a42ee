"""The worker's proof of life: one row, refreshed every two seconds. When it goes stale, others take what this worker
held. What it knows of that by itself: as long as its refreshes have come in time, nobody can have.
"""

import asyncio
from math import inf
from uuid import UUID

import structlog

from libs.common.db.pool import Database
from libs.common.db.workers import ANSWER_SECONDS, BEAT_SECONDS, LEASE_SECONDS, beat, retire
from libs.common.errors import Unavailable
from libs.common.tasks import end_tasks
from libs.common.telemetry import metrics

SURE_SECONDS = LEASE_SECONDS * 0.9
"""After a refresh: by then nobody's clock, ours a little slow, says that the lease has run out."""

_log = structlog.get_logger(__name__)


class Lease:
    """Keeps one worker alive in the eyes of the others."""

    def __init__(self, database: Database, worker: UUID, service: str) -> None:
        self._database, self._worker, self._service = database, worker, service
        self._task: asyncio.Task[None] | None = None
        self._beat_at, self._unbroken_since = -inf, inf
        self._beaten = asyncio.Event()

    def covers(self, since: float) -> bool:
        """Whether nobody can have taken since then (seconds of `elapsed`) what this worker held then. Of now: whether
        it has a lease at all.
        """
        return self._unbroken_since <= since and elapsed() < self._beat_at + SURE_SECONDS

    async def next_beat(self) -> None:
        """Returns when the worker has refreshed it once more."""
        await self._beaten.wait()

    async def start(self) -> None:
        """The worker is known before it takes anything. Raises `Unavailable`."""
        await self._beat()
        self._task = asyncio.get_running_loop().create_task(self._keep_beating())

    async def stop(self) -> None:
        """The worker is gone by its own word, so that what it may still hold is free at once."""
        await end_tasks(self._task)
        try:
            async with self._database.connection() as connection:
                await retire(connection, self._worker)
        except Unavailable as error:
            _log.warning("the lease runs out by itself", reason=error.detail)

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await self._beat()
            except Unavailable as error:
                _log.warning("heartbeat failed", reason=error.detail)
            except Exception:  # noqa: BLE001 - a worker that beats no more loses everything that it holds
                _log.exception("heartbeat failed")

    async def _beat(self) -> None:
        begun = elapsed()
        async with self._database.connection(ANSWER_SECONDS) as connection:
            await beat(connection, self._worker, self._service)
        if elapsed() >= self._beat_at + SURE_SECONDS:  # so much may lie between the two in the database
            self._unbroken_since = elapsed()
        self._beat_at = begun
        self._beaten.set()
        self._beaten = asyncio.Event()
        metrics.set_lease_left(LEASE_SECONDS)


def elapsed() -> float:
    """Seconds that only grow, also while this process stands still."""
    return asyncio.get_running_loop().time()
