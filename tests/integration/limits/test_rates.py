"""Rates of a tenant over several processes, in portions, and with Redis away."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from libs.common.cache.rates import RateLimiter, Spent
from libs.common.cache.redis_rates import RedisRates
from libs.common.cache.shared_rates import SharedRates
from libs.common.db.pool import Database
from libs.common.domain.limits import Limits
from libs.common.embedded.valkey import EmbeddedValkey
from libs.common.errors import RateLimited
from libs.common.limits.near import NearLimits
from libs.common.limits.rates import TenantRates
from tests.integration.conftest import MovableClock

TENANT, OTHER = UUID(int=1), UUID(int=2)


class Counted:
    """A limiter that counts how often it is asked, and answers nobody while it is not `open`."""

    def __init__(self, inner: RateLimiter) -> None:
        self.inner, self.asked, self.open = inner, 0, asyncio.Event()
        self.open.set()

    async def take(self, key: str, calls: int, seconds: int) -> float:
        return (await self.spend(key, calls, seconds, 1)).wait

    async def spend(self, key: str, calls: int, seconds: int, cost: int) -> Spent:
        self.asked += 1
        await self.open.wait()
        return await self.inner.spend(key, calls, seconds, cost)

    async def close(self) -> None:
        await self.inner.close()


@pytest.fixture
async def processes(redis_url: str, database: Database) -> AsyncIterator[list[tuple[TenantRates, Counted]]]:
    """Two processes that share a Redis."""
    shared = [Counted(RedisRates(redis_url)) for _ in range(2)]
    rates = [TenantRates(one, NearLimits(database, MovableClock())) for one in shared]
    yield list(zip(rates, shared, strict=True))
    for one in [*rates, *shared]:
        await one.close()


async def taken(rates: TenantRates, limits: Limits, number: int, tenant: UUID = TENANT) -> int:
    """How many of so many calls at once are taken."""
    tries = [rates.take(tenant, limits, "api_rate") for _ in range(number)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert all(one is None or isinstance(one, RateLimited) for one in done)
    return sum(one is None for one in done)


async def test_processes_share_a_small_rate_to_the_call(processes: list[tuple[TenantRates, Counted]]) -> None:
    (first, _), (second, _) = processes
    limits = Limits(api_rate="10/d")
    assert await taken(first, limits, 6) + await taken(second, limits, 6) == 10
    assert await taken(first, limits, 3) == 0
    assert await taken(second, limits, 20, OTHER) == 10


async def test_a_large_rate_is_taken_in_portions(processes: list[tuple[TenantRates, Counted]]) -> None:
    (first, asked), (second, _) = processes
    limits = Limits(api_rate="1000/d")
    assert await taken(first, limits, 500) == 500
    assert asked.asked < 120
    got = await taken(second, limits, 600)
    assert 490 <= got <= 500  # what the first holds and has not given out is its own
    asked.asked = 0
    await taken(first, limits, 100)
    assert asked.asked < 20  # who was refused is refused without asking


async def test_the_next_portion_comes_before_the_last_is_gone(processes: list[tuple[TenantRates, Counted]]) -> None:
    (first, shared), _ = processes
    limits = Limits(api_rate="20000/d")
    await first.take(TENANT, limits, "api_rate")
    shared.open.clear()
    assert await taken(first, limits, 100) == 100  # nobody waits for Redis
    assert shared.asked == 2
    waiting = asyncio.create_task(taken(first, limits, 50))
    shared.open.set()
    assert await waiting == 50
    assert shared.asked == 2


async def test_nothing_is_left_behind_that_takes_more(processes: list[tuple[TenantRates, Counted]]) -> None:
    (first, shared), _ = processes
    limits = Limits(api_rate="20000/d")
    await first.take(TENANT, limits, "api_rate")
    shared.open.clear()
    assert await taken(first, limits, 100) == 100
    await first.close()
    shared.open.set()
    assert await first.used(TENANT, limits, "api_rate") == 101


async def test_the_refusal_says_when_there_is_room(processes: list[tuple[TenantRates, Counted]]) -> None:
    (first, _), _ = processes
    limits = Limits(event_rate="100/h")
    await first.take(TENANT, limits, "event_rate", 100)
    with pytest.raises(RateLimited) as refused:
        await first.take(TENANT, limits, "event_rate", 10)
    assert refused.value.retry_after_seconds == pytest.approx(360, abs=2)
    assert await first.used(TENANT, limits, "event_rate") == 100
    assert await first.used(TENANT, limits, "api_rate") is None


async def test_more_than_there_ever_is_counts_as_all(processes: list[tuple[TenantRates, Counted]]) -> None:
    (first, _), _ = processes
    limits = Limits(event_rate="5/d")
    await first.take(TENANT, limits, "event_rate", 50)
    with pytest.raises(RateLimited):
        await first.take(TENANT, limits, "event_rate")


async def test_with_redis_away_each_process_counts_by_itself(
    database: Database, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = EmbeddedValkey(tmp_path_factory.mktemp("rates"))
    shared = SharedRates(await server.start())
    rates, limits = TenantRates(shared, NearLimits(database, MovableClock())), Limits(api_rate="10/d")
    assert await taken(rates, limits, 12) == 10
    await server.stop()
    assert await taken(rates, limits, 15, OTHER) == 10
    assert await taken(rates, limits, 5) == 0  # what was refused stays refused for its time
    await rates.close()
    await shared.close()
