"""Live events: what is happening right now, for those who look. Best effort by intention.

An event may be lost (nobody looks, the cache is away, a reader is slow) and nothing depends on one: whoever needs the
truth reads it from PostgreSQL. So publishing never fails and never holds up the work that it reports.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec


class LiveEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An execution, or one of its actions, reached a status."""

    tenant_id: UUID
    execution_id: UUID
    workflow_id: UUID
    status: str
    """Of the execution."""
    at: datetime
    action_key: str | None = None
    """The action that this is about; `None`: the execution itself."""
    action_status: str | None = None


class LiveFeed(Protocol):
    """Carries live events from whoever works to whoever looks, in all processes of the installation."""

    async def publish(self, events: Sequence[LiveEvent]) -> None:
        """Show these to those who look. Never raises, takes 100 ms at most; what cannot be shown is dropped."""
        ...

    def subscribe(self, tenant_id: UUID) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The tenant's events from the moment of entering on, until it is left.

        Waiting for the next item may be cancelled and begun again, as a time-out does. Each item is a JSON list of
        one or more `LiveEvent`s. A reader that falls far behind loses the oldest ones. While the cache is away
        nothing comes; it goes on by itself afterwards.
        """
        ...

    async def ping(self) -> bool:
        """Whether events get through at present. Never raises."""
        ...

    async def figures(self) -> Mapping[str, float] | None:
        """The cache's own figures, by the names that Redis gives them (`INFO`); empty: it is away. None: there is no
        cache. Never raises.
        """
        ...

    async def close(self) -> None:
        """Nothing is left behind; every subscription ends."""
        ...
