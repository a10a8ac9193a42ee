"""The bus on RabbitMQ 3.10 or newer: quorum queues, publisher confirms, at-least-once dead-lettering.

One connection publishes, and each consumption has one of its own, so that a broker that blocks publishers (memory or
disk alarm) blocks no acknowledgement. Every connection is a session of a `Link`: opening it declares the topology, so
a broker that comes back empty is furnished again; whatever goes wrong with it ends in a new session. The publishing
session counts as open only after a publish was confirmed on it, so while the broker is blocked `publish` fails at
once instead of hanging. What RabbitMQ 3.10 does and does not is in the design notes; nothing here needs a newer one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import count
from time import perf_counter
from typing import Any, TypeVar

import aio_pika
import msgspec
from aio_pika.abc import AbstractChannel, AbstractConnection, DeliveryMode
from aio_pika.exceptions import PublishError

from libs.common.bus.delivery import Handlers, OnceDelivery, Outcome
from libs.common.bus.link import Link, cancelled_from_outside, reason_of
from libs.common.bus.protocol import Handler
from libs.common.bus.topology import Topology, topology_of
from libs.common.errors import Unavailable
from libs.common.telemetry import metrics


class Timing(msgspec.Struct, frozen=True):
    """How long is waited for what, in seconds."""

    connect: float = 10.0
    """For a connection with its topology, and in `connect` and `consume` for the first one."""
    confirm: float = 5.0
    """For the confirmation of what is published, and for the answer to a question."""
    probe: float = 30.0
    """For the first confirmation on a new connection; a blocked broker answers when it is unblocked."""
    heartbeat: int = 30
    watch: float = 15.0
    """Between two looks whether the broker still knows of a consumer."""
    pauses: tuple[float, float] = (0.2, 2.0)
    """First and longest pause before connecting again."""


class AmqpBus:
    """See `protocol.Bus`."""

    def __init__(self, url: str, prefix: str, *, delivery_limit: int = 10, timing: Timing | None = None) -> None:
        self._url, self._timing = url, timing or Timing()
        self.topology = topology_of(prefix, delivery_limit)
        self._link = Link("publisher", self._open_publisher, self._timing.pauses)
        self._consumers: list[AmqpConsumer] = []

    async def connect(self) -> None:
        self._link.start()
        await self._link.wait_ready(self._timing.connect)

    @property
    def connected(self) -> bool:
        return self._link.session is not None and all(consumer.connected for consumer in self._consumers)

    async def publish(self, bodies: Sequence[bytes], *, bulk: bool = False) -> None:
        started = perf_counter()
        try:
            await self._publish(bodies, self.topology.bulk if bulk else self.topology.ready)
        except BaseException:
            metrics.count_published(len(bodies), confirmed=False, bulk=bulk)
            raise
        metrics.count_published(len(bodies), confirmed=True, bulk=bulk)
        metrics.observe_publish(perf_counter() - started)

    async def consume(self, handler: Handler, prefetch: int, *, bulk: bool = False) -> "AmqpConsumer":
        queue = self.topology.bulk if bulk else self.topology.ready
        consumer = AmqpConsumer(self._url, self.topology, self._timing, queue, handler, prefetch)
        self._consumers.append(consumer)
        await consumer.start()
        return consumer

    async def depth(self, *, bulk: bool | None = None) -> int:
        if bulk is not None:
            return await self._messages_in(self.topology.bulk if bulk else self.topology.ready)
        return await self.depth(bulk=False) + await self.depth(bulk=True)

    async def dead_letters(self) -> int:
        return await self._messages_in(self.topology.dead)

    async def close(self) -> None:
        for consumer in self._consumers:
            await consumer.stop(0)
        self._consumers.clear()
        await self._link.close()

    async def _publish(self, bodies: Sequence[bytes], queue: str) -> None:
        session = self._usable_session()
        try:
            async with asyncio.timeout(self._timing.confirm):
                await session.publish(bodies, queue)
        except asyncio.CancelledError:
            if cancelled_from_outside():
                raise
            raise Unavailable("The connection to the message broker was lost.") from None
        except (PublishError, TimeoutError) as error:
            # Returned: the queue is gone. Not confirmed in time: blocked or half dead. A new session finds out and
            # mends it.
            session.lose(f"publishing failed, {reason_of(error)}")
            raise Unavailable("The message broker does not confirm.") from error
        except Exception as error:
            raise Unavailable("The message broker refused, or went away meanwhile.") from error

    async def _messages_in(self, queue: str) -> int:
        session = self._usable_session()
        try:
            async with asyncio.timeout(self._timing.confirm):
                return await session.messages_in(queue)
        except asyncio.CancelledError:
            if cancelled_from_outside():
                raise
            raise Unavailable("The connection to the message broker was lost.") from None
        except Exception as error:
            session.lose(f"no answer about {queue}, {reason_of(error)}")
            raise Unavailable("The message broker does not answer.") from error

    def _usable_session(self) -> "_PublisherSession":
        session = self._link.session
        if session is None:
            raise Unavailable("The message broker is away.")
        return session

    async def _open_publisher(self) -> "_PublisherSession":
        connection = await _connect(self._url, f"{self.topology.ready} publisher", self._timing)
        session = _PublisherSession(connection, self.topology)
        return await _opened(session, lambda: session.open(self._timing))


class AmqpConsumer:
    """See `protocol.Consumer`."""

    def __init__(
        self, url: str, topology: Topology, timing: Timing, queue: str, handler: Handler, prefetch: int
    ) -> None:
        self._queue = queue
        self._url, self._topology, self._timing, self._prefetch = url, topology, timing, prefetch
        self._handlers = Handlers(handler, prefetch)
        self._link = Link("events" if topology.source else "consumer", self._open, timing.pauses)
        self._stopped = False

    @property
    def session(self) -> "_ConsumerSession | None":
        """The present session; another one after every loss."""
        return self._link.session

    @property
    def connected(self) -> bool:
        return self._stopped or self._link.session is not None

    def begin(self) -> None:
        """Going to consume, as soon as the broker is there."""
        self._link.start()

    async def start(self) -> None:
        """Consuming, or (the broker being away) going to as soon as it is back."""
        self.begin()
        try:
            await self._link.wait_ready(self._timing.connect)
        except Unavailable:
            return

    async def stop(self, grace_seconds: float = 20.0) -> None:
        self._stopped = True
        session = self._link.session
        if session is not None:
            await session.stop_consuming(self._timing.confirm)
        await self._handlers.stop(grace_seconds)
        await self._link.close()

    async def _open(self) -> "_ConsumerSession":
        connection = await _connect(self._url, f"{self._queue} consumer", self._timing)
        session = _ConsumerSession(connection, self._topology, self._queue, self._handlers)
        consume = 0 if self._stopped else self._prefetch
        return await _opened(session, lambda: session.open(consume, self._timing))


class _AmqpSession:
    """One connection with one channel. It is lost when either of them closes, or when somebody says so."""

    def __init__(self, connection: AbstractConnection, topology: Topology, confirms: bool) -> None:
        self._connection, self._topology = connection, topology
        self._channel = connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._wire: Any = None

    def lose(self, reason: str) -> None:
        """Not usable any more."""
        if not self.lost.done():
            self.lost.set_result(reason)

    async def close(self) -> None:
        self.lose("closed")
        # Closing the channel is a round trip behind everything sent on it; closing the connection drops what still
        # waits.
        try:
            await _quietly(self._channel.close)
        finally:
            await _quietly(self._connection.close)

    async def _open_channel(self) -> None:
        await self._channel.initialize()
        self._wire = await self._channel.get_underlay_channel()
        self._wire.closing.add_done_callback(self._channel_closed)
        await _declare(self._channel, self._topology)

    def _channel_closed(self, closing: asyncio.Future[Any]) -> None:
        error = None if closing.cancelled() else closing.exception()
        self.lose("the broker closed it" if error is None else reason_of(error))


class _PublisherSession(_AmqpSession):
    def __init__(self, connection: AbstractConnection, topology: Topology) -> None:
        super().__init__(connection, topology, confirms=True)

    async def open(self, timing: Timing) -> None:
        """Topology declared and a publish confirmed."""
        async with asyncio.timeout(timing.connect):
            await self._open_channel()
        # Goes to no queue. The broker blocks a connection only when it publishes, so there is no other way to know.
        async with asyncio.timeout(timing.probe):
            await self._send(b"", f"{self._topology.ready}.probe", mandatory=False)

    async def publish(self, bodies: Sequence[bytes], queue: str) -> None:
        """All are confirmed. Raises the first failure, after all have ended."""
        if len(bodies) == 1:
            await self._send(bodies[0], queue)
            return
        sent = [self._send(body, queue) for body in bodies]
        for result in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def messages_in(self, queue: str) -> int:
        """Ready messages. A channel of its own: asking for a queue that is not there closes the channel."""
        async with self._connection.channel(publisher_confirms=False) as channel:
            found = await channel.declare_queue(queue, passive=True)
            return found.declaration_result.message_count or 0

    async def _send(self, body: bytes, queue: str, mandatory: bool = True) -> None:
        # The channel below aio-pika's: half of the CPU. Two messages under way on a channel must not share an id.
        properties = _Properties(message_id=f"{next(_message_ids):x}", delivery_mode=DeliveryMode.PERSISTENT.value)
        await self._wire.basic_publish(body, routing_key=queue, properties=properties, mandatory=mandatory, wait=False)


class _ConsumerSession(_AmqpSession):
    def __init__(self, connection: AbstractConnection, topology: Topology, queue: str, handlers: Handlers) -> None:
        super().__init__(connection, topology, confirms=False)
        self._queue, self._handlers = queue, handlers
        self._tag: str | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def open(self, prefetch: int, timing: Timing) -> None:
        """Topology declared and, unless `prefetch` is 0, consuming."""
        async with asyncio.timeout(timing.connect):
            await self._open_channel()
            self._wire.on_consumer_cancel_callbacks.add(self._cancelled_by_broker)
            if prefetch == 0:
                return
            await self._wire.basic_qos(prefetch_count=prefetch)
            consuming = await self._wire.basic_consume(self._queue, self._take)
        self._tag = consuming.consumer_tag
        self._watcher = asyncio.get_running_loop().create_task(self._watch(timing))

    async def stop_consuming(self, seconds: float) -> None:
        """The broker sends nothing more."""
        self._stop_watching()
        tag, self._tag = self._tag, None
        if tag is not None:
            await _quietly(lambda: self._wire.basic_cancel(tag), seconds)

    async def close(self) -> None:
        self._stop_watching()
        await super().close()

    def _stop_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()

    async def _take(self, message: Any) -> None:
        self._handlers.submit(_AmqpDelivery(self._wire, message))

    def _cancelled_by_broker(self, _: object) -> None:
        self.lose("the broker cancelled the consumer")

    async def _watch(self, timing: Timing) -> None:
        """A consumer can die without a word: ask the broker now and then whether the queue has one."""
        while True:
            await asyncio.sleep(timing.watch)
            try:
                async with asyncio.timeout(timing.confirm):
                    queue = await self._channel.declare_queue(self._queue, passive=True)
            except Exception as error:  # noqa: BLE001 - no answer, in whatever way
                self.lose(f"the broker does not answer, {reason_of(error)}")
                return
            if queue.declaration_result.consumer_count == 0:
                self.lose("the broker does not know the consumer any more")
                return


class _AmqpDelivery(OnceDelivery):
    def __init__(self, wire: Any, message: Any) -> None:
        headers: dict[str, Any] = message.header.properties.headers or {}
        super().__init__(message.body, int(headers.get("x-delivery-count", 0)) + 1, bool(message.redelivered))
        self.headers, self.message_id = headers, message.header.properties.message_id or ""
        self._wire, self._tag = wire, message.delivery_tag

    @property
    def gone(self) -> bool:
        return bool(self._wire.is_closed)

    async def _carry_out(self, outcome: Outcome) -> None:
        with suppress(Exception):  # the connection is gone, so the message comes again
            if outcome == "acked":
                await self._wire.basic_ack(self._tag, wait=False)
            elif outcome == "put_back":
                # From RabbitMQ 4.3 on nack means "not now" and reject means "failed"; before, both count.
                await self._wire.basic_nack(self._tag, requeue=True, wait=False)
            else:
                await self._wire.basic_reject(self._tag, requeue=outcome == "failed", wait=False)


OneSession = TypeVar("OneSession", bound=_AmqpSession)

_Properties = type(aio_pika.Message(b"").properties)
_message_ids = count(1)


async def _connect(url: str, name: str, timing: Timing) -> AbstractConnection:
    return await aio_pika.connect(
        url, timeout=timing.connect, heartbeat=timing.heartbeat, client_properties={"connection_name": name}
    )


async def _opened(session: OneSession, open_it: Callable[[], Awaitable[None]]) -> OneSession:
    """The session, open; or closed again, and the error."""
    try:
        await open_it()
    except BaseException:
        await session.close()
        raise
    return session


async def _declare(channel: AbstractChannel, topology: Topology) -> None:
    exchange = await channel.declare_exchange(topology.dead, "fanout", durable=True)
    dead = await channel.declare_queue(topology.dead, durable=True, arguments=topology.dead_arguments)
    await dead.bind(exchange)
    if topology.bulk:
        await channel.declare_queue(topology.bulk, durable=True, arguments=topology.ready_arguments)
    ready = await channel.declare_queue(topology.ready, durable=True, arguments=topology.ready_arguments)
    if topology.source:
        # Somebody else's: it is there, of whatever type, or this fails and is tried again.
        source = await channel.get_exchange(topology.source, ensure=True)
        await ready.bind(source, routing_key="#")


async def _quietly(action: Callable[[], Awaitable[object]], seconds: float = 3.0) -> None:
    """Do it, in bounded time, and don't mind whether it worked: the other end may be gone."""
    try:
        with suppress(Exception):
            async with asyncio.timeout(seconds):
                await action()
    except asyncio.CancelledError:
        if cancelled_from_outside():
            raise
