"""Rates that all processes of an installation share, in Redis or Valkey: one round trip a call, by Redis's own clock.

While Redis is away each process counts by itself; after a failure Redis is not asked for a second.
"""

import asyncio
from time import monotonic
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from libs.common.cache.rates import LocalRates, Spent, used_of
from libs.common.telemetry.states import BREAKER

_ANSWER_SECONDS = 0.25
_QUIET_SECONDS = 1.0
_AWAY = (RedisError, OSError, TimeoutError)

# Microseconds throughout. The key holds when everything taken is given back; it dies by itself then.
_SPEND = """
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000000 + tonumber(t[2])
local share, period, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full = tonumber(redis.call('GET', KEYS[1]) or now)
if full < now then full = now end
local after = full + share * cost
if after - now > period then return {after - now - period, full - now} end
if cost > 0 then
    redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
end
return {0, after - now}
"""


class RedisRates:
    """See `rates.RateLimiter`."""

    def __init__(self, url: str) -> None:
        self._redis: Any = redis.asyncio.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
            url, socket_connect_timeout=1.0, socket_timeout=1.0, retry=Retry(NoBackoff(), 0), max_connections=16
        )
        self._script = self._redis.register_script(_SPEND)
        self._local, self._quiet_until = LocalRates(), 0.0

    async def take(self, key: str, calls: int, seconds: int) -> float:
        return (await self.spend(key, calls, seconds, 1)).wait

    async def spend(self, key: str, calls: int, seconds: int, cost: int) -> Spent:
        if monotonic() < self._quiet_until:
            return await self._local.spend(key, calls, seconds, cost)
        period = seconds * 1_000_000
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                waits, filled = await self._script(
                    keys=[f"rate:{key}"], args=[period // calls or 1, period, min(cost, calls)]
                )
        except _AWAY:
            self._quiet_until = monotonic() + _QUIET_SECONDS
            BREAKER.tell(1, "rates")
            return await self._local.spend(key, calls, seconds, cost)
        if self._quiet_until:
            self._quiet_until = 0.0
            BREAKER.tell(0, "rates")
        return Spent(waits / 1_000_000, used_of(filled / 1_000_000, calls, seconds))

    async def close(self) -> None:
        await self._redis.aclose()
