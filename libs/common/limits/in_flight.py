"""How many executions of a tenant are in flight, known without a round trip a call.

The count of the database is asked for in the background while a tenant is busy, and what this process has accepted
since is added: every second once an eighth of the room that there was is taken, every ten seconds before. Nobody is
refused by an old number: before that the count is taken anew, once for all who wait for it. So the limit is exact for
one process; several may together exceed it by what they accept within a second, or (more than eight of them) in an
eighth of the room each. All times are longer for whoever has more than ten thousand in flight: to count takes longer.
"""

import asyncio
from time import monotonic
from uuid import UUID

import msgspec

from libs.common.db.pool import Database
from libs.common.db.tenant_limits import count_in_flight
from libs.common.domain.limits import Limits
from libs.common.errors import LimitShown, RateLimited, Unavailable
from libs.common.limits.near import NearLimits
from libs.common.tasks import end_tasks

NAME = "executions_in_flight"
_OLD_SECONDS, _FRESH_SECONDS = 1.0, 0.05
_OLDEST_SECONDS, _QUICKLY_COUNTED = 10.0, 10_000
_SHARE = 8
_RETRY_SECONDS = 2
_MOST_TENANTS = 10_000


class _Count(msgspec.Struct):
    """`counted`: by the database, `at` that time; `since`: accepted by this process since it was asked."""

    counted: int = 0
    since: int = 0
    at: float = 0.0
    asking: asyncio.Task[None] | None = None


class InFlight:
    """Admits executions while there is room."""

    def __init__(self, database: Database, near: NearLimits) -> None:
        self._database, self._near = database, near
        self._counts: dict[UUID, _Count] = {}

    async def admit(self, tenant_id: UUID, limits: Limits, cost: int = 1) -> None:
        """There is room for so many more. Raises `RateLimited`; a tenant without that limit costs nothing."""
        value = limits.executions_in_flight
        if value is None:
            return
        count = self._counts.get(tenant_id) or self._make(tenant_id)
        age = (monotonic() - count.at) / (1 + count.counted / _QUICKLY_COUNTED)
        if count.at == 0.0 or (age > _FRESH_SECONDS and count.counted + count.since + cost > value):
            await asyncio.shield(self._ask(tenant_id, count))
        elif age > _OLDEST_SECONDS or (age > _OLD_SECONDS and count.since * _SHARE > value - count.counted):
            self._ask(tenant_id, count)
        used = count.counted + count.since
        if used + cost > value:
            self._near.note(tenant_id, NAME, value, used)
            detail = f"The limit {NAME} of this tenant is {value}."
            raise RateLimited(detail, _RETRY_SECONDS, LimitShown(NAME, value, used))
        count.since += cost
        self._near.note(tenant_id, NAME, value, used + cost)

    async def close(self) -> None:
        """Nothing is asked any more."""
        await end_tasks(*[count.asking for count in self._counts.values()])

    def _make(self, tenant_id: UUID) -> _Count:
        if len(self._counts) >= _MOST_TENANTS:
            idle = [one for one, count in self._counts.items() if count.asking is None]
            for one in idle:
                del self._counts[one]
        return self._counts.setdefault(tenant_id, _Count())

    def _ask(self, tenant_id: UUID, count: _Count) -> "asyncio.Task[None]":
        if count.asking is None:
            count.asking = asyncio.get_running_loop().create_task(self._count(tenant_id, count))
        return count.asking

    async def _count(self, tenant_id: UUID, count: _Count) -> None:
        before = count.since
        try:
            async with self._database.connection() as connection:
                counted = (await count_in_flight(connection, [tenant_id])).get(tenant_id, 0)
            count.counted, count.since = counted, count.since - before
        except Unavailable:
            pass  # the last number stands: what can still be accepted (on the spool) is not refused for want of a count
        finally:
            count.at, count.asking = monotonic(), None
