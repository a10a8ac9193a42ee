"""Duty: frees what dead workers held. Their executions are pending again under a new epoch, so a late write counts
nothing.

Who is dead is judged by the beats that a worker wrote, and while the database is away nobody can write one. So after a
time in which this duty could not look, silence counts only beyond that time, until whoever lives has had three chances
to say so: an outage longer than a lease takes nothing from the living.
"""

import asyncio
from collections.abc import Callable

import structlog

from libs.common.db.executions import release_executions_of
from libs.common.db.pool import Database
from libs.common.db.workers import BEAT_SECONDS, LEASE_SECONDS, dead_workers
from libs.common.telemetry import metrics

_OFTEN_SECONDS = 5.0
"""Two looks that are further apart had something between them."""
_RETURN_SECONDS = 3 * BEAT_SECONDS

_log = structlog.get_logger(__name__)


class Rescue:
    """Looks for workers whose lease ran out."""

    name = "rescue"
    least = 1.0
    most = 2.0

    def __init__(self, database: Database, time: Callable[[], float] | None = None) -> None:
        """`time`: seconds that only grow; those of the event loop, if not given."""
        self._database, self._time = database, time
        self._looked: float | None = None
        self._away, self._patient_until = 0.0, 0.0

    async def work(self) -> bool:
        """Free everything that dead workers hold."""
        async with self._database.connection() as connection:
            dead = await dead_workers(connection, LEASE_SECONDS + self._patience())
            if self._was_away():
                dead = await dead_workers(connection, LEASE_SECONDS + self._patience())
            freed = await release_executions_of(connection, dead) if dead else 0
        if freed:
            metrics.count_recovered(freed)
            _log.warning("executions of dead workers freed", executions=freed)
        return False

    def _now(self) -> float:
        return asyncio.get_running_loop().time() if self._time is None else self._time()

    def _patience(self) -> float:
        """How much more than a lease nobody may have been heard of."""
        return self._away if self._now() < self._patient_until else 0.0

    def _was_away(self) -> bool:
        """A look has been answered. Whether the one before is so long ago that silence since then says nothing."""
        now = self._now()
        since = 0.0 if self._looked is None else now - self._looked
        self._looked = now
        if since > _OFTEN_SECONDS:
            self._away, self._patient_until = since, now + _RETURN_SECONDS
            return True
        return False
