"""Rates of tenants, without a round trip a call: a process takes a two-hundredth of the rate from the shared counter,
gives it out by itself, and takes the next one in the background before it is gone. A rate of less than 200 calls is
counted one by one, so it is exact.

Who was refused is refused without asking again until there may be room. What a process has taken and not given out
(less than a hundredth of the rate) stays with it.
"""

import asyncio
from math import ceil
from time import monotonic
from typing import TypeAlias
from uuid import UUID

import msgspec

from libs.common.cache.rates import RateLimiter, Spent
from libs.common.domain.limits import Limits, rate_of
from libs.common.domain.webhook_settings import Rate
from libs.common.errors import LimitShown, RateLimited
from libs.common.limits.near import NearLimits
from libs.common.tasks import end_tasks

_SHARE, _MOST_AT_ONCE = 200, 1_000
_MOST_KEYS = 10_000

_Key: TypeAlias = tuple[UUID, str]
"""A tenant and the name of its rate."""


class _Held(msgspec.Struct):
    """What this process holds of a rate. `fetching`: takes more of it in the background."""

    asking: asyncio.Lock
    fetching: asyncio.Task[None] | None = None
    left: int = 0
    used: int = 0
    none_until: float = 0.0


class TenantRates:
    """Says whether one more is within a rate of a tenant. `near`: told when most of it is used."""

    def __init__(self, shared: RateLimiter, near: NearLimits) -> None:
        self._shared, self._near = shared, near
        self._held: dict[_Key, _Held] = {}

    async def take(self, tenant_id: UUID, limits: Limits, name: str, cost: int = 1) -> None:
        """So much of the rate of that name is taken. Raises `RateLimited`; a tenant without that rate costs nothing."""
        rate = rate_of(limits, name)
        if rate is None or cost <= 0:
            return
        key = (tenant_id, name)
        held = self._held.get(key) or self._make(key)
        spent = self._known(held, key, rate, cost) or await self._ask(held, key, rate, cost)
        self._near.note(tenant_id, name, rate.calls, spent.used)
        if spent.wait > 0:
            text: str = getattr(limits, name)
            detail = f"The limit {name} of this tenant is {text}."
            raise RateLimited(detail, max(1, ceil(spent.wait)), LimitShown(name, text, spent.used))

    async def used(self, tenant_id: UUID, limits: Limits, name: str) -> int | None:
        """How much of the rate is taken at present; None: there is no such limit."""
        rate = rate_of(limits, name)
        return None if rate is None else (await self._spend((tenant_id, name), rate, 0)).used

    async def close(self) -> None:
        """Nothing is taken in the background any more."""
        await end_tasks(*[held.fetching for held in self._held.values()])

    def _make(self, key: _Key) -> _Held:
        if len(self._held) >= _MOST_KEYS:
            idle = [one for one, held in self._held.items() if held.fetching is None and not held.asking.locked()]
            for one in idle[: _MOST_KEYS // 2]:
                del self._held[one]
        return self._held.setdefault(key, _Held(asyncio.Lock()))

    def _known(self, held: _Held, key: _Key, rate: Rate, cost: int) -> Spent | None:
        """What can be said without asking; more is fetched before it is gone."""
        if held.left >= cost:
            held.left -= cost
            if held.fetching is None and held.left < _share(rate) // 2:
                held.fetching = asyncio.get_running_loop().create_task(self._fetch(held, key, rate))
            return Spent(0.0, held.used)
        wait = held.none_until - monotonic()
        return Spent(wait, rate.calls) if wait > 0 else None

    async def _fetch(self, held: _Held, key: _Key, rate: Rate) -> None:
        try:
            async with held.asking:
                spent = await self._spend(key, rate, _share(rate))
                if spent.wait == 0.0:
                    held.left, held.used = held.left + _share(rate), spent.used
        finally:
            held.fetching = None

    async def _ask(self, held: _Held, key: _Key, rate: Rate, cost: int) -> Spent:
        async with held.asking:
            if (known := self._known(held, key, rate, cost)) is not None:
                return known
            wanted = cost + _share(rate)
            spent = await self._spend(key, rate, wanted)
            if spent.wait > 0 and wanted > cost:
                wanted, spent = cost, await self._spend(key, rate, cost)
            if spent.wait > 0:
                held.none_until = monotonic() + spent.wait if cost == 1 else held.none_until
            else:
                held.left, held.used = held.left + wanted - cost, spent.used
            return spent

    async def _spend(self, key: _Key, rate: Rate, cost: int) -> Spent:
        return await self._shared.spend(f"{key[1]}:{key[0]}", rate.calls, rate.seconds, cost)


def _share(rate: Rate) -> int:
    """How much is taken at once."""
    return min(rate.calls // _SHARE, _MOST_AT_ONCE)
