"""What a process needs to hold tenants to their limits, together: plans, rates, executions in flight, and the warnings
that are written every few seconds.
"""

import asyncio

from libs.common.cache.shared_rates import SharedRates
from libs.common.clock import Clock
from libs.common.db.pool import Database
from libs.common.domain.limits import Limits
from libs.common.errors import LimitShown, QuotaExceeded, TooLarge
from libs.common.limits.in_flight import InFlight
from libs.common.limits.near import NearLimits
from libs.common.limits.plans import Plans
from libs.common.limits.rates import TenantRates
from libs.common.settings import Settings
from libs.common.tasks import end_tasks

_WRITE_SECONDS = 5.0


class Limiter:
    """One a process."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        """Raises `OperatorError` when a plan of the settings has a fault."""
        self.plans, self.near = Plans(settings), NearLimits(database, clock)
        self.shared = SharedRates(settings.redis_url.reveal())
        self.rates, self.in_flight = TenantRates(self.shared, self.near), InFlight(database, self.near)
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Warnings are written from now on."""
        self._writing = asyncio.get_running_loop().create_task(self._keep_writing())

    async def stop(self) -> None:
        """What was noted is written, if PostgreSQL is there."""
        await end_tasks(self._writing)
        await self.near.write()
        await self.rates.close()
        await self.in_flight.close()
        await self.shared.close()

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_SECONDS)
            await self.near.write()


def check_room(limits: Limits, stored_bytes: int) -> None:
    """Raises `QuotaExceeded` when the tenant stores as much as it may."""
    value = limits.stored_bytes
    if value is not None and stored_bytes >= value:
        raise QuotaExceeded(LimitShown("stored_bytes", value, stored_bytes))


def check_payload(limits: Limits, size: int) -> None:
    """Raises `TooLarge` when what shall start something is larger than the tenant may send."""
    value = limits.payload_bytes
    if value is not None and size > value:
        raise TooLarge(value, LimitShown("payload_bytes", value, size))
