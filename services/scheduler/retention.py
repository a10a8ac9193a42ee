"""Duty: what is older than a tenant's retention is deleted, and day partitions that nobody needs are dropped.

Days in which everything is older than the longest retention go whole; without a tenant that keeps everything, that is
all there is to do for most rows. The rest is deleted in batches, each a short transaction, one a tenant in turn: a
tenant with much to delete holds up nobody. The ledger of schedules goes with its days only; usage stays.
"""

from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from libs.common.clock import Clock, first_id_at
from libs.common.db import cleaning
from libs.common.db.metering import metered_until
from libs.common.db.pool import Connection, Database
from libs.common.db.retention import EMPTY_DAYS, LOGS, RUNS, Day, drop_day, drop_runs, list_days
from libs.common.db.tenant_limits import list_quotas
from libs.common.limits.plans import Plans

_TENANTS = 500
_FIRST_ID = UUID(int=0)
_ROWS = (cleaning.delete_old_calls, cleaning.delete_old_events, cleaning.delete_old_notifications)

_log = structlog.get_logger(__name__)


class _Open(msgspec.Struct, frozen=True):
    """A tenant with something left to delete. `after`: where its executions go on; None: they are done."""

    tenant_id: UUID
    before: datetime
    after: UUID | None = _FIRST_ID
    kinds: tuple[int, ...] = tuple(range(len(_ROWS)))


class Retention:
    """Rounds over all tenants; each call is one batch of the next one."""

    name = "retention"
    least = 600.0
    most = 600.0

    def __init__(self, database: Database, plans: Plans, clock: Clock) -> None:
        self._database, self._plans, self._clock = database, plans, clock
        self._open: deque[_Open] = deque()

    async def work(self) -> bool:
        """A batch of one tenant; with nothing open, days are dropped and a new round begins."""
        if not self._open:
            await self._begin()
        elif (left := await self._delete(self._open.popleft())) is not None:
            self._open.append(left)
        return bool(self._open)

    async def _begin(self) -> None:
        now, days = self._clock.now(), await self._days()
        kept = [one for one in days.values() if one is not None]
        async with self._database.connection() as connection:
            longest = timedelta(days=max(kept)) if kept and len(kept) == len(days) else None
            await _drop_days(connection, now, longest)
        self._open.extend(_Open(one, now - timedelta(days=most)) for one, most in days.items() if most is not None)

    async def _days(self) -> dict[UUID, int | None]:
        """The retention of every tenant; None: it keeps everything."""
        days, after = dict[UUID, int | None](), None
        async with self._database.connection() as connection:
            while page := await list_quotas(connection, after, _TENANTS):
                days |= {one: self._plans.limits(quota.plan, quota.quota).retention_days for one, quota in page}
                after = page[-1][0]
        return days

    async def _delete(self, one: _Open) -> _Open | None:
        """One batch; what is left of it."""
        before_id, after, kinds = first_id_at(one.before), one.after, one.kinds
        async with self._database.transaction() as connection:
            if after is not None:
                batch = await cleaning.delete_old_executions(
                    connection, one.tenant_id, one.before, after=after, before_id=before_id
                )
                after = batch.last
            elif kinds and await _ROWS[kinds[0]](connection, one.tenant_id, before_id) < cleaning.ROWS_AT_ONCE:
                kinds = kinds[1:]
        return _Open(one.tenant_id, one.before, after, kinds) if after is not None or kinds else None


async def _drop_days(connection: Connection, now: datetime, longest: timedelta | None) -> None:
    """Days beyond the longest retention that are metered, and empty ones. None: somebody keeps everything."""
    dropped: list[str] = []
    if longest is not None:
        before = min(now - longest, await metered_until(connection, "late"))
        dropped += await _drop(connection, await list_days(connection, before), now - longest)
    dropped += await _drop(connection, await list_days(connection, now - timedelta(days=EMPTY_DAYS)), None)
    if dropped:
        _log.info("partitions dropped", names=dropped)


async def _drop(connection: Connection, days: Sequence[Day], before: datetime | None) -> list[str]:
    """Of these days what is older than that; None: what is empty."""
    dropped: list[str] = []
    for one in days:
        gone = False
        if one.table == RUNS[0]:
            gone = await drop_runs(connection, one.day, before)
        elif one.table in LOGS:
            gone = await drop_day(connection, one, only_empty=before is None)
        dropped += [one.name] if gone else []
    return dropped
