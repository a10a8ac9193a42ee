"""The scheduler service: the only one that waits for time. Any number of them share the work; there is no leader."""

from libs.common.announce import Announcer
from libs.common.limits.plans import Plans
from libs.common.parts import Parts
from libs.common.runtime import Checks
from libs.common.telemetry import metrics
from services.scheduler.arrears import Arrears
from services.scheduler.backfills import Backfills
from services.scheduler.dispatch import Dispatch
from services.scheduler.erasing import Erasing
from services.scheduler.firing import Firing
from services.scheduler.housekeeping import Housekeeping
from services.scheduler.intake import Intake
from services.scheduler.jobs import Jobs
from services.scheduler.limit_watch import LimitWatch
from services.scheduler.loop import Loop
from services.scheduler.metering import Metering
from services.scheduler.rescue import Rescue
from services.scheduler.retention import Retention
from services.scheduler.slots import Slots
from services.scheduler.turns import Turns
from services.scheduler.waking import Waking
from services.scheduler.watching import Watching


class SchedulerService:
    """All duties in one loop, and the events that come from an exchange of the platform."""

    app = None

    def __init__(self, parts: Parts) -> None:
        metrics.show_schedules(parts.settings.schedule_series)
        self._announcer = Announcer(parts.bus, parts.windows)
        dispatch = [] if parts.windows is None else [Dispatch(parts.database, parts.windows, self._announcer)]
        plans = Plans(parts.settings)
        self._intake, self._drain_seconds = Intake(parts), parts.settings.drain_seconds
        self._loop = Loop(
            [
                *dispatch,
                Firing(parts.database, parts.acceptor),
                Turns(parts.database, parts.acceptor),
                Arrears(parts.database, parts.acceptor),
                Backfills(parts.database, parts.acceptor),
                Waking(parts.database, parts.bus, self._announcer),
                Rescue(parts.database),
                Jobs(parts.database, self._announcer),
                Slots(parts.database),
                Erasing(parts.database, parts.settings.cache_seconds),
                Housekeeping(parts.database, parts.clock, parts.settings.audit_days),
                Metering(parts.database),
                Retention(parts.database, plans, parts.clock),
                LimitWatch(parts.database, parts.acceptor, plans, parts.clock),
                Watching(parts.database, parts.vault, parts.acceptor, parts.clock, parts.settings.watch_seconds),
            ]
        )
        self.checks: Checks = {"database": parts.database_answers, "bus": parts.bus_is_connected}

    async def start(self) -> None:
        """All duties begin."""
        self._loop.start()
        self._intake.start()

    async def hang_up(self) -> None:
        """Nothing: nobody is connected."""

    async def stop(self) -> None:
        """Every duty ends the batch it is at; messages in hand are done or go back."""
        await self._intake.stop(self._drain_seconds)
        await self._loop.stop()
        await self._announcer.close()
