"""Followers of executions, by event stream or by socket: how many a tenant may have, how each shows that it lives, and
how all of them end.

A follower goes on only while its credential would still open a new one: that is looked up again every few seconds.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Literal
from uuid import UUID

from libs.common.cache.connect import make_live_feed
from libs.common.cache.protocol import LiveFeed
from libs.common.errors import RateLimited, Unavailable
from libs.common.telemetry import metrics

KEEP_ALIVE_SECONDS = 15.0
CHECK_SECONDS = 3.0

MOST_STRANGERS = 1_000
"""Sockets of one process that have not said whose they are."""

Check = Callable[[], Awaitable[object]]
"""Raises `Unauthenticated` or `Forbidden` when the follower may not go on."""


class Followers:
    """The followers of this process. The feed is connected by the first one: its client costs memory."""

    def __init__(self, redis_url: str, most_per_tenant: int) -> None:
        self._redis_url, self._most = redis_url, most_per_tenant
        self._feed: LiveFeed | None = None
        self._connecting = asyncio.Lock()
        self._numbers: Counter[UUID] = Counter()
        self._strangers = 0
        self._none_left = asyncio.Event()
        self._none_left.set()
        self.closing = asyncio.Event()
        """Set when every follower has to end."""

    @contextmanager
    def admit(self, tenant_id: UUID, kind: Literal["stream", "socket"]) -> Generator[None]:
        """One more of the tenant, until it is left. Raises `RateLimited`."""
        if self._numbers[tenant_id] >= self._most:
            raise RateLimited(f"{self._most} live streams of this tenant are open here; close one or come back later.")
        self._numbers[tenant_id] += 1
        self._none_left.clear()
        metrics.add_live_stream(kind, 1)
        try:
            yield
        finally:
            metrics.add_live_stream(kind, -1)
            self._numbers[tenant_id] -= 1
            self._numbers += Counter()  # forgets tenants without any
            if not self._numbers:
                self._none_left.set()

    @contextmanager
    def greet(self) -> Generator[None]:
        """One more socket that has not said whose it is, until it has. Raises `RateLimited` when there are many."""
        if self._strangers >= MOST_STRANGERS:
            raise RateLimited("Many have opened a socket and not said who they are; come back later.")
        self._strangers += 1
        try:
            yield
        finally:
            self._strangers -= 1

    async def feed(self) -> LiveFeed | None:
        """The one feed of this process; None when everything ends."""
        async with self._connecting:
            if self._feed is None and not self.closing.is_set():
                self._feed = await asyncio.to_thread(make_live_feed, self._redis_url)
            return self._feed

    async def close(self, patience_seconds: float) -> None:
        """Every follower is told to end, and has so much time to say goodbye."""
        self.closing.set()
        with suppress(TimeoutError):  # one that does not read cannot be waited for
            async with asyncio.timeout(patience_seconds):
                await self._none_left.wait()
        async with self._connecting:
            if self._feed is not None:
                await self._feed.close()


class Heartbeat:
    """When a follower has to show that it lives, and whether it may go on."""

    def __init__(self, check: Check) -> None:
        self._check, self._time = check, asyncio.get_running_loop().time
        self._check_at = self._time() + CHECK_SECONDS
        self._show_at = self._time() + KEEP_ALIVE_SECONDS

    def seconds_left(self) -> float:
        """Until the next call of `beat`."""
        return max(0.0, min(self._check_at, self._show_at) - self._time())

    async def beat(self) -> bool:
        """Whether it is time to send something. Raises `Unauthenticated` or `Forbidden`: it may not go on."""
        now = self._time()
        if now >= self._check_at:
            self._check_at = now + CHECK_SECONDS
            with suppress(Unavailable):  # nobody knows while the database is away
                await self._check()
        if now < self._show_at:
            return False
        self._show_at = now + KEEP_ALIVE_SECONDS
        return True
