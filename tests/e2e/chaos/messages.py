"""Messages that a broker should not have brought: such that nobody can read, and all of them again and again."""

import asyncio
import random

import msgspec
from aio_pika.abc import AbstractIncomingMessage

from libs.common.bus.messages import Ready, ReadyBatch, encode
from libs.common.clock import new_id
from tests.e2e.chaos.broker import READY, channel, publish

_READY = Ready(new_id(), new_id(), 0, new_id(), 1)
UNREADABLE = {
    "nothing": b"",
    "no JSON and no MessagePack": b"{oops",
    "JSON": b'{"type": "ready", "items": []}',
    "NUL": b"\0" * 64,
    "text with NUL": msgspec.msgpack.encode({"type": "ready", "items": ["\0"], "schema": 1}),
    "an unknown kind": msgspec.msgpack.encode({"type": "unheard-of", "items": [], "schema": 1}),
    "a newer schema": msgspec.msgpack.encode({"type": "ready", "items": [], "schema": 99}),
    "cut off": encode(ReadyBatch((_READY,)))[:-3],
    "nested without end": b"\x91" * 100_000,
    "25 MiB": b"\xc6" + (25 * 1024**2 - 5).to_bytes(4, "big") + b"\0" * (25 * 1024**2 - 5),
}
"""Belong to the dead letters, at once."""
STRAY = encode(ReadyBatch((_READY, _READY)))
"""Can be read; there is no such execution, workflow or tenant."""


async def poison(url: str, rng: random.Random) -> int:
    """Puts every kind of it among what is ready, in any order; returns how many belong to the dead letters."""
    bodies = [*UNREADABLE.values(), STRAY]
    rng.shuffle(bodies)
    await publish(url, READY, bodies)
    return len(UNREADABLE)


async def repeat_and_shuffle(url: str, rng: random.Random) -> int:
    """What is ready is ready three times over, in any order; returns how many messages that were."""
    taken: list[AbstractIncomingMessage] = []
    async with channel(url) as made:
        queue = await made.declare_queue(READY, passive=True)
        wanted, enough = queue.declaration_result.message_count or 0, asyncio.Event()

        async def take(message: AbstractIncomingMessage) -> None:
            taken.append(message)
            if len(taken) >= wanted:
                enough.set()

        if wanted:
            await made.set_qos(prefetch_count=wanted)
            tag = await queue.consume(take)
            async with asyncio.timeout(30):
                await enough.wait()
            await queue.cancel(tag)
        again = [message.body for message in taken] * 3
        rng.shuffle(again)
        await publish(url, READY, again)
        await asyncio.gather(*(message.ack() for message in taken))
    return len(taken)
