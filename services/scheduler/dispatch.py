"""Duty: lets go what waits for its tenant's turn, as the windows and the budget have room: tenants take turns by their
weights, within a tenant priority decides and waiting counts (`domain.fairness`).

It also sets right, every few seconds, what all processes count together: PostgreSQL knows. Any number of schedulers
share the work; two that let go at the same moment exceed the room by what one of them took.
"""

import asyncio
from uuid import UUID

from libs.common.announce import Announcer
from libs.common.bus.messages import SNAPSHOT_BYTES, Ready, Snapshot, encode_snapshot
from libs.common.cache.outstanding import Counted
from libs.common.db.dispatching import Released, release_held
from libs.common.db.pool import Database
from libs.common.domain.fairness import Backlog, Turns, deal
from libs.common.telemetry import metrics
from libs.common.windows import Windows

_BATCH = 512
_BUSY_SECONDS = 0.02
_REBUILD_SECONDS = 1.0
_IDLE_REBUILD_SECONDS = 4.0


class Dispatch:
    """Lets executions go."""

    name = "dispatch"
    least = 0.01
    most = 0.25

    def __init__(self, database: Database, windows: Windows, announcer: Announcer) -> None:
        self._database, self._windows, self._announcer = database, windows, announcer
        self._turns = Turns()
        self._rebuild_at = 0.0

    async def work(self) -> bool | float:
        """One deal; there may be more at once where something was let go."""
        counted = await self._counted()
        if not counted.backlog:
            return False
        granted = await self._deal(counted)
        if not granted:
            return _BUSY_SECONDS
        async with self._database.connection() as connection:
            released = await release_held(connection, list(granted.items()), SNAPSHOT_BYTES)
        taken = {tenant: 0 for tenant in granted}
        for one in released:
            taken[one.tenant_id] += 1
        outstanding = self._windows.outstanding
        await outstanding.add({tenant: number for tenant, number in taken.items() if number})
        await outstanding.forget_backlog([tenant for tenant, number in taken.items() if number < granted[tenant]])
        self._announcer.announce_bulk([_ready(one) for one in released])
        metrics.count_dispatched(len(released))
        return True

    async def _deal(self, counted: Counted) -> dict[UUID, int]:
        room = min(self._windows.budget - counted.total, _BATCH)
        if room <= 0:
            return {}
        standings = await self._windows.standings(list(counted.backlog))
        backlogs = {
            tenant: Backlog(standing.weight, standing.window - counted.of.get(tenant, 0))
            for tenant, standing in standings.items()
        }
        granted, self._turns = deal(self._turns, backlogs, room)
        return granted

    async def _counted(self) -> Counted:
        """What all count together; now and then, and while they cannot be heard, what PostgreSQL knows."""
        now = asyncio.get_running_loop().time()
        if now < self._rebuild_at and (heard := await self._windows.outstanding.all()) is not None:
            return heard
        counted = await self._windows.count()
        heard = await self._windows.outstanding.set(counted.of, counted.backlog)
        busy = counted.total or counted.backlog
        self._rebuild_at = now + (_REBUILD_SECONDS if busy else _IDLE_REBUILD_SECONDS) if heard else 0.0
        return counted


def _ready(one: Released) -> Ready:
    snapshot = b""
    if one.is_fresh:
        snapshot = encode_snapshot(
            Snapshot(one.trigger_id, one.trigger_key, one.trigger_type, one.input.encode(), one.actor)
        )
    return Ready(one.tenant_id, one.id, one.epoch, one.workflow_id, one.version, snapshot, one.traceparent)
