"""What a cache, and its absence, look like in the metrics."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.cache.connect import make_live_feed, make_rates
from libs.common.cache.protocol import LiveEvent
from libs.common.clock import SystemClock, new_id
from libs.common.embedded.valkey import EmbeddedValkey
from libs.common.telemetry.registry import REGISTRY
from libs.common.telemetry.states import BREAKER
from services.executor.redis_watch import RedisWatch
from tests.waiting import patience

EVENT = LiveEvent(new_id(), new_id(), new_id(), "completed", SystemClock().now())


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path)
    yield server
    await server.stop()
    BREAKER.tell_all({})


def told(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"signalbox_{name}", labels)


async def test_a_breaker_is_open_while_nothing_is_tried_and_closes_again(valkey: EmbeddedValkey) -> None:
    url = await valkey.start()
    feed, rates = make_live_feed(url), make_rates(url)
    await valkey.stop()
    await feed.publish([EVENT])
    assert await rates.take("key", 10, 1) == 0, "each process counts by itself meanwhile"
    assert [told("breaker_open", breaker=name) for name in ("live_feed", "rates")] == [1, 1]
    await valkey.start()
    async with patience():
        while told("breaker_open", breaker="live_feed") or told("breaker_open", breaker="rates"):
            await feed.publish([EVENT])
            await rates.take("key", 1_000, 1)
            await asyncio.sleep(0.02)
    await feed.close()
    await rates.close()


async def test_redis_tells_its_own_figures_and_is_missed_when_it_is_away(valkey: EmbeddedValkey) -> None:
    feed = make_live_feed(await valkey.start())
    figures = await feed.figures()
    assert figures is not None and figures["used_memory"] > 100_000 and figures["connected_clients"] >= 1
    await valkey.stop()
    assert await feed.figures() == {}
    await feed.close()
    assert await make_live_feed("").figures() is None


async def test_the_executor_tells_them(valkey: EmbeddedValkey) -> None:
    feed = make_live_feed(await valkey.start())
    watch = RedisWatch(feed, 0.01)
    watch.start()
    async with patience():
        while told("redis_up") != 1:  # noqa: ASYNC110 - a gauge announces nothing
            await asyncio.sleep(0.01)
        assert (told("redis_memory_bytes") or 0) > 100_000
        await valkey.stop()
        while told("redis_up") != 0:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.01)
    assert told("redis_memory_bytes") is None, "nothing old is told"
    await watch.stop()
    await feed.close()
