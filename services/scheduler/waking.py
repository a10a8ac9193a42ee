"""Duty: puts on the bus what must run now: waiting executions whose time has come, and pending ones that nobody took.

The second makes a lost message, a wiped broker or a crash between commit and publish cost seconds. While the bus
still holds a backlog, an untaken execution is most likely in it, so the sweep is patient then, except with what the bus
has handed out by now if it ever had it.
"""

from typing import NamedTuple

from libs.common.announce import Announcer
from libs.common.bus.messages import Ready
from libs.common.bus.protocol import Bus
from libs.common.db.executions import wake_due_executions
from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.telemetry import metrics
from libs.common.telemetry.states import BUS_CONNECTED, BUS_READY
from services.scheduler.progress import BusProgress

_BATCH = 500
_BACKLOG_MESSAGES = 20
_PATIENCE_SECONDS = 60.0


class _Waiting(NamedTuple):
    """Messages of each lane."""

    usual: int
    bulk: int


class Waking:
    """Wakes and re-dispatches executions."""

    name = "waking"
    least = 0.25
    most = 0.75

    def __init__(self, database: Database, bus: Bus, announcer: Announcer) -> None:
        self._database, self._bus, self._announcer = database, bus, announcer
        self._progress = BusProgress()

    async def work(self) -> bool:
        """One batch; more when it was full."""
        waiting = await self._look_at_bus()
        if waiting is None:
            return False
        async with self._database.connection() as connection:
            if sum(waiting) <= _BACKLOG_MESSAGES:
                self._progress.forget()
                due = await wake_due_executions(connection, _BATCH, 0.0)
            else:
                # Bulk is handed out beside the rest, at a pace of its own, and nobody knows what is bulk.
                passed = None if waiting.bulk else await self._progress.look(connection)
                due = await wake_due_executions(connection, _BATCH, _PATIENCE_SECONDS, passed)
        if due:
            metrics.count_republished(len(due))
            self._announcer.announce(
                [Ready(d.tenant_id, d.id, d.epoch, d.workflow_id, d.version, b"", d.traceparent) for d in due]
            )
        return len(due) == _BATCH

    async def _look_at_bus(self) -> _Waiting | None:
        """What waits on the bus; None: it is away, and waking would only be lost."""
        try:
            waiting = _Waiting(await self._bus.depth(bulk=False), await self._bus.depth(bulk=True))
        except Unavailable:
            BUS_CONNECTED.tell(0)
            BUS_READY.tell_all({})
            return None
        BUS_CONNECTED.tell(self._bus.connected)
        BUS_READY.tell_all({("usual",): waiting.usual, ("bulk",): waiting.bulk})
        return waiting
