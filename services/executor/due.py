"""What the ends of this worker's executions have made due goes on the bus at once: a parent that waited, the next in a
queue. Best effort: the scheduler's sweep does the same a little later.
"""

import asyncio

import structlog

from libs.common.announce import Announcer
from libs.common.bus.messages import Ready
from libs.common.db.executions import wake_due_executions
from libs.common.db.pool import Database
from libs.common.errors import Unavailable

_BATCH = 500
_ONLY_WAITING = 86_400.0
"""Patience with what is pending: that is the sweep's business."""

_log = structlog.get_logger(__name__)


class DueExecutions:
    """Wakes what is due, in the background, as often as it is asked to; asked during one round, it does another."""

    def __init__(self, database: Database, announcer: Announcer) -> None:
        self._database, self._announcer = database, announcer
        self._asked = False
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Something may be due."""
        self._asked = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._wake())

    async def close(self) -> None:
        """The round that is under way is over."""
        if self._task is not None:
            await self._task

    async def _wake(self) -> None:
        while self._asked:
            self._asked = False
            try:
                async with self._database.connection() as connection:
                    due = await wake_due_executions(connection, _BATCH, _ONLY_WAITING)
            except Unavailable as error:
                _log.debug("waking left to the sweep", reason=error.detail)
                return
            self._announcer.announce(
                [Ready(d.tenant_id, d.id, d.epoch, d.workflow_id, d.version, b"", d.traceparent) for d in due]
            )
            self._asked = self._asked or len(due) == _BATCH
