"""The bus of a single process: the same promises as a broker's, except that nothing outlives the process.

That is enough where everything runs in one process: PostgreSQL knows what was not taken, and the sweep publishes it
again after a restart. It never touches the network and holds as many messages as are published.
"""

from collections import deque
from collections.abc import Sequence

import msgspec

from libs.common.bus.delivery import Handlers, OnceDelivery, Outcome
from libs.common.bus.protocol import Handler
from libs.common.errors import Unavailable
from libs.common.telemetry import metrics

DELIVERY_LIMIT = 10
"""So often may a message come back; the next time it goes to the dead letters. As with the broker."""


class _Stored(msgspec.Struct, eq=False):
    body: bytes
    returns: int = 0


class _Lane:
    """Messages that are ready, and who takes them."""

    def __init__(self) -> None:
        self.ready: deque[_Stored] = deque()
        self.consumers: list[MemoryConsumer] = []

    def hand_out(self) -> None:
        """Deal the ready messages to the consumers in turn, as long as one has room."""
        full = 0
        while self.ready and full < len(self.consumers):
            consumer = self.consumers.pop(0)
            self.consumers.append(consumer)
            if consumer.has_room:
                consumer.take(self.ready.popleft())
                full = 0
            else:
                full += 1


class MemoryBus:
    """See `protocol.Bus`."""

    def __init__(self) -> None:
        self._lanes = (_Lane(), _Lane())
        self._dead: list[_Stored] = []
        self._connected = False

    async def connect(self) -> None:
        self._connected = True

    @property
    def connected(self) -> bool:
        return self._connected

    async def publish(self, bodies: Sequence[bytes], *, bulk: bool = False) -> None:
        if not self._connected:
            metrics.count_published(len(bodies), confirmed=False, bulk=bulk)
            raise Unavailable("The bus is closed.")
        lane = self._lanes[bulk]
        lane.ready.extend(_Stored(body) for body in bodies)
        metrics.count_published(len(bodies), confirmed=True, bulk=bulk)
        lane.hand_out()

    async def consume(self, handler: Handler, prefetch: int, *, bulk: bool = False) -> "MemoryConsumer":
        lane = self._lanes[bulk]
        consumer = MemoryConsumer(lane, self._dead, handler, prefetch)
        lane.consumers.append(consumer)
        lane.hand_out()
        return consumer

    async def depth(self, *, bulk: bool | None = None) -> int:
        return sum(len(lane.ready) for lane in (self._lanes if bulk is None else [self._lanes[bulk]]))

    async def dead_letters(self) -> int:
        return len(self._dead)

    async def close(self) -> None:
        self._connected = False
        for consumer in [one for lane in self._lanes for one in lane.consumers]:
            await consumer.stop(0)


class MemoryConsumer:
    """See `protocol.Consumer`."""

    def __init__(self, lane: _Lane, dead: list[_Stored], handler: Handler, prefetch: int) -> None:
        self._lane, self._dead, self._prefetch = lane, dead, prefetch
        self._handlers = Handlers(handler, prefetch)
        self._held: dict[int, _Stored] = {}

    @property
    def has_room(self) -> bool:
        return len(self._held) < self._prefetch

    def take(self, stored: _Stored) -> None:
        """Hand this message to a handler."""
        self._held[id(stored)] = stored
        self._handlers.submit(_MemoryDelivery(self, stored))

    def settle(self, stored: _Stored, outcome: Outcome) -> None:
        """One of the messages held here is settled; one that was given back meanwhile no longer counts."""
        if self._held.pop(id(stored), None) is None:
            return
        if outcome == "rejected":
            self._dead.append(stored)
        elif outcome != "acked":
            stored.returns += 1
            (self._dead if stored.returns > DELIVERY_LIMIT else self._lane.ready).append(stored)
        self._lane.hand_out()

    async def stop(self, grace_seconds: float = 20.0) -> None:
        if self in self._lane.consumers:
            self._lane.consumers.remove(self)
        await self._handlers.stop(grace_seconds)
        for stored in tuple(self._held.values()):
            self.settle(stored, "put_back")


class _MemoryDelivery(OnceDelivery):
    def __init__(self, consumer: MemoryConsumer, stored: _Stored) -> None:
        super().__init__(stored.body, stored.returns + 1, stored.returns > 0)
        self._consumer, self._stored = consumer, stored

    @property
    def gone(self) -> bool:
        return False

    async def _carry_out(self, outcome: Outcome) -> None:
        self._consumer.settle(self._stored, outcome)
