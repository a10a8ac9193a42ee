"""The limits of tenants at the gateway: how often it is called, what may be started, what may be made.

The limits of a tenant are remembered for `cache_seconds`, as credentials are. What is made (workflows, schedules) is
counted in the transaction that makes it, under a lock on the tenant's row, so that two requests at once cannot both
have the last place.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

from libs.common.clock import Clock
from libs.common.db.pool import Connection, Database
from libs.common.db.tenant_limits import Quota, count_stocks, find_quota, lock_quota
from libs.common.domain.limits import Limits
from libs.common.domain.workflow import Definition, action_places
from libs.common.errors import LimitShown, QuotaExceeded
from libs.common.limits.limiter import Limiter, check_payload, check_room
from libs.common.settings import Settings

_REMEMBERED = 10_000
_NO_QUOTA = Quota(None, "{}", 0)


class GatewayLimits:
    """Holds tenants to their limits."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self.limiter = Limiter(settings, database, clock)
        self._database, self._clock = database, clock
        self._keep = timedelta(seconds=settings.cache_seconds)
        self._known: dict[UUID, tuple[Quota, datetime]] = {}

    async def limits(self, tenant_id: UUID) -> Limits:
        """Of a tenant. Raises `Unavailable`."""
        return self.of(await self.quota(tenant_id))

    def of(self, quota: Quota | None) -> Limits:
        """What a plan and own limits come to."""
        quota = quota or _NO_QUOTA
        return self.limiter.plans.limits(quota.plan, quota.quota)

    async def quota(self, tenant_id: UUID) -> Quota:
        """As it is stored, or was a moment ago."""
        now, known = self._clock.now(), self._known.get(tenant_id)
        if known is None or known[1] <= now:
            async with self._database.for_tenant(tenant_id).transaction() as connection:
                found = await find_quota(connection, tenant_id)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[tenant_id] = (found or _NO_QUOTA, now + self._keep)
        return known[0]

    async def admit_call(self, tenant_id: UUID) -> None:
        """One more call of the API. Raises `RateLimited`."""
        await self.limiter.rates.take(tenant_id, await self.limits(tenant_id), "api_rate")

    async def admit_start(self, tenant_id: UUID, size: int, events: int = 0) -> None:
        """Something may be started by `size` bytes that raise so many events. Raises `TooLarge`, `QuotaExceeded` or
        `RateLimited`.
        """
        quota = await self.quota(tenant_id)
        limits = self.of(quota)
        check_payload(limits, size)
        check_room(limits, quota.stored_bytes)
        await self.limiter.rates.take(tenant_id, limits, "event_rate", events)
        await self.limiter.in_flight.admit(tenant_id, limits)

    async def admit_rows(self, tenant_id: UUID) -> None:
        """Something may be stored. Raises `QuotaExceeded`."""
        quota = await self.quota(tenant_id)
        check_room(self.of(quota), quota.stored_bytes)

    @asynccontextmanager
    async def making(self, connection: Connection, tenant_id: UUID, definition: Definition) -> AsyncGenerator[None]:
        """Inside, a workflow or task is written. Raises `QuotaExceeded` when there are more of a kind than there may be
        and more than there were: whoever is above a limit already may still change what is there.
        """
        limits = self.of(await find_quota(connection, tenant_id))
        _check_actions(limits, definition)
        most = {"workflows": limits.workflows, "schedules": limits.schedules}
        if all(value is None for value in most.values()):
            yield
            return
        await lock_quota(connection, tenant_id)
        before = (await count_stocks(connection, [tenant_id]))[tenant_id]._asdict()
        yield
        after = (await count_stocks(connection, [tenant_id]))[tenant_id]._asdict()
        _check_stocks(most, before, after)
        for name, value in most.items():
            self.limiter.near.note(tenant_id, name, value or 0, after[name])


def _check_actions(limits: Limits, definition: Definition) -> None:
    value, used = limits.actions_per_execution, len(action_places(definition))
    if value is not None and used > value:
        raise QuotaExceeded(LimitShown("actions_per_execution", value, used))


def _check_stocks(most: Mapping[str, int | None], before: Mapping[str, int], after: Mapping[str, int]) -> None:
    for name, value in most.items():
        if value is not None and after[name] > value and after[name] > before[name]:
            raise QuotaExceeded(LimitShown(name, value, before[name]))
