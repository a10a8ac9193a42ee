"""What `libs/common/bus/protocol.py` promises, held against every implementation of the bus."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import aio_pika
import pytest

from libs.common.bus.connect import make_bus
from libs.common.bus.protocol import Bus, Delivery
from libs.common.errors import OperatorError, Unavailable
from tests.waiting import patience, until

DELIVERIES = 11
"""The delivery limit of both implementations is 10 returns."""

BusFactory = Callable[[], Awaitable[Bus]]


@pytest.fixture(params=["memory", "amqp"])
async def open_bus(request: pytest.FixtureRequest) -> AsyncIterator[BusFactory]:
    """Opens further connections to the same queues: another process, as it were. All are closed in the end."""
    prefix = f"test-{uuid4().hex[:12]}"
    opened: list[Bus] = []
    url = "memory://" if request.param == "memory" else request.getfixturevalue("amqp_url")
    tasks_before = asyncio.all_tasks()

    async def open_one() -> Bus:
        if opened and request.param == "memory":
            return opened[0]
        bus = make_bus(url, prefix)
        opened.append(bus)
        await bus.connect()
        return bus

    yield open_one
    for bus in opened:
        await bus.close()
    await until(lambda: _nothing_runs_but(tasks_before))
    if request.param == "amqp":
        await delete_queues(url, prefix)


@pytest.fixture
async def bus(open_bus: BusFactory) -> Bus:
    return await open_bus()


async def delete_queues(url: str, prefix: str) -> None:
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        await channel.queue_delete(f"{prefix}.ready")
        await channel.queue_delete(f"{prefix}.ready.bulk")
        await channel.queue_delete(f"{prefix}.dead")
        await channel.exchange_delete(f"{prefix}.dead")


class Collector:
    """A handler that does `act` and knows what it saw; `started` and `complete` wait for `expect` of its runs."""

    def __init__(self, act: Callable[[Delivery], Awaitable[None]], expect: int = 1) -> None:
        self.seen: list[Delivery] = []
        self._act, self._expect, self._ended = act, expect, 0
        self._all_started, self._all_ended = asyncio.Event(), asyncio.Event()

    async def __call__(self, delivery: Delivery) -> None:
        self.seen.append(delivery)
        if len(self.seen) >= self._expect:
            self._all_started.set()
        try:
            await self._act(delivery)
        finally:
            self._ended += 1
            if self._ended >= self._expect:
                self._all_ended.set()

    async def started(self) -> None:
        async with patience():
            await self._all_started.wait()

    async def complete(self) -> None:
        async with patience():
            await self._all_ended.wait()


async def ack(delivery: Delivery) -> None:
    await delivery.ack()


async def put_back(delivery: Delivery) -> None:
    await delivery.put_back()


async def reject(delivery: Delivery) -> None:
    await delivery.reject()


async def crash(delivery: Delivery) -> None:
    raise RuntimeError("planted")


async def forget(delivery: Delivery) -> None:
    return


async def never_settle(delivery: Delivery) -> None:
    await asyncio.Event().wait()


async def test_everything_published_arrives_and_acked_never_again(bus: Bus, open_bus: BusFactory) -> None:
    bodies = [f"{number}".encode() * 100 for number in range(500)]
    collector = Collector(ack, expect=500)
    consumer = await bus.consume(collector, prefetch=20)
    await asyncio.gather(*[bus.publish(bodies[start : start + 50]) for start in range(0, 500, 50)])
    await collector.complete()
    await consumer.stop()
    assert sorted(delivery.body for delivery in collector.seen) == sorted(bodies)
    assert all(delivery.attempt == 1 and not delivery.redelivered for delivery in collector.seen)
    other = await open_bus()
    assert await other.depth() == 0
    assert await other.dead_letters() == 0


async def test_what_was_published_before_anybody_consumed_arrives(bus: Bus) -> None:
    await bus.publish([b"a", b"b", b"c"])
    collector = Collector(ack, expect=3)
    await bus.consume(collector, prefetch=1)
    await collector.complete()
    assert {delivery.body for delivery in collector.seen} == {b"a", b"b", b"c"}


async def test_nothing_and_an_empty_body_can_be_published(bus: Bus) -> None:
    await bus.publish([])
    await bus.publish([b""])
    collector = Collector(ack)
    await bus.consume(collector, prefetch=1)
    await collector.complete()
    assert collector.seen[0].body == b""


async def test_a_body_larger_than_a_frame_arrives_whole(bus: Bus) -> None:
    body = bytes(range(256)) * 2_000
    collector = Collector(ack)
    await bus.consume(collector, prefetch=1)
    await bus.publish([body])
    await collector.complete()
    assert collector.seen[0].body == body


async def test_depth_counts_what_nobody_has(bus: Bus) -> None:
    await bus.publish([b"a", b"b", b"c"])
    await until(lambda: _is(bus.depth, 3))
    collector = Collector(never_settle, expect=2)
    await bus.consume(collector, prefetch=2)
    await collector.started()
    await until(lambda: _is(bus.depth, 1))


async def test_rejected_goes_to_the_dead_letters(bus: Bus) -> None:
    collector = Collector(reject)
    await bus.consume(collector, prefetch=5)
    await bus.publish([b"poison"])
    await until(lambda: _is(bus.dead_letters, 1))
    assert await bus.depth() == 0
    assert len(collector.seen) == 1


async def test_put_back_comes_again_and_says_so(bus: Bus) -> None:
    async def put_back_once(delivery: Delivery) -> None:
        await (delivery.put_back() if delivery.attempt == 1 else delivery.ack())

    collector = Collector(put_back_once, expect=2)
    await bus.consume(collector, prefetch=5)
    await bus.publish([b"later"])
    await collector.complete()
    first, second = collector.seen
    assert (first.attempt, first.redelivered) == (1, False)
    assert (second.attempt, second.redelivered) == (2, True)
    assert first.body == second.body == b"later"


@pytest.mark.parametrize("act", [crash, forget, put_back])
async def test_what_fails_too_often_goes_to_the_dead_letters(bus: Bus, act: Callable[[Delivery], Any]) -> None:
    collector = Collector(act, expect=DELIVERIES)
    await bus.consume(collector, prefetch=5)
    await bus.publish([b"poison"])
    await until(lambda: _is(bus.dead_letters, 1))
    assert [delivery.attempt for delivery in collector.seen] == list(range(1, DELIVERIES + 1))
    assert await bus.depth() == 0


async def test_a_poisonous_message_does_not_stop_the_others(bus: Bus) -> None:
    async def poisoned(delivery: Delivery) -> None:
        if delivery.body == b"poison":
            raise RuntimeError("planted")
        await delivery.ack()

    collector = Collector(poisoned, expect=DELIVERIES + 100)
    await bus.consume(collector, prefetch=5)
    await bus.publish([b"poison", *(b"good" for _ in range(100))])
    await collector.complete()
    await until(lambda: _is(bus.dead_letters, 1))
    assert sum(delivery.body == b"good" for delivery in collector.seen) == 100


async def test_only_the_first_settlement_counts(bus: Bus) -> None:
    async def settle_thrice(delivery: Delivery) -> None:
        await delivery.ack()
        await delivery.put_back()
        await delivery.reject()

    collector = Collector(settle_thrice, expect=2)
    await bus.consume(collector, prefetch=1)
    await bus.publish([b"a", b"b"])
    await collector.complete()
    assert (await bus.depth(), await bus.dead_letters()) == (0, 0)
    assert bus.connected


async def test_a_handler_may_fail_after_it_has_settled(bus: Bus) -> None:
    async def ack_and_crash(delivery: Delivery) -> None:
        await delivery.ack()
        raise RuntimeError("planted")

    collector = Collector(ack_and_crash, expect=2)
    await bus.consume(collector, prefetch=1)
    await bus.publish([b"a", b"b"])
    await collector.complete()
    assert [delivery.attempt for delivery in collector.seen] == [1, 1]


async def test_never_more_handlers_than_prefetch_and_as_many(bus: Bus) -> None:
    running = peak = 0
    full, proceed = asyncio.Event(), asyncio.Event()

    async def occupy(delivery: Delivery) -> None:
        nonlocal running, peak
        await delivery.ack()  # early: the broker sends more, which must wait here
        running += 1
        peak = max(peak, running)
        if running == 4:
            full.set()
        await proceed.wait()
        running -= 1

    collector = Collector(occupy, expect=40)
    await bus.consume(collector, prefetch=4)
    await bus.publish([b"x"] * 40)
    async with patience():
        await full.wait()
    proceed.set()
    await collector.complete()
    assert peak == 4


async def test_two_consumers_share_the_work(open_bus: BusFactory) -> None:
    one, other = await open_bus(), await open_bus()
    stuck, free = Collector(never_settle, expect=2), Collector(ack, expect=8)
    await one.consume(stuck, prefetch=2)
    await one.publish([b"x"] * 2)
    await stuck.started()
    await other.consume(free, prefetch=2)
    await one.publish([b"y"] * 8)
    await free.complete()
    assert len(stuck.seen) == 2


async def test_stop_waits_for_handlers_under_way(bus: Bus) -> None:
    started, proceed = asyncio.Event(), asyncio.Event()

    async def slow(delivery: Delivery) -> None:
        started.set()
        await proceed.wait()
        await delivery.ack()

    consumer = await bus.consume(slow, prefetch=1)
    await bus.publish([b"x"])
    await started.wait()
    stopping = asyncio.create_task(consumer.stop())
    done, _ = await asyncio.wait([stopping], timeout=0.2)
    assert not done
    proceed.set()
    await stopping
    await consumer.stop()
    assert (await bus.depth(), await bus.dead_letters()) == (0, 0)


async def test_unsettled_comes_again_after_a_consumer_stopped(bus: Bus) -> None:
    stuck = Collector(never_settle, expect=3)
    consumer = await bus.consume(stuck, prefetch=3)
    await bus.publish([b"a", b"b", b"c", b"d"])
    await stuck.started()
    await consumer.stop(grace_seconds=0)
    again = Collector(ack, expect=4)
    await bus.consume(again, prefetch=3)
    await again.complete()
    assert {delivery.body for delivery in again.seen} == {b"a", b"b", b"c", b"d"}
    assert {delivery.body for delivery in again.seen if delivery.redelivered} >= {b"a", b"b", b"c"}


async def test_what_waits_for_a_handler_is_given_back_on_stop(bus: Bus) -> None:
    async def ack_and_wait(delivery: Delivery) -> None:
        await delivery.ack()
        await asyncio.Event().wait()

    busy = Collector(ack_and_wait)
    consumer = await bus.consume(busy, prefetch=1)
    await bus.publish([b"a", b"b"])
    await busy.started()
    await consumer.stop(grace_seconds=0)
    again = Collector(ack)
    await bus.consume(again, prefetch=1)
    await again.complete()
    assert {busy.seen[0].body, again.seen[0].body} == {b"a", b"b"}


async def test_a_stopped_consumer_takes_nothing(bus: Bus) -> None:
    collector = Collector(ack)
    consumer = await bus.consume(collector, prefetch=5)
    await consumer.stop()
    await bus.publish([b"x"])
    await until(lambda: _is(bus.depth, 1))
    assert collector.seen == []
    assert bus.connected


async def test_a_closed_bus_is_unavailable_at_once(bus: Bus) -> None:
    collector = Collector(never_settle)
    await bus.consume(collector, prefetch=1)
    await bus.publish([b"x"])
    await collector.started()
    await bus.close()
    assert not bus.connected
    async with asyncio.timeout(5):  # not after a time-out
        with pytest.raises(Unavailable):
            await bus.publish([b"y"])
    await bus.close()


def test_an_unknown_address_is_the_operators_mistake() -> None:
    with pytest.raises(OperatorError):
        make_bus("kafka://somewhere")


async def _is(ask: Callable[[], Awaitable[int]], expected: int) -> bool:
    return await ask() == expected


async def _nothing_runs_but(before: set[asyncio.Task[Any]]) -> bool:
    return asyncio.all_tasks() - before <= {asyncio.current_task()}


async def test_lanes_are_apart(bus: Bus, open_bus: BusFactory) -> None:
    """What one lane holds does not stand in front of the other, and both count."""
    await bus.publish([b"bulk"] * 30, bulk=True)
    await bus.publish([b"prompt"])
    other = await open_bus()

    async def both_count() -> bool:
        return await other.depth() == 31

    await until(both_count)
    prompt, bulk = Collector(ack), Collector(ack, expect=30)
    first = await bus.consume(prompt, prefetch=5)
    await prompt.complete()
    second = await bus.consume(bulk, prefetch=5, bulk=True)
    await bulk.complete()
    await asyncio.gather(first.stop(), second.stop())
    assert [delivery.body for delivery in prompt.seen] == [b"prompt"]
    assert {delivery.body for delivery in bulk.seen} == {b"bulk"}
    assert await other.depth() == 0
