"""Live events over Redis or Valkey: one channel for each tenant, `t:{tenant_id}:executions`.

Publishing uses a small pool and gives up after 100 ms; after a failure nothing is tried for a second. All
subscriptions of a process share one connection, whatever their number. Nothing is stored in Redis.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import msgspec
import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from libs.common.cache.protocol import LiveEvent
from libs.common.tasks import end_tasks
from libs.common.telemetry import metrics
from libs.common.telemetry.states import BREAKER

_PUBLISH_SECONDS = 0.1
_QUIET_SECONDS = 1.0
"""So long nothing is published after a failure."""
_CONNECT_SECONDS = 2.0
_LOOK_SECONDS = 10.0
"""After so long without an event the connection is tried."""
_QUEUE_ITEMS = 256
"""Payloads that one reader may lag behind."""
_HEARTBEAT = "signalbox:live"
"""A channel on which nothing is published, so that the connection has a subscription when nobody looks."""

_AWAY = (RedisError, OSError, TimeoutError)

_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger(__name__)


class _Reader:
    """The payloads of one subscription. Waiting for the next one may be cancelled (a time-out) and begun again."""

    def __init__(self) -> None:
        self._payloads: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUE_ITEMS)

    def __aiter__(self) -> "_Reader":
        return self

    async def __anext__(self) -> bytes:
        payload = await self._payloads.get()
        if payload is None:
            self.end()
            raise StopAsyncIteration
        return payload

    def put(self, payload: bytes | None) -> None:
        """The newest counts: a reader that is too slow loses the oldest payload."""
        if self._payloads.full():
            self._payloads.get_nowait()
        self._payloads.put_nowait(payload)

    def end(self) -> None:
        """After what is there already nothing comes any more."""
        self.put(None)


class RedisLiveFeed:
    """See `protocol.LiveFeed`."""

    def __init__(self, url: str) -> None:
        self._redis: Any = redis.asyncio.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
            url,
            socket_connect_timeout=_CONNECT_SECONDS,
            socket_timeout=_CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            max_connections=16,
        )
        self._quiet_until = 0.0
        self._hub = _Hub(self._redis)

    async def publish(self, events: Sequence[LiveEvent]) -> None:
        loop = asyncio.get_running_loop()
        if not events:
            return
        delivered = False
        if loop.time() >= self._quiet_until:
            try:
                async with asyncio.timeout(_PUBLISH_SECONDS):
                    await self._send(events)
                delivered = True
            except _AWAY:
                self._quiet_until = loop.time() + _QUIET_SECONDS
            BREAKER.tell(not delivered, "live_feed")
        metrics.count_live_events(len(events), delivered=delivered)

    @asynccontextmanager
    async def subscribe(self, tenant_id: UUID) -> AsyncGenerator[AsyncIterator[bytes]]:
        channel, reader = _channel_of(tenant_id), _Reader()
        await self._hub.join(channel, reader)
        try:
            yield reader
        finally:
            await self._hub.leave(channel, reader)

    async def ping(self) -> bool:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                return bool(await self._redis.ping())
        except _AWAY:
            return False

    async def figures(self) -> Mapping[str, float] | None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                found = await self._redis.info()
        except _AWAY:
            return {}
        return {name: value for name, value in found.items() if isinstance(value, int | float)}

    async def close(self) -> None:
        await self._hub.close()
        await self._redis.aclose()

    async def _send(self, events: Sequence[LiveEvent]) -> None:
        by_tenant: defaultdict[UUID, list[LiveEvent]] = defaultdict(list)
        for event in events:
            by_tenant[event.tenant_id].append(event)
        pipeline = self._redis.pipeline(transaction=False)
        for tenant_id, shown in by_tenant.items():
            pipeline.publish(_channel_of(tenant_id), _encode(shown))
        await pipeline.execute()


class _Hub:
    """One connection that listens to the channels which somebody reads, and hands each payload to all its readers."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._readers: defaultdict[str, set[_Reader]] = defaultdict(set)
        self._heard: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._pubsub: Any = None
        self._listening: asyncio.Task[None] | None = None
        self._closed = False

    async def join(self, channel: str, reader: _Reader) -> None:
        """The reader gets what is published from now on, if Redis is there; else from when it is back."""
        if self._closed:
            reader.end()
            return
        self._readers[channel].add(reader)
        if self._listening is None:
            self._listening = asyncio.get_running_loop().create_task(self._listen())
        await self._tell("subscribe", channel)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._heard[channel].wait()

    async def leave(self, channel: str, reader: _Reader) -> None:
        """The reader gets nothing more."""
        self._readers[channel].discard(reader)
        if not self._readers[channel]:
            del self._readers[channel]
            self._heard.pop(channel, None)
            await self._tell("unsubscribe", channel)

    async def close(self) -> None:
        """No connection and no task is left; every reader comes to its end."""
        self._closed = True
        for heard in self._heard.values():
            heard.set()  # whoever is about to join need not wait for it
        listening, self._listening = self._listening, None
        await end_tasks(listening)
        for readers in self._readers.values():
            for reader in readers:
                reader.end()

    async def _tell(self, what: str, channel: str) -> None:
        """Without a connection there is nothing to tell: a new one listens to every channel that has readers."""
        if self._pubsub is not None:
            with suppress(*_AWAY):
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await getattr(self._pubsub, what)(channel)

    async def _listen(self) -> None:
        while not self._closed:
            pubsub = self._client.pubsub()
            try:
                await pubsub.subscribe(_HEARTBEAT)
                self._pubsub = pubsub  # connected: from here on `join` tells it by itself
                if self._readers:
                    await pubsub.subscribe(*self._readers)
                await self._hand_out(pubsub)
            except _AWAY as error:
                _log.warning("live events interrupted", reason=f"{type(error).__name__}: {error}")
            finally:
                self._pubsub = None
                self._heard.clear()
                with suppress(*_AWAY):
                    await pubsub.aclose()
            await asyncio.sleep(_QUIET_SECONDS)

    async def _hand_out(self, pubsub: Any) -> None:
        tried = False
        while True:
            message = await pubsub.get_message(timeout=_LOOK_SECONDS)
            if message is None:
                if tried:
                    raise TimeoutError("no answer")
                await pubsub.ping()
            elif message["type"] == "subscribe":
                self._heard[message["channel"].decode()].set()
            elif message["type"] == "message":
                for reader in self._readers.get(message["channel"].decode(), ()):
                    reader.put(message["data"])
            tried = message is None


def _channel_of(tenant_id: UUID) -> str:
    return f"t:{tenant_id}:executions"
