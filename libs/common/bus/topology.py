"""The queues and exchanges of an installation, as data. What declares them is `amqp`."""

from typing import Any

import msgspec

_EXCHANGE_DELIVERY_LIMIT = 50


class Topology(msgspec.Struct, frozen=True):
    """The queues and the exchange of one installation, as data."""

    ready: str
    dead: str
    """Name of the dead letter queue and of the exchange in front of it."""
    ready_arguments: dict[str, Any]
    dead_arguments: dict[str, Any]
    bulk: str = ""
    """The queue beside the ready one for what may wait; empty: none."""
    source: str = ""
    """An exchange, which is not ours, whose messages the ready queue takes; empty: none."""


def topology_of(prefix: str, delivery_limit: int = 10) -> Topology:
    """The topology whose names start with `prefix`. RabbitMQ ignores arguments it does not know: mind the spelling.

    A message is delivered `delivery_limit` + 1 times at most. At-least-once dead-lettering needs `reject-publish`.
    """
    topology = _with_dead_letters(f"{prefix}.ready", f"{prefix}.dead", delivery_limit)
    return msgspec.structs.replace(topology, bulk=f"{prefix}.ready.bulk")


def exchange_topology(prefix: str, exchange: str) -> Topology:
    """A queue of our own for everything that is published to an exchange of the platform, and its dead letters.

    The delivery limit counts crashes of who takes, and stops of who waits for the database.
    """
    topology = _with_dead_letters(f"{prefix}.events", f"{prefix}.events.dead", _EXCHANGE_DELIVERY_LIMIT)
    return msgspec.structs.replace(topology, source=exchange)


def _with_dead_letters(ready: str, dead: str, delivery_limit: int) -> Topology:
    return Topology(
        ready=ready,
        dead=dead,
        ready_arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": delivery_limit,
            "x-dead-letter-exchange": dead,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-max-length-bytes": 1024**3,
        },
        dead_arguments={"x-queue-type": "quorum", "x-max-length": 100_000},
    )
