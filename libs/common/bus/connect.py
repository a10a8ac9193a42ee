"""Chooses the bus by its address. The AMQP client is imported only by whom it serves: it costs memory."""

from libs.common.bus.memory import MemoryBus
from libs.common.bus.protocol import Bus, Consumer, Handler
from libs.common.bus.topology import exchange_topology
from libs.common.errors import OperatorError


def make_bus(url: str, prefix: str = "signalbox") -> Bus:
    """The bus at `url` (`memory://`, `amqp://…`, `amqps://…`), not yet connected.

    The names of its queues start with `prefix`. A `memory://` bus joins only those who hold this very object. Raises
    `OperatorError` for any other address.
    """
    scheme = url.partition("://")[0]
    if scheme == "memory":
        return MemoryBus()
    if scheme in ("amqp", "amqps"):
        from libs.common.bus.amqp import AmqpBus  # noqa: PLC0415 - see above

        return AmqpBus(url, prefix)
    raise OperatorError("The address of the bus must start with memory://, amqp:// or amqps://.")


def consume_exchange(url: str, prefix: str, exchange: str, handler: Handler, prefetch: int) -> Consumer:
    """Hands everything that is published to the `exchange` of the broker at `url` to `handler`, as `Bus.consume` does.

    Messages wait in a durable queue of ours, `<prefix>.events`; what is rejected goes to `<prefix>.events.dead`. Any
    number of processes share it. A broker or an exchange that is not there is waited for, in the background.
    """
    from libs.common.bus.amqp import AmqpConsumer, Timing  # noqa: PLC0415 - see above

    topology = exchange_topology(prefix, exchange)
    consumer = AmqpConsumer(url, topology, Timing(), topology.ready, handler, prefetch)
    consumer.begin()
    return consumer
