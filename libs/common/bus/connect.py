"""Chooses the bus by its address. The AMQP client is imported only by whom it serves: it costs memory."""

from libs.common.bus.memory import MemoryBus
from libs.common.bus.protocol import Bus
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
