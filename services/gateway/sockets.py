"""A socket that tells what happens to a tenant's executions (RFC 6455): messages in, messages out, how it ends.

In: `{"subscribe": {"workflow_id"?, "execution_id"?, "statuses"?}, "last_event_id"?}`, at any time; the last one counts.
Out: `subscribed`, `execution`, `reset`, `error`, every 15 seconds `ping`, and `closing` with the reason before the end.
Close codes are 4000 and the HTTP status that an ordinary request would have had, or 1001 when the gateway stops.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec
from litestar import WebSocket
from litestar.datastructures import State
from litestar.exceptions import WebSocketDisconnect

from libs.common.domain.faults import struct_faults
from libs.common.errors import InvalidInput, MalformedInput, RateLimited, SignalboxError, Unavailable
from libs.common.problems import STATUSES
from services.gateway.bodies import parse_object
from services.gateway.cursors import read_cursor
from services.gateway.followers import Check, Heartbeat
from services.gateway.subscribers import Filter, Subscriber
from services.gateway.tenant_feed import TenantFeed

AnySocket: TypeAlias = WebSocket[Any, Any, State]

GONE = (WebSocketDisconnect, OSError)
"""What the server raises when the other side is no longer there."""

_FAREWELL_SECONDS = 2.0
_REASON_BYTES = 123
"""A frame that closes a socket holds no more (RFC 6455, section 5.5)."""
_PING = b'{"type":"ping"}'
_encode = msgspec.json.Encoder().encode


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client says. `token` and `tenant`: only in the first message, where the handshake had no credential."""

    token: str | None = None
    tenant: str | None = None
    subscribe: Filter | None = None
    last_event_id: str | None = None


class Ending(msgspec.Struct, frozen=True):
    """How a socket is closed; a `code` of None: the other side has done it."""

    code: int | None
    reason: str


LEFT = Ending(None, "")
STOPPING = Ending(1001, "this gateway is stopping; come back with last_event_id")
BROKEN = Ending(1011, "something went wrong on our side; come back with last_event_id")
OVERRUN = Ending(4429, "you read too slowly; come back with last_event_id")


def ending_for(error: SignalboxError) -> Ending:
    """The end that an error means."""
    status, _ = STATUSES[error.slug]
    return Ending(4000 + status, error.detail)


def read_message(text: str) -> Message:
    """What a client said. Raises `MalformedInput`, or `InvalidInput` with every fault."""
    values = parse_object(text.encode())
    faults = struct_faults(values, Message, "", skip=("subscribe",))
    if values.get("subscribe") is not None:
        faults += struct_faults(values["subscribe"], Filter, "subscribe")
    if faults:
        raise InvalidInput(faults)
    return msgspec.convert(values, Message)


class Session:
    """One accepted socket, from its first subscription to its end."""

    def __init__(
        self, socket: AnySocket, feed: TenantFeed, check: Check, admit: Check, closing: asyncio.Event
    ) -> None:  # fmt: skip
        """`admit`: raises `RateLimited` for whoever says more than its tenant may call."""
        self._socket, self._feed, self._check, self._admit, self._closing = socket, feed, check, admit, closing
        self._subscriber = Subscriber()

    async def run(self, first: Message | None) -> Ending:
        """Until one side ends it; `first`: a message that has come already."""
        assert self._feed.task is not None  # it was started
        tasks = [asyncio.ensure_future(one) for one in self._parts(first)]
        try:
            done, _ = await asyncio.wait([*tasks, self._feed.task], return_when=asyncio.FIRST_COMPLETED)
            return next((task.result() for task in tasks if task in done), BROKEN)
        finally:
            self._feed.leave(self._subscriber)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _parts(self, first: Message | None) -> list[Coroutine[Any, Any, Ending]]:
        """What goes on side by side; the first one that returns says how the socket ends."""
        return [
            _after(self._closing, STOPPING),
            _after(self._subscriber.overrun, OVERRUN),
            self._read(first),
            self._write(),
        ]

    async def _read(self, first: Message | None) -> Ending:
        try:
            if first is not None:
                await self._hear(first)
            while True:
                await self._hear(await self._socket.receive_text())
        except Unavailable as error:
            return ending_for(error)
        except GONE:
            return LEFT

    async def _hear(self, said: Message | str) -> None:
        try:
            message = read_message(said) if isinstance(said, str) else said
            told = message.last_event_id
            cursor = None if told is None else read_cursor(told)
            await self._admit()
        except (InvalidInput, MalformedInput, RateLimited) as error:
            faults = error.faults if isinstance(error, InvalidInput) else ()
            self._subscriber.put(_encode({"type": "error", "detail": error.detail, "errors": faults}))
            return
        if message.subscribe is not None:
            await self._feed.subscribe(self._subscriber, message.subscribe, cursor, told)

    async def _write(self) -> Ending:
        heartbeat = Heartbeat(self._check)
        try:
            while True:
                message = None
                with suppress(TimeoutError):
                    async with asyncio.timeout(heartbeat.seconds_left()):
                        message = await self._subscriber.next()
                alive = await heartbeat.beat()
                for part in (message, _PING if alive else None):
                    if part is not None:
                        await self._socket.send_text(part)
        except GONE:
            return LEFT
        except SignalboxError as error:
            return ending_for(error)


async def say_goodbye(socket: AnySocket, ending: Ending) -> None:
    """Close an accepted socket, saying why; whoever does not read is not waited for."""
    if ending.code is None:
        return
    farewell = _encode({"type": "closing", "code": ending.code, "reason": ending.reason})
    with suppress(TimeoutError, *GONE):
        async with asyncio.timeout(_FAREWELL_SECONDS):
            await socket.send_text(farewell)
            await socket.close(ending.code, ending.reason.encode()[:_REASON_BYTES].decode(errors="ignore"))


async def _after(event: asyncio.Event, ending: Ending) -> Ending:
    await event.wait()
    return ending
