"""What happens to the executions of one tenant, for all its sockets in this process.

    Redis: "look at these" ─┐
    poll: new ones, open ones ─▶ states from PostgreSQL ─▶ those that are new ─▶ each subscriber that wants them

One reader for all subscribers: however many there are, the database is asked once. It remembers the state of every
execution that is open, so it tells each new state once, and never an older one after a newer one. Without Redis, or
while it is away, it sees the same a little later: it polls, less often the longer nothing happens.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from libs.common.cache.protocol import LiveEvent, LiveFeed
from libs.common.clock import Clock, first_id_at
from libs.common.db.live_states import StoredState, changed_since, count_from, load_states, newest_ids, open_ids
from libs.common.db.pool import Database, TenantDatabase
from libs.common.domain.execution import TERMINAL
from libs.common.errors import Unavailable
from libs.common.tasks import end_tasks
from services.gateway.cursors import MOST_MARKS, Cursor, mark_of
from services.gateway.followers import Followers
from services.gateway.states import state_of
from services.gateway.subscribers import Filter, News, Subscriber

_LOOK_SECONDS = 1.0
_LONGEST_LOOK_SECONDS = 5.0
_GATHER_SECONDS = 0.05
"""What Redis tells within this time is read together."""
_BAND = timedelta(seconds=10)
"""So much later than its id says an execution may become visible."""
_SETTLED = timedelta(seconds=2)
"""What a poll shows is complete up to so long before: clocks differ, and a commit takes its time."""
_KEEP_ENDED_SECONDS = 60.0
_MOST_KNOWN = 10_000
_MOST_MISSED = 500
"""What a follower missed is told one by one up to here."""
_LONGEST_SPAN = 20_000
"""Executions that are looked through for what was missed."""
_FIRST = UUID(int=0)

_log = structlog.get_logger(__name__)
_decode = msgspec.json.Decoder(list[LiveEvent]).decode
_encode = msgspec.json.Encoder().encode


class _Known(msgspec.Struct, frozen=True):
    """The last state that was seen; `ended`: when an ended one was, by the loop's clock."""

    mark: bytes
    ended: float | None


