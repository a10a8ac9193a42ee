"""A broker that loses, repeats, delays and reorders, and forgets everything when it is wiped. See `protocol.Bus`.

It promises less than a real one, because nothing of the product may depend on more: what PostgreSQL knows must run. The
handlers run by the product's own `Handlers`.
"""

from collections.abc import Sequence

import msgspec

from libs.common.bus.delivery import Handlers, OnceDelivery, Outcome
from libs.common.bus.protocol import Handler
from tests.simulation.clockwork import OUTSIDE, PROCESS, Process
from tests.simulation.weather import Weather

_LATE_SECONDS = (0.3, 3.0, 10.0, 20.0)


class _Stored(msgspec.Struct, eq=False):
    body: bytes
    returns: int = 0


class SimulatedBus:
    """One broker for all processes of a world."""

    connected = True

    def __init__(self, weather: Weather) -> None:
        self._weather = weather
        self._ready: list[_Stored] = []
        self._consumers: list[SimulatedConsumer] = []

    async def connect(self) -> None:
        return

    async def publish(self, bodies: Sequence[bytes], *, bulk: bool = False) -> None:
        del bulk  # it promises no order, so lanes are nothing to it
        await self._weather.carry(lambda: [self._take(body) for body in bodies])

    async def consume(self, handler: Handler, prefetch: int, *, bulk: bool = False) -> "SimulatedConsumer":
        del bulk
        process = PROCESS.get()
        assert process is not None
        self._consumers.append(consumer := SimulatedConsumer(self, process, handler, prefetch))
        self.hand_out()
        return consumer

    async def depth(self, *, bulk: bool | None = None) -> int:
        if bulk:
            return 0
        return await self._weather.carry(lambda: len(self._ready))

    async def dead_letters(self) -> int:
        return 0

    async def close(self) -> None:
        return

    def leave(self, process: Process) -> None:
        """The process is gone; what it held comes again."""
        for consumer in [one for one in self._consumers if one.process is process]:
            self._consumers.remove(consumer)
            for stored in consumer.held:
                self.come(stored, returned=True)

    def come(self, stored: _Stored, *, returned: bool = False) -> None:
        """The message is ready after a while."""
        stored.returns += returned
        weather = self._weather
        seconds = weather.pick(_LATE_SECONDS) if weather.happens("late") else weather.seconds()
        weather.loop.call_later(seconds, self._arrive, stored, context=OUTSIDE)

    def hand_out(self) -> None:
        """Any message to any consumer that has room, as long as there are both."""
        while self._ready and (free := [one for one in self._consumers if one.has_room]):
            stored = self._ready.pop(int(self._weather.chance.random() * len(self._ready)))
            self._weather.pick(free).take(stored)

    def settle(self, stored: _Stored, outcome: Outcome) -> None:
        """What a consumer held is done with or ready again; a settlement may get lost."""
        if outcome in ("put_back", "failed") or self._weather.happens("message_back"):
            self.come(stored, returned=True)
        self.hand_out()

    def _take(self, body: bytes) -> None:
        happens = self._weather.happens
        if happens("wipe"):
            self._ready.clear()
        if not happens("message_lost"):
            self.come(_Stored(body))
        while happens("message_twice"):
            self.come(_Stored(body))

    def _arrive(self, stored: _Stored) -> None:
        self._ready.append(stored)
        self.hand_out()


class SimulatedConsumer:
    """See `protocol.Consumer`."""

    def __init__(self, bus: SimulatedBus, process: Process, handler: Handler, prefetch: int) -> None:
        self._bus, self.process, self._prefetch = bus, process, prefetch
        self._handlers = Handlers(handler, prefetch)
        self.held: list[_Stored] = []
        self._stopped = False

    @property
    def has_room(self) -> bool:
        return not self._stopped and len(self.held) < self._prefetch

    def take(self, stored: _Stored) -> None:
        """Hand this message to a handler, in the consumer's process."""
        self.held.append(stored)
        delivery = _Delivery(self, stored)
        self.process.loop.call_soon(self._handlers.submit, delivery, context=self.process.context)

    def settle(self, stored: _Stored, outcome: Outcome) -> None:
        """One of the messages held here is settled."""
        if stored in self.held:
            self.held.remove(stored)
            self._bus.settle(stored, outcome)

    async def stop(self, grace_seconds: float = 20.0) -> None:
        self._stopped = True
        await self._handlers.stop(grace_seconds)
        for stored in tuple(self.held):
            self.settle(stored, "put_back")


class _Delivery(OnceDelivery):
    def __init__(self, consumer: SimulatedConsumer, stored: _Stored) -> None:
        super().__init__(stored.body, stored.returns + 1, stored.returns > 0)
        self._consumer, self._stored = consumer, stored

    @property
    def gone(self) -> bool:
        return False

    async def _carry_out(self, outcome: Outcome) -> None:
        self._consumer.settle(self._stored, outcome)
