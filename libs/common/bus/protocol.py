"""What a bus guarantees, whoever implements it. The contract tests hold every implementation to this text.

At least once: a published message is delivered until a consumer settles it, perhaps more than once, perhaps to
several consumers one after the other, in no promised order. A message that failed too often (the delivery limit) or
was rejected goes to the dead letters, where it stays for people to look at. The bus holds nothing that PostgreSQL
does not know better.

There are two lanes: what is marked `bulk` is taken beside the rest and never stands in front of it, so that the many
executions of one tenant do not hold up the few of another.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol


class Delivery(Protocol):
    """One message handed to one handler. Its first settlement counts (`ack`, `reject`, `put_back`), later ones not.

    Settling never raises and never waits for the broker: when the connection is gone, the message will come again. A
    handler that raises, or ends without settling, has failed: the message comes again and counts against the delivery
    limit. A handler that is cancelled leaves its message unsettled: it comes again.
    """

    @property
    def body(self) -> bytes:
        """What was published."""
        ...

    @property
    def headers(self) -> Mapping[str, Any]:
        """What its publisher said beside it; our own messages have none."""
        ...

    @property
    def message_id(self) -> str:
        """What its publisher calls it, or empty."""
        ...

    @property
    def redelivered(self) -> bool:
        """Whether it may have been handed to somebody before."""
        ...

    @property
    def attempt(self) -> int:
        """1 for the first delivery, and so on; at least how often it was tried, as far as the broker counts."""
        ...

    async def ack(self) -> None:
        """Done, or durable elsewhere: it never comes again."""
        ...

    async def reject(self) -> None:
        """A failure that trying again won't mend: to the dead letters."""
        ...

    async def put_back(self) -> None:
        """Not now: give it to somebody again, at once. Counts against the delivery limit where the broker does so.

        Whoever cannot work for a while (the database is away) waits before he puts back, or the limit is reached
        quickly.
        """
        ...


Handler = Callable[[Delivery], Awaitable[None]]


class Consumer(Protocol):
    """A running consumption. It survives every loss of the connection by itself."""

    async def stop(self, grace_seconds: float = 20.0) -> None:
        """Takes no more, gives back what waits for a handler, and waits for the handlers under way.

        After `grace_seconds` those still under way are cancelled. Afterwards every message taken here and not settled
        is ready for another consumer. Stopping twice is harmless.
        """
        ...


class Bus(Protocol):
    """Two lanes of ready work, and the dead letters of both."""

    async def connect(self) -> None:
        """Ready to publish. Raises `Unavailable` when it can't within a bounded time.

        Either way it goes on by itself until `close`: it connects as soon as the broker is there, after every loss
        again, and declares anew whatever the broker has forgotten.
        """
        ...

    async def publish(self, bodies: Sequence[bytes], *, bulk: bool = False) -> None:
        """Returns when *all* bodies are confirmed as durable.

        Raises `Unavailable` when that is unknown for at least one (refused, no confirmation within 5 s, connection
        lost): the caller publishes again later, duplicates are normal. Known to be disconnected, it raises at once.
        """
        ...

    async def consume(self, handler: Handler, prefetch: int, *, bulk: bool = False) -> Consumer:
        """Hands messages of one lane to `handler`, at most `prefetch` handlers at once and at most `prefetch` unsettled
        messages.

        A handler may settle early and go on working; what arrives meanwhile waits until a handler ends. With the
        broker away it returns all the same after a bounded time, and consumes once the broker is back. A lost
        connection cancels no handler.
        """
        ...

    async def depth(self, *, bulk: bool | None = None) -> int:
        """Messages of one lane, or of both (None), that are ready and not handed to anybody. Raises `Unavailable` when
        the broker can't say.

        A broker may need some seconds after its start until the number is right.
        """
        ...

    async def dead_letters(self) -> int:
        """Messages among the dead letters. Raises `Unavailable` when the broker can't say."""
        ...

    @property
    def connected(self) -> bool:
        """Whether publishing, and every consumption, works as far as is known."""
        ...

    async def close(self) -> None:
        """Everything is stopped and nothing left behind; handlers under way are cancelled (stop consumers before)."""
        ...