class TenantFeed:
    """The reader of one tenant. Use `TenantFeeds` to get it."""

    def __init__(self, tenant_id: UUID, database: TenantDatabase, clock: Clock, feed: LiveFeed) -> None:
        self._tenant_id, self._database, self._clock, self._feed = tenant_id, database, clock, feed
        self._subscribers: set[Subscriber] = set()
        self._known: dict[UUID, _Known] = {}
        self._recent: deque[bytes] = deque(maxlen=MOST_MARKS)
        self._oldest: deque[tuple[datetime, UUID]] = deque()
        self._polled_at = clock.now()
        self._incomplete = False  # not every open execution is known
        self._named: set[UUID] = set()
        self._woken = asyncio.Event()
        self._reading = asyncio.Lock()
        self._time = asyncio.get_running_loop().time
        self.users = 0
        self.task: asyncio.Task[None] | None = None
        """Runs as long as the feed does."""

    async def start(self) -> None:
        """What is so already is known, and not told. Raises `Unavailable`."""
        async with self._reading:
            if self.task is None:
                async with self._database.transaction() as connection:
                    found = await open_ids(connection, self._tenant_id, _MOST_KNOWN // 2)
                self._named.update(found)
                self._incomplete = len(found) >= _MOST_KNOWN // 2
                await self._look(poll=True)
                self.task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Nothing is left of it."""
        await end_tasks(self.task)

    async def subscribe(self, subscriber: Subscriber, wanted: Filter, cursor: Cursor | None, told: str | None) -> None:
        """The subscriber is told what it missed since `cursor` (written: `told`), then what comes. Raises
        `Unavailable`.
        """
        async with self._reading:
            missed = [] if cursor is None else await self._missed(cursor, wanted)
            marks = self._recent if cursor is None or missed is None else cursor.marks
            floor = None if cursor is None or missed is None else cursor.since
            subscriber.begin(wanted, marks, floor, [news for _, news in missed or ()])
            fresh = subscriber.position(self._settled(), self._oldest_open())
            answer = {"type": "subscribed", "id": told or fresh, "filter": wanted}
            subscriber.put(_encode(answer if missed is not None else {**answer, "id": fresh}))
            if missed is None:
                subscriber.put(_encode({"type": "reset", "id": fresh, "detail": "Too much happened since that event."}))
            for at, news in missed or ():
                subscriber.catch_up(news, min(at, self._settled()), cursor.oldest if cursor else _FIRST)
            self._subscribers.add(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        """It is told nothing more."""
        self._subscribers.discard(subscriber)

    async def _missed(self, cursor: Cursor, wanted: Filter) -> list[tuple[datetime, News]] | None:
        """What happened after the cursor that it has no mark of, and until when all was told with each; None: too
        much.
        """
        async with self._database.transaction() as connection:
            span = await count_from(connection, self._tenant_id, cursor.oldest, _LONGEST_SPAN + 1)
            if span > _LONGEST_SPAN:
                return None
            changes = await changed_since(
                connection, self._tenant_id, cursor.since, cursor.oldest, workflow_id=wanted.workflow_id,
                execution_id=wanted.execution_id, limit=_MOST_MISSED + 1,
            )  # fmt: skip
            if len(changes) > _MOST_MISSED:
                return None
            rows = await load_states(connection, self._tenant_id, [change.id for change in changes])
        states = {row.id: _news(row) for row in rows}
        # A millisecond less: a cursor holds no smaller part, and others may have the same time.
        times = [(change.id, (change.at or cursor.since) - timedelta(milliseconds=1)) for change in changes]
        found = [(max(cursor.since, at), states[one]) for one, at in times if one in states]
        return [(at, news) for at, news in found if news.mark not in cursor.marks and wanted.takes(news.state)]

    async def _run(self) -> None:
        async with self._feed.subscribe(self._tenant_id) as payloads:
            listening = asyncio.get_running_loop().create_task(self._listen(payloads))
            try:
                await self._keep_looking()
            except Exception:
                _log.exception("a tenant's executions are not followed any more", tenant_id=self._tenant_id)
                raise
            finally:
                listening.cancel()

    async def _listen(self, payloads: AsyncIterator[bytes]) -> None:
        async for payload in payloads:
            if len(self._named) < _MOST_KNOWN:
                self._named.update(event.execution_id for event in _decode(payload))
            self._woken.set()

    async def _keep_looking(self) -> None:
        pause, poll_at = _LOOK_SECONDS, self._time()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, poll_at - self._time())):
                    await self._woken.wait()
            self._woken.clear()
            poll, told = self._time() >= poll_at, False
            with suppress(Unavailable):
                async with self._reading:
                    told = await self._look(poll=poll)
            if told:
                pause, poll_at = _LOOK_SECONDS, min(poll_at, self._time() + _LOOK_SECONDS)
            if poll:
                poll_at = self._time() + pause
                pause = min(pause * 1.5, max(_LOOK_SECONDS, _LONGEST_LOOK_SECONDS))
            await asyncio.sleep(_GATHER_SECONDS)

    async def _look(self, *, poll: bool) -> bool:
        """Read what was named and, for a poll, what is new or open; tell what is new. Returns whether anything was."""
        now, named, self._named = self._clock.now(), self._named, set[UUID]()
        try:
            async with self._database.transaction() as connection:
                if poll:
                    newest = await newest_ids(connection, self._tenant_id, now - _BAND, _MOST_KNOWN)
                    named.update(one for one in newest if one not in self._known)
                    named.update(one for one, known in self._known.items() if known.ended is None)
                states = await load_states(connection, self._tenant_id, list(named)) if named else []
        except Unavailable:
            self._named |= named
            raise
        fresh = [news for news in map(_news, sorted(states, key=lambda row: row.id)) if self._learn(news)]
        self._tell(fresh)
        if poll:
            self._polled_at = now
            self._forget(now)
        return bool(fresh)

    def _tell(self, fresh: Sequence[News]) -> None:
        """What this look shows is complete only after the last of it: its ids go back to the look before."""
        since, oldest = self._settled(), self._oldest_open()
        for news in fresh:
            self._recent.append(news.mark)
            for subscriber in self._subscribers:
                subscriber.tell(news, since, oldest)

    def _learn(self, news: News) -> bool:
        """Whether that was not known."""
        known = self._known.get(news.state.id)
        if known is not None and (known.mark == news.mark or known.ended is not None):
            return False
        self._known[news.state.id] = _Known(news.mark, self._time() if news.state.status in TERMINAL else None)
        return True

    def _forget(self, now: datetime) -> None:
        """Memory stays bounded: what ended a while ago is done with, and of too many the longest known go."""
        before = self._time() - _KEEP_ENDED_SECONDS
        gone = [one for one, known in self._known.items() if known.ended is not None and known.ended < before]
        for one in gone:
            del self._known[one]
        self._incomplete = self._incomplete or len(self._known) > _MOST_KNOWN
        for one in list(self._known)[: max(0, len(self._known) - _MOST_KNOWN)]:
            del self._known[one]
        opened = (one for one, known in self._known.items() if known.ended is None)
        self._oldest.append((now, _FIRST if self._incomplete else min(opened, default=first_id_at(now))))
        while len(self._oldest) > 1 and self._oldest[1][0] <= now - _BAND:
            self._oldest.popleft()

    def _settled(self) -> datetime:
        """Everything that has an earlier time was seen."""
        return self._polled_at - _SETTLED

    def _oldest_open(self) -> UUID:
        """No execution before this one was open at any time that a cursor made now looks back to."""
        if not self._oldest:
            return _FIRST
        return min(first_id_at(self._oldest[0][0] - _BAND), *(one for _, one in self._oldest))


class TenantFeeds:
    """The feeds of this process, each as long as somebody uses it."""

    def __init__(self, database: Database, clock: Clock, followers: Followers) -> None:
        self._database, self._clock, self._followers = database, clock, followers
        self._feeds: dict[UUID, TenantFeed] = {}

    @asynccontextmanager
    async def of(self, tenant_id: UUID) -> AsyncGenerator[TenantFeed]:
        """The tenant's feed, which has looked. Raises `Unavailable`."""
        live = await self._followers.feed()
        if live is None:
            raise Unavailable("This gateway is stopping.")
        feed = self._feeds.setdefault(
            tenant_id, TenantFeed(tenant_id, self._database.for_tenant(tenant_id), self._clock, live)
        )
        feed.users += 1
        try:
            await feed.start()
            yield feed
        finally:
            feed.users -= 1
            if feed.users == 0:
                del self._feeds[tenant_id]
                await feed.stop()


def _news(row: StoredState) -> News:
    state = state_of(row)
    body = _encode(state)
    return News(state, body, mark_of(body))
