"""The counter of rates of this process, connected when somebody with a rate first calls: its client costs memory that
most installations do not need.
"""

import asyncio

from libs.common.cache.connect import make_rates
from libs.common.cache.rates import RateLimiter, Spent


class SharedRates:
    """See `RateLimiter`."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url, self._connecting = redis_url, asyncio.Lock()
        self._rates: RateLimiter | None = None

    async def take(self, key: str, calls: int, seconds: int) -> float:
        return await (await self._connected()).take(key, calls, seconds)

    async def spend(self, key: str, calls: int, seconds: int, cost: int) -> Spent:
        return await (await self._connected()).spend(key, calls, seconds, cost)

    async def _connected(self) -> RateLimiter:
        if self._rates is None:
            async with self._connecting:
                self._rates = self._rates or await asyncio.to_thread(make_rates, self._redis_url)
        return self._rates

    async def close(self) -> None:
        if self._rates is not None:
            await self._rates.close()
