"""Duty: day partitions made ahead; idempotency keys, ids of events and of webhook deliveries, results of local actions,
worker rows, audit rows, waits for events, runs of schedules and warnings that are out of date, gone.
"""

from datetime import timedelta

from libs.common.clock import Clock
from libs.common.db.audit import forget_old_audit_rows
from libs.common.db.deliveries import forget_old_deliveries
from libs.common.db.event_ids import forget_old_event_ids
from libs.common.db.event_waits import forget_idle_waits
from libs.common.db.idempotency import forget_old_keys
from libs.common.db.local_results import forget_old_results
from libs.common.db.partitions import make_partitions
from libs.common.db.pool import Database
from libs.common.db.schedule_runs import forget_runs_of_gone
from libs.common.db.tenant_limits import forget_old_warnings
from libs.common.db.workers import forget_old_workers


class Housekeeping:
    """Keeps the tables ready for tomorrow and free of yesterday."""

    name = "housekeeping"
    least = 600.0
    most = 600.0

    def __init__(self, database: Database, clock: Clock, audit_days: int = 400) -> None:
        self._database, self._clock, self._audit_days = database, clock, audit_days

    async def work(self) -> bool:
        """All of it, once."""
        async with self._database.connection() as connection:
            await make_partitions(connection, self._clock.now())
            await forget_old_keys(connection)
            await forget_old_results(connection)
            await forget_old_event_ids(connection)
            await forget_old_deliveries(connection)
            await forget_old_workers(connection)
            await forget_idle_waits(connection)
            await forget_runs_of_gone(connection)
            await forget_old_warnings(connection)
        async with self._database.transaction() as connection:
            await forget_old_audit_rows(connection, self._clock.now() - timedelta(days=self._audit_days))
        return False
