"""Live events over a real Valkey: who sees what, and what a missing cache costs."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from libs.common.cache.connect import make_live_feed
from libs.common.cache.protocol import LiveEvent, LiveFeed
from libs.common.clock import new_id
from libs.common.embedded.valkey import EmbeddedValkey
from tests.waiting import patience

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE, OTHER = new_id(), new_id()


@pytest.fixture
async def feed(redis_url: str) -> AsyncIterator[LiveFeed]:
    feed = make_live_feed(redis_url)
    yield feed
    await feed.close()


def event(status: str, tenant_id: UUID = ONE) -> LiveEvent:
    return LiveEvent(tenant_id, new_id(), new_id(), status, NOON)


async def statuses(events: AsyncIterator[bytes]) -> list[str]:
    async with patience():
        return [item["status"] for item in msgspec.json.decode(await anext(events))]


async def test_a_subscriber_sees_what_is_published_from_then_on(feed: LiveFeed, redis_url: str) -> None:
    worker = make_live_feed(redis_url)
    await worker.publish([event("running")])
    async with feed.subscribe(ONE) as events:
        await worker.publish([event("completed"), event("failed")])
        assert await statuses(events) == ["completed", "failed"]
    await worker.close()


async def test_a_tenant_sees_its_own_events_only(feed: LiveFeed) -> None:
    async with feed.subscribe(ONE) as ones, feed.subscribe(OTHER) as others:
        await feed.publish([event("running", OTHER), event("completed"), event("failed", OTHER)])
        assert await statuses(ones) == ["completed"]
        assert await statuses(others) == ["running", "failed"]


async def test_every_subscriber_of_a_tenant_sees_everything_and_may_leave(feed: LiveFeed) -> None:
    async with feed.subscribe(ONE) as staying:
        async with feed.subscribe(ONE) as leaving:
            await feed.publish([event("running")])
            assert await statuses(leaving) == await statuses(staying) == ["running"]
        await feed.publish([event("completed")])
        assert await statuses(staying) == ["completed"]
    async with feed.subscribe(ONE) as again:
        await feed.publish([event("failed")])
        assert await statuses(again) == ["failed"]


async def test_an_event_is_written_without_what_it_does_not_have(feed: LiveFeed) -> None:
    shown = LiveEvent(ONE, OTHER, ONE, "running", NOON, action_key="save", action_status="completed")
    async with feed.subscribe(ONE) as events:
        await feed.publish([shown, event("running")])
        async with patience():
            first, second = msgspec.json.decode(await anext(events))
    assert msgspec.convert(first, LiveEvent) == shown
    assert set(second) == {"tenant_id", "execution_id", "workflow_id", "status", "at"}


async def test_a_slow_reader_loses_the_oldest(feed: LiveFeed) -> None:
    async with feed.subscribe(ONE) as events:
        for number in range(400):
            await feed.publish([event(str(number))])
        seen = await statuses(events)
        while seen != ["399"]:
            seen = await statuses(events)


async def test_closing_ends_every_subscription(feed: LiveFeed) -> None:
    async with feed.subscribe(ONE) as events:
        await feed.close()
        async with patience():
            assert [payload async for payload in events] == []


async def test_a_missing_cache_costs_next_to_nothing_and_is_found_again(tmp_path: Path) -> None:
    tasks_before = asyncio.all_tasks()
    server = EmbeddedValkey(tmp_path)
    feed = make_live_feed(await server.start())
    async with feed.subscribe(ONE) as events:
        assert await feed.ping()
        await server.stop()
        assert not await feed.ping()
        async with asyncio.timeout(20):  # a hundred times a tenth of a second would be too much for a busy executor
            for _ in range(1_000):
                await feed.publish([event("lost")])
        await server.start()
        while True:  # as a busy executor would
            await feed.publish([event("completed")])
            try:
                async with asyncio.timeout(0.2):
                    assert b"completed" in await anext(events)
            except TimeoutError:
                continue
            break
    await feed.close()
    await server.stop()
    assert asyncio.all_tasks() == tasks_before


async def test_without_an_address_there_is_nothing_to_see() -> None:
    feed = make_live_feed("")
    await feed.publish([event("completed")])
    assert not await feed.ping()
    async with feed.subscribe(ONE) as events:
        await feed.close()
        assert [payload async for payload in events] == []
