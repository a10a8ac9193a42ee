"""Following an execution live (server-sent events, WHATWG HTML 9.2).

Each event is the whole execution as `GET /executions/{id}` shows it, read from PostgreSQL: Redis only says *when* to
look. So a follower who comes late, comes back (`Last-Event-ID`) or missed something has the truth with the next
event, and while Redis is away the stream merely looks once a second. While PostgreSQL is away it waits: a browser does
not come back to a server that answers 503.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from uuid import UUID

import msgspec

from libs.common.cache.connect import make_live_feed
from libs.common.cache.protocol import LiveEvent, LiveFeed
from libs.common.errors import Unavailable

EVENT_STREAM = "text/event-stream"

_LOOK_SECONDS = 1.0
_ON_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
_decode = msgspec.json.Decoder(list[LiveEvent]).decode

Seen = tuple[bytes, bool]
"""An execution: its JSON, and whether it has ended."""
Look = Callable[[], Awaitable[Seen]]
"""Reads the execution."""


class LiveStreams:
    """The streams of this process. The feed is connected by the first one: its client costs memory."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._feed: LiveFeed | None = None
        self._waiting: set[asyncio.Event] = set()
        self._closed = False
        self._connecting = asyncio.Lock()

    async def follow(self, tenant_id: UUID, execution_id: UUID, present: Seen, look: Look) -> AsyncGenerator[bytes]:
        """One event for every change that is seen, the present state first, until the execution has ended."""
        number, (shown, ended) = 1, present
        yield _event(number, shown)  # needs no Redis
        feed = None if ended else await self._connected()
        if feed is None:
            return
        changed = asyncio.Event()
        async with feed.subscribe(tenant_id) as payloads:
            listening = asyncio.get_running_loop().create_task(_listen(payloads, execution_id, changed))
            self._waiting.add(changed)
            try:
                while not self._closed and not ended:
                    changed.clear()
                    current, ended = await _look_again(look, shown)
                    if current != shown:
                        number, shown = number + 1, current
                        yield _event(number, shown)
                    if not ended:
                        await _wait(changed)
            finally:
                self._waiting.discard(changed)
                listening.cancel()

    async def _connected(self) -> LiveFeed | None:
        """The one feed of this process; None when the streams are closed."""
        async with self._connecting:
            if self._feed is None and not self._closed:
                self._feed = await asyncio.to_thread(make_live_feed, self._redis_url)
            return self._feed

    async def close(self) -> None:
        """Every stream ends."""
        self._closed = True
        for changed in self._waiting:
            changed.set()
        async with self._connecting:
            if self._feed is not None:
                await self._feed.close()


def _event(number: int, execution: bytes) -> bytes:
    """An event on one line. Documents are kept as they were sent, with line breaks between their parts."""
    return b"id: %d\nevent: execution\ndata: %b\n\n" % (number, execution.translate(_ON_ONE_LINE))


async def _look_again(look: Look, shown: bytes) -> Seen:
    try:
        return await look()
    except Unavailable:
        return shown, False


async def _wait(changed: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_SECONDS):
            await changed.wait()


async def _listen(payloads: AsyncIterator[bytes], execution_id: UUID, changed: asyncio.Event) -> None:
    async for payload in payloads:
        if any(event.execution_id == execution_id for event in _decode(payload)):
            changed.set()
