"""Chooses the feed of live events and who counts. Redis's client is imported only by whom it serves: it costs
20 MB of memory.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from libs.common.cache.outstanding import NobodyCounts, Outstanding
from libs.common.cache.protocol import LiveEvent, LiveFeed
from libs.common.cache.rates import LocalRates, RateLimiter
from libs.common.cache.redis_outstanding import RedisOutstanding


def make_live_feed(url: str) -> LiveFeed:
    """The feed over the Redis or Valkey at `url` (`redis://…`, `rediss://…`, `unix://…`); empty: no live events."""
    if not url:
        return NoLiveFeed()
    from libs.common.cache.redis import RedisLiveFeed  # noqa: PLC0415 - see above

    return RedisLiveFeed(url)


def make_rates(url: str) -> RateLimiter:
    """Rates over the Redis or Valkey at `url`; empty: each process counts by itself."""
    if not url:
        return LocalRates()
    from libs.common.cache.redis_rates import RedisRates  # noqa: PLC0415 - see above

    return RedisRates(url)


def make_outstanding(url: str) -> Outstanding:
    """What tenants have outstanding, counted over the Redis or Valkey at `url`; empty: PostgreSQL alone knows."""
    if not url:
        return NobodyCounts()
    return RedisOutstanding(url)


class NoLiveFeed:
    """Nobody sees anything. See `protocol.LiveFeed`."""

    def __init__(self) -> None:
        self._closed = asyncio.Event()

    async def publish(self, events: Sequence[LiveEvent]) -> None:
        return

    @asynccontextmanager
    async def subscribe(self, tenant_id: UUID) -> AsyncGenerator[AsyncIterator[bytes]]:
        yield _Silence(self._closed)

    async def ping(self) -> bool:
        return False

    async def figures(self) -> Mapping[str, float] | None:
        return None

    async def close(self) -> None:
        self._closed.set()


class _Silence:
    def __init__(self, closed: asyncio.Event) -> None:
        self._closed = closed

    def __aiter__(self) -> "_Silence":
        return self

    async def __anext__(self) -> bytes:
        await self._closed.wait()
        raise StopAsyncIteration
