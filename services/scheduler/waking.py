"""Duty: puts on the bus what must run now: waiting executions whose time has come, and pending ones that nobody took.

The second makes a lost message, a wiped broker or a crash between commit and publish cost seconds. While the bus
still holds a backlog, an untaken execution is most likely in it, so the sweep is patient then.
"""

from libs.common.announce import Announcer
from libs.common.bus.messages import Ready
from libs.common.bus.protocol import Bus
from libs.common.db.executions import wake_due_executions
from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.telemetry import metrics
from libs.common.telemetry.states import BUS_CONNECTED, BUS_READY

_BATCH = 500
_BACKLOG_MESSAGES = 20
_PATIENCE_SECONDS = 60.0


class Waking:
    """Wakes and re-dispatches executions."""

    name = "waking"
    least = 0.25
    most = 0.75

    def __init__(self, database: Database, bus: Bus, announcer: Announcer) -> None:
        self._database, self._bus, self._announcer = database, bus, announcer

    async def work(self) -> bool:
        """One batch; more when it was full."""
        patience = await self._patience()
        if patience is None:
            return False
        async with self._database.connection() as connection:
            due = await wake_due_executions(connection, _BATCH, patience)
        if due:
            metrics.count_republished(len(due))
            self._announcer.announce(
                [Ready(d.tenant_id, d.id, d.epoch, d.workflow_id, d.version, b"", d.traceparent) for d in due]
            )
        return len(due) == _BATCH

    async def _patience(self) -> float | None:
        """How much longer an untaken execution may wait; None: the bus is away, waking would only be lost."""
        try:
            ready = await self._bus.depth()
        except Unavailable:
            BUS_CONNECTED.tell(0)
            BUS_READY.tell(None)
            return None
        BUS_CONNECTED.tell(self._bus.connected)
        BUS_READY.tell(ready)
        return _PATIENCE_SECONDS if ready > _BACKLOG_MESSAGES else 0.0
