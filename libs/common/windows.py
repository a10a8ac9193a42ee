"""What this process knows of the tenants' windows: in which lane the next execution of a tenant goes, or that it waits.

    place ─┬▶ settle: stored, and on the bus, prompt or bulk: one more outstanding
           └▶ held: its row says so, the dispatcher lets it go when it is the tenant's turn
    an execution ends or is parked: one less

`place`, `settle` and `ended` only count in memory. What changed is told to the other processes twenty times a second,
in one round trip, which also brings what they have counted; nothing on the way of an execution waits for it. While
Redis is away the numbers come from PostgreSQL, at a slower pace. They are never exact, and need not be: what a tenant
has beyond its window by then are a few.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from time import monotonic
from uuid import UUID

import structlog

from libs.common.cache.outstanding import Counted, Outstanding
from libs.common.db.dispatching import Ticket, count_outstanding, hold_executions, standings_of, tenants_with_backlog
from libs.common.db.group_commit import GroupCommit
from libs.common.db.pool import Database
from libs.common.domain.fairness import Lane, Standing, lane_of
from libs.common.errors import Unavailable

_PAUSE_SECONDS = 0.05
_IDLE_PAUSE_SECONDS = 0.25
"""Nothing changes here; others may change what is watched."""
_DATABASE_PAUSE_SECONDS = 0.5
_STANDING_SECONDS = 10.0
"""So long what a tenant may have is remembered."""

_log = structlog.get_logger(__name__)


class Windows:
    """One instance a process."""

    def __init__(self, database: Database, outstanding: Outstanding, *, window: int, budget: int) -> None:
        """`window`: of a tenant of weight 1 that has none of its own; `budget`: of all tenants together."""
        self._database, self._outstanding = database, outstanding
        self._window, self.budget = window, budget
        self._usual = Standing(window)
        self._standings: dict[UUID, tuple[Standing, float]] = {}
        self._known: dict[UUID, int] = {}
        self._changes: Counter[UUID] = Counter()
        self._total = 0
        self._placed: Counter[UUID] = Counter()  # apart: PostgreSQL, which is asked too, knows only what is stored
        self._placed_in_all = 0
        self._backlog: set[UUID] = set()
        self._marks: set[UUID] = set()
        self._holds = GroupCommit[Ticket, None](self._hold, max_batch=1024, lanes=1)
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def outstanding(self) -> Outstanding:
        """What all processes count together."""
        return self._outstanding

    def place(self, tenant_id: UUID) -> Lane:
        """Where the next execution of the tenant goes. Unless it is held its place is kept until `settle` is told."""
        known = self._known.get(tenant_id, 0) + self._placed[tenant_id]
        total, standing = self._total + self._placed_in_all, self._standings.get(tenant_id)
        lane = lane_of(
            self._usual if standing is None else standing[0], known, self.budget - total,
            has_backlog=tenant_id in self._backlog, is_scarce=2 * total >= self.budget,
        )  # fmt: skip
        if lane is Lane.HELD:
            self._backlog.add(tenant_id)
        else:
            self._placed[tenant_id] += 1
            self._placed_in_all += 1
        return lane

    def settle(self, tenant_id: UUID, *, is_stored: bool) -> None:
        """An execution that was placed is stored, and outstanding for everybody, or it could not be stored."""
        self._placed[tenant_id] -= 1
        self._placed_in_all -= 1
        if not self._placed[tenant_id]:
            del self._placed[tenant_id]
        if is_stored:
            self._count(tenant_id, 1)

    def ended(self, tenant_id: UUID) -> None:
        """An execution of the tenant has ended, or is parked."""
        self._count(tenant_id, -1)

    def are_held(self, tenants: Iterable[UUID]) -> None:
        """Executions of these tenants are stored as held: those who let go are told of it."""
        self._marks.update(tenants)
        if self._task is None or self._task.done():
            self._wake()

    def hold(self, tickets: Sequence[Ticket]) -> None:
        """These wait for their tenants' turn; soon, and if the database is there (else the sweep announces them)."""
        for ticket in tickets:
            with suppress(Unavailable):
                self._holds.enqueue(ticket).add_done_callback(_held)

    async def standings(self, tenants: Sequence[UUID]) -> dict[UUID, Standing]:
        """What these tenants may have, as known within the last seconds. Raises `Unavailable`."""
        await self._learn(tenants)
        return {tenant: self._standings[tenant][0] for tenant in tenants if tenant in self._standings}

    async def count(self) -> Counted:
        """What PostgreSQL knows. Raises `Unavailable`."""
        async with self._database.connection() as connection:
            counts = await count_outstanding(connection)
            backlog = await tenants_with_backlog(connection)
        return Counted(counts, sum(counts.values()), frozenset(backlog))

    async def close(self) -> None:
        """What was to be held is, and what was counted is told."""
        await self._holds.close()
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._changes:
            await self._outstanding.add(self._changes)
        await self._outstanding.close()

    def _count(self, tenant_id: UUID, number: int) -> None:
        self._known[tenant_id] = self._known.get(tenant_id, 0) + number
        self._changes[tenant_id] += number
        self._total += number
        if self._task is None or self._task.done():
            self._wake()

    def _wake(self) -> None:
        if not self._closed:
            self._task = asyncio.get_running_loop().create_task(self._follow())

    async def _follow(self) -> None:
        """Tell and hear, as long as anything is known to be outstanding or waits."""
        while self._changes or self._marks or self._backlog or any(number > 0 for number in self._known.values()):
            await asyncio.sleep(_PAUSE_SECONDS if self._changes or self._marks else _IDLE_PAUSE_SECONDS)
            try:
                await self._learn(list(self._known))
                await self._tell()
            except Unavailable as error:
                _log.debug("windows are not up to date", reason=error.detail)
                await asyncio.sleep(_DATABASE_PAUSE_SECONDS)

    async def _tell(self) -> None:
        changes, self._changes = self._changes, Counter()
        marks, self._marks = self._marks, set()
        watched = [tenant for tenant, number in self._known.items() if number > 0]
        counted = await self._outstanding.add(changes, watched, marks)
        if counted is None:  # PostgreSQL knows of them without being told
            await asyncio.sleep(_DATABASE_PAUSE_SECONDS)
            self._changes = Counter()
            counted = await self.count()
        since = self._changes
        self._known = {**counted.of}
        for tenant, number in since.items():
            self._known[tenant] = self._known.get(tenant, 0) + number
        self._known = {tenant: number for tenant, number in self._known.items() if number > 0}
        self._total = counted.total + sum(since.values())
        self._backlog = set(counted.backlog) | self._marks

    async def _learn(self, tenants: Sequence[UUID]) -> None:
        now = monotonic()
        old = [tenant for tenant in tenants if tenant not in self._standings or self._standings[tenant][1] < now]
        if old:
            async with self._database.connection() as connection:
                found = await standings_of(connection, old, self._window)
            until = now + _STANDING_SECONDS
            self._standings.update({tenant: (standing, until) for tenant, standing in found.items()})

    async def _hold(self, batch: Sequence[Ticket]) -> Sequence[None]:
        async with self._database.connection() as connection:
            await hold_executions(connection, batch)
        self.are_held(ticket.tenant_id for ticket in batch)
        return [None] * len(batch)


def _held(done: "asyncio.Future[None]") -> None:
    if not done.cancelled() and done.exception() is not None:
        _log.debug("left to the sweep instead of held", reason=str(done.exception()))
