"""Looks for what somebody wants of the executions that this worker runs, or has told them, every second while it runs
any. When the lease has had a gap since the look before, others may have taken some of them: that is found out first.
"""

import asyncio
from uuid import UUID

import structlog

from libs.common.db.controlling import wishes_for
from libs.common.db.pool import Database
from libs.common.db.signals import signals_of
from libs.common.db.workers import ANSWER_SECONDS
from libs.common.errors import Unavailable
from libs.common.tasks import end_tasks
from services.executor.engine import Engine
from services.executor.held import Control
from services.executor.leases import Lease, elapsed

_LOOK_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class Wishes:
    """Tells the engine of each wish and signal."""

    def __init__(self, database: Database, worker: UUID, lease: Lease, engine: Engine) -> None:
        self._database, self._worker, self._lease, self._engine = database, worker, lease, engine
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.get_running_loop().create_task(self._keep_looking())

    async def stop(self) -> None:
        """Look no more."""
        await end_tasks(self._task)

    async def _keep_looking(self) -> None:
        looked = elapsed()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            before, looked = looked, elapsed()
            if self._engine.is_idle:
                continue
            try:
                if not self._lease.covers(before):
                    await self._engine.drop_lost()
                async with self._database.connection(ANSWER_SECONDS) as connection:
                    wishes = await wishes_for(connection, self._worker)
                    listening = self._engine.listening()
                    signals = await signals_of(connection, listening) if listening else []
            except Unavailable as error:
                _log.warning("looking for wishes failed", reason=error.detail)
                continue
            except Exception:  # noqa: BLE001 - who looks no more hears nothing of a cancellation
                _log.exception("looking for wishes failed")
                continue
            for wish in wishes:
                self._engine.control(wish.execution_id, Control(wish.control))
            for signal in signals:
                self._engine.tell(signal)
