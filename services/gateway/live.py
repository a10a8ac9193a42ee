"""Following an execution live (server-sent events, WHATWG HTML 9.2).

Each event is the whole execution as `GET /executions/{id}` shows it, read from PostgreSQL: Redis only says *when* to
look. So a follower who comes late, comes back (`Last-Event-ID`) or missed something has the truth with the next
event, and while Redis is away the stream merely looks once a second.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from uuid import UUID

import msgspec

from libs.common.cache.connect import make_live_feed
from libs.common.cache.protocol import LiveEvent, LiveFeed

EVENT_STREAM = "text/event-stream"

_LOOK_SECONDS = 1.0
_decode = msgspec.json.Decoder(list[LiveEvent]).decode

Look = Callable[[], Awaitable[tuple[bytes, bool]]]
"""Reads the execution: its JSON, and whether it has ended."""


class LiveStreams:
    """The streams of this process. The feed is connected by the first one: its client costs memory."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._feed: LiveFeed | None = None
        self._waiting: set[asyncio.Event] = set()
        self._closed = False

    async def follow(self, tenant_id: UUID, execution_id: UUID, look: Look) -> AsyncGenerator[bytes]:
        """One event for every change that is seen, the present state first, until the execution has ended."""
        if self._feed is None:
            self._feed = await asyncio.to_thread(make_live_feed, self._redis_url)
        changed, number, shown = asyncio.Event(), 0, b""
        async with self._feed.subscribe(tenant_id) as payloads:
            listening = asyncio.get_running_loop().create_task(_listen(payloads, execution_id, changed))
            self._waiting.add(changed)
            try:
                while not self._closed:
                    changed.clear()
                    current, ended = await look()
                    if current != shown:
                        number, shown = number + 1, current
                        yield b"id: %d\nevent: execution\ndata: %b\n\n" % (number, current)
                    if ended:
                        return
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_SECONDS):
                            await changed.wait()
            finally:
                self._waiting.discard(changed)
                listening.cancel()

    async def close(self) -> None:
        """Every stream ends."""
        self._closed = True
        for changed in self._waiting:
            changed.set()
        if self._feed is not None:
            await self._feed.close()


async def _listen(payloads: AsyncIterator[bytes], execution_id: UUID, changed: asyncio.Event) -> None:
    async for payload in payloads:
        if any(event.execution_id == execution_id for event in _decode(payload)):
            changed.set()
