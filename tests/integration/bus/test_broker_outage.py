"""What a bad day of the broker does to a bus that is in use: nothing that lasts, and never a hang."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from uuid import uuid4

import aio_pika
import pytest

from libs.common.bus.amqp import AmqpBus, Timing
from libs.common.bus.protocol import Delivery
from libs.common.errors import Unavailable
from tests.servers import RabbitMQ
from tests.waiting import patience, until

TIMING = Timing(connect=20, confirm=3, probe=3, watch=0.5, pauses=(0.1, 0.5))
AT_ONCE = 2
"""Seconds: fewer than anybody waits for a confirmation."""
ALARM_ON, ALARM_OFF = ("set_vm_memory_high_watermark", "0"), ("set_vm_memory_high_watermark", "0.4")


@pytest.fixture
async def bus(rabbitmq: RabbitMQ) -> AsyncIterator[AmqpBus]:
    bus = AmqpBus(rabbitmq.url, f"test-{uuid4().hex[:12]}", timing=TIMING)
    yield bus
    await bus.close()


async def kill(rabbitmq: RabbitMQ) -> None:
    """SIGKILL, after the names of young queues are on disk: RabbitMQ 3.10 writes them seconds after it confirms."""
    await rabbitmq.control("eval", "[dets:sync(Table) || Table <- dets:all()].")
    await rabbitmq.kill()


class Inbox:
    """A handler that acknowledges, and lets a test wait for a body."""

    def __init__(self) -> None:
        self._bodies: asyncio.Queue[bytes] = asyncio.Queue()

    async def __call__(self, delivery: Delivery) -> None:
        await delivery.ack()
        self._bodies.put_nowait(delivery.body)

    async def receive(self, body: bytes) -> None:
        async with patience():
            while await self._bodies.get() != body:
                pass


async def is_connected(bus: AmqpBus, holds: bool) -> None:
    """Returns when the bus has a connection, or none."""

    async def is_so() -> bool:
        return bus.connected == holds

    await until(is_so)


async def publishes(bus: AmqpBus, body: bytes) -> None:
    """As the sweep does it: again and again until it is confirmed."""

    async def is_confirmed() -> bool:
        try:
            await bus.publish([body])
        except Unavailable:
            return False
        return True

    await until(is_confirmed)


async def refuses_at_once(bus: AmqpBus) -> None:
    async with asyncio.timeout(AT_ONCE):
        with pytest.raises(Unavailable):
            await bus.publish([b"x"])


async def test_a_broker_that_comes_back_empty_is_furnished_again(bus: AmqpBus, rabbitmq: RabbitMQ) -> None:
    inbox = Inbox()
    await bus.connect()
    await bus.consume(inbox, prefetch=5)
    await bus.publish([b"before"])
    await inbox.receive(b"before")

    await rabbitmq.stop()
    await is_connected(bus, False)
    await refuses_at_once(bus)
    with pytest.raises(Unavailable):
        await bus.depth()
    rabbitmq.wipe()
    await rabbitmq.start()

    await is_connected(bus, True)
    await bus.publish([b"after"])
    await inbox.receive(b"after")
    assert await bus.dead_letters() == 0


async def test_what_was_confirmed_survives_a_killed_broker(bus: AmqpBus, rabbitmq: RabbitMQ) -> None:
    await bus.connect()
    await bus.publish([b"kept"] * 20)
    await kill(rabbitmq)
    await is_connected(bus, False)
    await rabbitmq.start()
    inbox = Inbox()
    await bus.consume(inbox, prefetch=5)
    for _ in range(20):
        await inbox.receive(b"kept")


async def test_a_lost_connection_cancels_no_handler_and_its_message_comes_again(
    bus: AmqpBus, rabbitmq: RabbitMQ
) -> None:
    first, proceed, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    seen: list[Delivery] = []

    async def slow(delivery: Delivery) -> None:
        seen.append(delivery)
        if len(seen) == 1:
            first.set()
            await proceed.wait()
        await delivery.ack()
        if len(seen) == 2:
            ended.set()

    await bus.connect()
    await bus.consume(slow, prefetch=2)
    await bus.publish([b"x"])
    await first.wait()
    await kill(rabbitmq)
    await is_connected(bus, False)
    await rabbitmq.start()
    proceed.set()
    async with patience():
        await ended.wait()
    assert [delivery.redelivered for delivery in seen] == [False, True]


async def test_a_queue_deleted_under_its_consumer_is_consumed_again(bus: AmqpBus, rabbitmq: RabbitMQ) -> None:
    inbox = Inbox()
    await bus.connect()
    await bus.consume(inbox, prefetch=5)
    async with await aio_pika.connect(rabbitmq.url) as connection, connection.channel() as channel:
        await channel.queue_delete(bus.topology.ready)
    await publishes(bus, b"x")
    await inbox.receive(b"x")


async def test_a_queue_deleted_before_a_publish_is_declared_again(bus: AmqpBus, rabbitmq: RabbitMQ) -> None:
    await bus.connect()
    async with await aio_pika.connect(rabbitmq.url) as connection, connection.channel() as channel:
        await channel.queue_delete(bus.topology.ready)
    with pytest.raises(Unavailable):
        await bus.publish([b"x"])
    await publishes(bus, b"x")
    assert await bus.depth() == 1


async def test_a_consumer_that_died_without_a_word_is_replaced(bus: AmqpBus) -> None:
    inbox = Inbox()
    await bus.connect()
    consumer = await bus.consume(inbox, prefetch=5)
    session = consumer.session
    assert session is not None
    # The broker forgets the consumer while everything here believes in it. There is no public way to bring this about.
    await session._wire.basic_cancel(session._tag)  # pyright: ignore[reportPrivateUsage]

    async def is_replaced() -> bool:
        return consumer.session not in (None, session)

    await until(is_replaced)
    await bus.publish([b"x"])
    await inbox.receive(b"x")


async def test_a_blocked_broker_is_refused_at_once_after_the_first_time_out(bus: AmqpBus, rabbitmq: RabbitMQ) -> None:
    inbox = Inbox()
    await bus.connect()
    await bus.consume(inbox, prefetch=5)
    await bus.publish([b"before"])
    await rabbitmq.control(*ALARM_ON)
    try:
        async with patience():
            with pytest.raises(Unavailable):
                while True:  # until the alarm has reached the connection
                    await bus.publish([b"x"])
        await refuses_at_once(bus)
        await asyncio.sleep(TIMING.probe)  # so long a new connection waits in vain for its first confirmation
        await refuses_at_once(bus)
        await inbox.receive(b"before")  # consuming and acknowledging go on
    finally:
        await rabbitmq.control(*ALARM_OFF)
    await publishes(bus, b"after")
    await inbox.receive(b"after")


async def test_a_frozen_broker_is_a_time_out_and_no_hang(bus: AmqpBus, rabbitmq: RabbitMQ) -> None:
    await bus.connect()
    os.kill(rabbitmq.pid, signal.SIGSTOP)
    try:
        async with patience():
            with pytest.raises(Unavailable):
                await bus.publish([b"x"])
        await refuses_at_once(bus)
    finally:
        os.kill(rabbitmq.pid, signal.SIGCONT)
    await publishes(bus, b"after")


async def test_a_bus_may_be_started_before_its_broker(rabbitmq: RabbitMQ) -> None:
    bus, inbox = AmqpBus(rabbitmq.url, f"test-{uuid4().hex[:12]}", timing=Timing(connect=2)), Inbox()
    await rabbitmq.stop()
    async with patience():
        with pytest.raises(Unavailable):
            await bus.connect()
        await bus.consume(inbox, prefetch=5)
    await rabbitmq.start()
    await publishes(bus, b"x")
    await inbox.receive(b"x")
    await bus.close()


async def test_publishers_under_way_are_told_when_the_broker_dies(bus: AmqpBus, rabbitmq: RabbitMQ) -> None:
    await bus.connect()
    outcomes: list[str] = []

    async def publish_until_refused() -> None:
        while True:
            try:
                await bus.publish([b"x" * 1000] * 3)
            except Unavailable:
                outcomes.append("refused")
                return

    publishers = [asyncio.create_task(publish_until_refused()) for _ in range(20)]
    await kill(rabbitmq)
    async with patience():
        await asyncio.gather(*publishers)
    assert len(outcomes) == 20
    await rabbitmq.start()
    await publishes(bus, b"x")


async def test_a_wrong_password_is_named(rabbitmq: RabbitMQ) -> None:
    bus = AmqpBus(
        rabbitmq.url.replace("//signalbox:signalbox@", "//signalbox:wrong@"), "test", timing=Timing(connect=5)
    )
    with pytest.raises(Unavailable, match="ACCESS_REFUSED"):
        await bus.connect()
    await bus.close()
