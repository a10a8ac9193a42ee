"""Messages that nobody can read."""

import random

import msgspec

from libs.common.bus.messages import Ready, ReadyBatch, encode
from libs.common.clock import new_id
from tests.e2e.chaos.broker import READY, publish

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
