"""RabbitMQ as an outsider sees it: how much is in a queue, and messages that no service of ours has written."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractChannel

READY, BULK, DEAD = "signalbox.ready", "signalbox.ready.bulk", "signalbox.dead"


@asynccontextmanager
async def channel(url: str) -> AsyncGenerator[AbstractChannel]:
    """A channel with confirmations, on a connection of its own."""
    async with await aio_pika.connect(url, timeout=10) as connection, connection.channel() as made:
        yield made


async def count(url: str, queue: str) -> int:
    """Messages that are ready in a queue. Right only some seconds after the broker's start."""
    async with channel(url) as made:
        found = await made.declare_queue(queue, passive=True)
        return found.declaration_result.message_count or 0


async def purge(url: str, queue: str) -> None:
    """The queue is empty."""
    async with channel(url) as made:
        await (await made.get_queue(queue)).purge()


async def publish(url: str, queue: str, bodies: Sequence[bytes]) -> None:
    """The messages are in the queue, in this order."""
    async with channel(url) as made:
        messages = [aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT) for body in bodies]
        await asyncio.gather(*(made.default_exchange.publish(one, routing_key=queue) for one in messages))
