"""One follower of a tenant's executions: what it wants to be told, what it was told, and what waits to be sent to it.

What waits is bounded: a follower that reads too slowly is overrun, and then it is for its connection to end. Memory
never grows with the slowness of somebody else.
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import msgspec

from services.gateway.cursors import Told
from services.gateway.states import ExecutionState, Status

_MOST_WAITING = 1000


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which executions, and in which statuses, somebody wants to be told; None: any."""

    workflow_id: UUID | None = None
    execution_id: UUID | None = None
    statuses: tuple[Status, ...] | None = None

    def takes(self, state: ExecutionState) -> bool:
        """Whether that is one of them."""
        return (
            self.workflow_id in (None, state.workflow_id)
            and self.execution_id in (None, state.id)
            and (self.statuses is None or state.status in self.statuses)
        )


class News(msgspec.Struct, frozen=True):
    """An execution is in a state that it was not in before. `body`: it as JSON; `mark`: stands for it in ids."""

    state: ExecutionState
    body: bytes
    mark: bytes


class Subscriber:
    """Takes news as fast as they come; a connection sends them as fast as it can."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(_MOST_WAITING)
        self._filter = Filter()
        self._told = Told(())
        self._told_before: datetime | None = None
        self._caught_up: frozenset[bytes] = frozenset()
        self.overrun = asyncio.Event()
        """Set when more came than it took."""

    def begin(
        self, wanted: Filter, marks: Iterable[bytes], told_before: datetime | None, missed: Iterable[News]
    ) -> None:
        """From now on it wants these. It was told everything before `told_before`, and what `marks` stand for; it is
        about to be told what it `missed`.
        """
        self._filter, self._told, self._told_before = wanted, Told(marks), told_before
        self._caught_up = frozenset(news.mark for news in missed)

    def position(self, since: datetime, oldest: UUID) -> str:
        """The id that says what it was told so far; see `cursors.Cursor`."""
        return self._told.position(since if self._told_before is None else max(since, self._told_before), oldest)

    def tell(self, news: News, since: datetime, oldest: UUID) -> None:
        """Send it this, if it wants it and does not know it from what it missed."""
        if self._filter.takes(news.state) and news.mark not in self._caught_up:
            self.catch_up(news, since, oldest)

    def catch_up(self, news: News, since: datetime, oldest: UUID) -> None:
        """Send it this."""
        self._told.add(news.mark)
        event_id = self.position(since, oldest).encode()
        self.put(b'{"type":"execution","id":"%b","execution":%b}' % (event_id, news.body))

    def put(self, message: bytes) -> None:
        """Send it this message, after those that wait."""
        try:
            self._waiting.put_nowait(message)
        except asyncio.QueueFull:
            self.overrun.set()

    async def next(self) -> bytes:
        """The next message to send."""
        return await self._waiting.get()
