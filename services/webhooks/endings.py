"""Waiting for executions to end, for all callers of this process together.

    Redis: "it has ended" ─┐
    poll: all that are waited for ─▶ one read for all of them ─▶ each caller

However many wait, the database is asked once for all of them: when the live feed names some, and otherwise less and
less often, from twenty times a second to once. Without Redis, or while it is away, callers see the same a little later.
"""

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager, suppress
from uuid import UUID

import msgspec
import structlog

from libs.common.cache.connect import make_live_feed
from libs.common.cache.protocol import LiveEvent, LiveFeed
from libs.common.db.execution_ends import Ended, load_ends
from libs.common.db.pool import Database
from libs.common.domain.execution import TERMINAL
from libs.common.errors import Unavailable
from libs.common.tasks import end_tasks

_LEAST_PAUSE, _MOST_PAUSE = 0.05, 1.0
_GATHER_SECONDS = 0.003
"""What the feed names within this time is read together."""
_LINGER_SECONDS = 60.0
"""So long after the last caller the feeds of tenants are kept."""
_MOST_FEEDS = 500

_log = structlog.get_logger(__name__)
_decode = msgspec.json.Decoder(list[LiveEvent]).decode


class Endings:
    """Tells callers when their execution has ended."""

    def __init__(self, database: Database, redis_url: str) -> None:
        self._database, self._redis_url = database, redis_url
        self._waiting: dict[tuple[UUID, UUID], list[asyncio.Future[Ended]]] = {}
        self._named: set[UUID] = set()
        self._woken = asyncio.Event()
        self._pause = _LEAST_PAUSE
        self._feed: LiveFeed | None = None
        self._listening: dict[UUID, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def expecting(self, tenant_id: UUID, execution_id: UUID) -> Generator[asyncio.Future[Ended]]:
        """A future that is done when the execution has ended; enter before it is started to miss nothing."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Ended] = loop.create_future()
        key = (tenant_id, execution_id)
        self._waiting.setdefault(key, []).append(future)
        self._pause = _LEAST_PAUSE
        self._woken.set()
        if self._task is None:
            self._task = loop.create_task(self._run())
        self._listen_to(tenant_id)
        try:
            yield future
        finally:
            self._waiting[key].remove(future)
            if not self._waiting[key]:
                del self._waiting[key]

    async def close(self) -> None:
        """Nothing is left of it; who still waits gets no answer from here."""
        await end_tasks(self._task)
        await self._forget_feeds()

    async def _run(self) -> None:
        if self._feed is None and self._redis_url:
            self._feed = await asyncio.to_thread(make_live_feed, self._redis_url)
            for tenant_id, _ in list(self._waiting):
                self._listen_to(tenant_id)
        time = asyncio.get_running_loop().time
        poll_at, idle_since = time() + self._pause, time()
        while self._waiting or time() - idle_since < _LINGER_SECONDS:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, poll_at - time()) if self._waiting else _LINGER_SECONDS):
                    await self._woken.wait()
            self._woken.clear()
            await asyncio.sleep(_GATHER_SECONDS)
            polls = time() >= poll_at
            with suppress(Unavailable):
                await self._look(everything=polls)
            if polls:
                self._pause = min(self._pause * 1.5, _MOST_PAUSE)
                poll_at = time() + self._pause
            poll_at = min(poll_at, time() + self._pause)
            idle_since = time() if self._waiting else idle_since
        self._task = None  # whoever comes from here on starts anew
        await self._forget_feeds()

    async def _look(self, *, everything: bool) -> None:
        named, self._named = self._named, set[UUID]()
        wanted = [key for key in self._waiting if everything or key[1] in named]
        if not wanted:
            return
        async with self._database.connection() as connection:
            ends = {one.id: one for one in await load_ends(connection, wanted)}
        for key in wanted:
            for future in self._waiting.get(key, ()):
                if key[1] in ends and not future.done():
                    future.set_result(ends[key[1]])

    def _listen_to(self, tenant_id: UUID) -> None:
        if tenant_id not in self._listening and self._feed is not None and len(self._listening) < _MOST_FEEDS:
            listening = asyncio.get_running_loop().create_task(self._listen(self._feed, tenant_id))
            self._listening[tenant_id] = listening

    async def _listen(self, feed: LiveFeed, tenant_id: UUID) -> None:
        async with feed.subscribe(tenant_id) as payloads:
            await self._note(payloads, tenant_id)

    async def _note(self, payloads: AsyncIterator[bytes], tenant_id: UUID) -> None:
        async for payload in payloads:
            ended = {event.execution_id for event in _decode(payload) if event.status in TERMINAL}
            named = {one for one in ended if (tenant_id, one) in self._waiting}
            if named:
                self._named |= named
                self._woken.set()

    async def _forget_feeds(self) -> None:
        tasks, self._listening = list(self._listening.values()), {}
        feed, self._feed = self._feed, None
        await end_tasks(*tasks)
        if feed is not None:
            await feed.close()
