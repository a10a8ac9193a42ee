"""An exchange of the platform on a real RabbitMQ, and intakes that take events from it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import aio_pika
import msgspec
from aio_pika.abc import AbstractChannel

from libs.common.accept import Acceptor
from libs.common.settings import Secret
from services.scheduler.intake import Intake
from tests.integration.conftest import World
from tests.waiting import until


class Exchange:
    """Publishes as the platform does, and looks into the queues. `open` and `close` once each."""

    def __init__(self, url: str, world: World) -> None:
        self.url, self.world, self.prefix = url, world, f"test-{uuid4().hex[:12]}"
        self.name = f"{self.prefix}.platform"
        self.intakes: list[Intake] = []

    async def open(self) -> None:
        """The exchange is there."""
        async with self._channel() as channel:
            await channel.declare_exchange(self.name, "topic", durable=True)

    async def close(self) -> None:
        """Nothing of it is left."""
        for intake in self.intakes:
            await intake.stop(5)
        async with self._channel() as channel:
            for queue in (f"{self.prefix}.events", f"{self.prefix}.events.dead"):
                await channel.queue_delete(queue)
            for exchange in (self.name, f"{self.prefix}.events.dead"):
                await channel.exchange_delete(exchange)

    def made(self, acceptor: Acceptor | None = None, **settings: Any) -> Intake:
        """An intake that is not started; `settings`: of its process."""
        parts = self.world.service_parts(**settings)
        return Intake(parts if acceptor is None else replace(parts, acceptor=acceptor))

    def started(self, acceptor: Acceptor | None = None) -> Intake:
        """One more process that takes events, as soon as it can."""
        intake = self.made(acceptor, bus_url=Secret(self.url), bus_prefix=self.prefix, events_exchange=self.name)
        intake.start()
        self.intakes.append(intake)
        return intake

    async def intake(self, acceptor: Acceptor | None = None) -> Intake:
        """One more process that takes events, consuming."""
        before = await self.consumers()
        intake = self.started(acceptor)
        await until(lambda: self._has_consumers(before + 1))
        return intake

    async def publish_later(self, bodies: Sequence[Any]) -> None:
        """They wait in the queue, which nobody takes from yet."""
        intake = await self.intake()
        await intake.stop(1)
        for body in bodies:
            await self.publish(body)

    async def publish(
        self, body: Any, tenant: str | None = "acme", message_id: str | None = None, **headers: str
    ) -> None:
        """Confirmed by the broker, and in a queue. `body`: bytes, or what becomes JSON."""
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        named = {} if tenant is None else {"X-Tenant-ID": tenant}
        message = aio_pika.Message(raw, headers={**named, **headers}, message_id=message_id)
        async with self._channel() as channel:
            exchange = await channel.get_exchange(self.name)
            await exchange.publish(message, "crm.deals", mandatory=True)

    async def waiting(self) -> int:
        """Messages that are ready in the queue of events."""
        return (await self._state("events"))[0]

    async def dead(self) -> int:
        """Messages among the dead letters."""
        return (await self._state("events.dead"))[0]

    async def consumers(self) -> int:
        """Of the queue of events."""
        return (await self._state("events"))[1]

    async def has_dead(self, number: int) -> bool:
        """For `until`."""
        return await self.dead() == number

    async def _has_consumers(self, number: int) -> bool:
        return await self.consumers() >= number

    async def _state(self, queue: str) -> tuple[int, int]:
        try:
            async with self._channel() as channel:
                found = (await channel.declare_queue(f"{self.prefix}.{queue}", passive=True)).declaration_result
                return found.message_count or 0, found.consumer_count or 0
        except aio_pika.exceptions.ChannelClosed:
            return 0, 0

    @asynccontextmanager
    async def _channel(self) -> AsyncGenerator[AbstractChannel]:
        """On a connection of its own: the broker may have been away since the last one."""
        async with await aio_pika.connect(self.url) as connection, connection.channel() as channel:
            yield channel


async def until_count(world: World, table: str, number: int) -> None:
    """Returns when the table has so many rows."""

    async def has_rows() -> bool:
        return await world.count(table) >= number

    await until(has_rows)
