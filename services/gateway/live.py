"""Following an execution live (server-sent events, WHATWG HTML 9.2).

Each event is the whole execution as `GET /executions/{id}` shows it, read from PostgreSQL: Redis only says *when* to
look. So a follower who comes late or missed something has the truth with the next event, and while Redis is away the
stream looks by itself, less often the longer nothing happens. While PostgreSQL is away it waits: a browser does not
come back to a server that answers 503.

The id of an event is a digest of what it shows, so any gateway can tell from the database alone whether somebody who
comes back with it (`Last-Event-ID`) has seen the present state: then it is not sent again.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from uuid import UUID

import msgspec

from libs.common.cache.protocol import LiveEvent
from libs.common.errors import Forbidden, SignalboxError, Unauthenticated, Unavailable
from services.gateway.followers import Check, Followers, Heartbeat

EVENT_STREAM = "text/event-stream"

_LOOK_SECONDS = 1.0
_LONGEST_LOOK_SECONDS = 5.0
_FAREWELL_SECONDS = 3.0
_ALIVE = b": alive\n\n"
_ON_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
_decode = msgspec.json.Decoder(list[LiveEvent]).decode


class Seen(msgspec.Struct, frozen=True):
    """An execution as it was read: its JSON, and whether it has ended."""

    execution: bytes
    ended: bool

    @property
    def event_id(self) -> str:
        """Another one for every other state."""
        return hashlib.blake2b(self.execution, digest_size=12).hexdigest()


Look = Callable[[], Awaitable[Seen]]
"""Reads the execution."""


class LiveStreams:
    """The streams of this process."""

    def __init__(self, redis_url: str, most_per_tenant: int = 100) -> None:
        self.followers = Followers(redis_url, most_per_tenant)
        self._waiting: set[asyncio.Event] = set()

    async def follow(
        self, tenant_id: UUID, execution_id: UUID, present: Seen, told: str | None, look: Look, check: Check
    ) -> AsyncGenerator[bytes]:
        """One event for every change that is seen, until the execution has ended; the present state comes first,
        unless its id is the one that was `told`. Raises `RateLimited` before anything else.
        """
        with self.followers.admit(tenant_id, "stream"):
            yield _ALIVE if present.event_id == told else _event(present)  # needs no Redis
            try:
                async with aclosing(self._changes(tenant_id, execution_id, present, look, check)) as changes:
                    async for seen in changes:
                        yield _ALIVE if seen is None else _event(seen)
            except (Unauthenticated, Forbidden) as error:
                yield _farewell(error)

    async def _changes(
        self, tenant_id: UUID, execution_id: UUID, shown: Seen, look: Look, check: Check
    ) -> AsyncGenerator[Seen | None]:
        """What is seen to be new; None when it is time to show that the stream lives."""
        feed = None if shown.ended else await self.followers.feed()
        if feed is None:
            return
        changed, heartbeat, pause = asyncio.Event(), Heartbeat(check), _LOOK_SECONDS
        async with feed.subscribe(tenant_id) as payloads:
            listening = asyncio.get_running_loop().create_task(_listen(payloads, execution_id, changed))
            self._waiting.add(changed)
            try:
                while not self.followers.closing.is_set() and not shown.ended:
                    changed.clear()
                    current = await _look_again(look, shown)
                    pause = min(pause * 1.5, max(_LOOK_SECONDS, _LONGEST_LOOK_SECONDS))
                    if current.execution != shown.execution:
                        shown, pause = current, _LOOK_SECONDS
                        yield shown
                    if not shown.ended:
                        async for _ in _beats(changed, pause, heartbeat):
                            yield None
            finally:
                self._waiting.discard(changed)
                listening.cancel()

    async def close(self) -> None:
        """Every stream ends."""
        self.followers.closing.set()
        for changed in self._waiting:
            changed.set()
        await self.followers.close(_FAREWELL_SECONDS)


async def opened(stream: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """The stream once its first part is there: what goes wrong before is raised here, where it has an answer."""
    first = await anext(stream)

    async def whole() -> AsyncGenerator[bytes]:
        async with aclosing(stream):
            yield first
            async for part in stream:
                yield part

    return whole()


def _event(seen: Seen) -> bytes:
    """An event on one line. Documents are kept as they were sent, with line breaks between their parts."""
    data = seen.execution.translate(_ON_ONE_LINE)
    return b"id: %b\nevent: execution\ndata: %b\n\n" % (seen.event_id.encode(), data)


def _farewell(error: SignalboxError) -> bytes:
    """Why the stream ends though the execution goes on. Without an id: whoever comes back goes on after the last."""
    return b"event: closed\ndata: %b\n\n" % msgspec.json.encode({"reason": error.slug, "detail": error.detail})


async def _look_again(look: Look, shown: Seen) -> Seen:
    try:
        return await look()
    except Unavailable:
        return shown


async def _beats(changed: asyncio.Event, seconds: float, heartbeat: Heartbeat) -> AsyncGenerator[None]:
    """Waits for a change, so long at most; gives an item whenever it is time to show that the stream lives."""
    time = asyncio.get_running_loop().time
    until = time() + seconds
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(min(until - time(), heartbeat.seconds_left())):
                await changed.wait()
        if await heartbeat.beat():  # also when one change follows the other
            yield
        if changed.is_set() or time() >= until:
            return


async def _listen(payloads: AsyncIterator[bytes], execution_id: UUID, changed: asyncio.Event) -> None:
    async for payload in payloads:
        if any(event.execution_id == execution_id for event in _decode(payload)):
            changed.set()
