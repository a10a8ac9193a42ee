"""What tenants have on the bus or running, as all processes of an installation count it together.

A mirror of what PostgreSQL knows, for those who must not ask it each time: it may be a little off, and is set right by
the scheduler every few seconds. Nothing is lost with it.
"""

from collections.abc import Collection, Mapping
from typing import Protocol
from uuid import UUID

import msgspec


class Counted(msgspec.Struct, frozen=True):
    """So many executions of each tenant that was asked about, and of all together; `backlog`: whose executions wait
    for their turn.
    """

    of: Mapping[UUID, int]
    total: int
    backlog: frozenset[UUID]


class Outstanding(Protocol):
    """Counts together. Never raises: `None` (or `False`) says that the others cannot be heard at present."""

    async def add(
        self, changes: Mapping[UUID, int], watched: Collection[UUID] = (), backlogged: Collection[UUID] = ()
    ) -> Counted | None:
        """Count these changes, say that executions of `backlogged` wait, and tell of those changed and `watched`."""
        ...

    async def all(self) -> Counted | None:
        """Every tenant that has anything outstanding."""
        ...

    async def forget_backlog(self, tenants: Collection[UUID]) -> None:
        """Nothing of these tenants waits any more."""
        ...

    async def set(self, counts: Mapping[UUID, int], backlog: Collection[UUID]) -> bool:
        """These are the numbers, whatever was counted before."""
        ...

    async def close(self) -> None:
        """Nothing is left behind."""
        ...


class NobodyCounts:
    """There is no cache. See `Outstanding`."""

    async def add(
        self, changes: Mapping[UUID, int], watched: Collection[UUID] = (), backlogged: Collection[UUID] = ()
    ) -> Counted | None:
        return None

    async def all(self) -> Counted | None:
        return None

    async def forget_backlog(self, tenants: Collection[UUID]) -> None:
        return

    async def set(self, counts: Mapping[UUID, int], backlog: Collection[UUID]) -> bool:
        return False

    async def close(self) -> None:
        return
