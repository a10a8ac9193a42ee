"""Duty: frees what dead workers held. Their executions are pending again under a new epoch, so a late write counts
nothing.
"""

import structlog

from libs.common.db.executions import release_executions_of
from libs.common.db.pool import Database
from libs.common.db.workers import dead_workers
from libs.common.telemetry import metrics

_log = structlog.get_logger(__name__)


class Rescue:
    """Looks for workers whose lease ran out."""

    name = "rescue"
    least = 1.0
    most = 2.0

    def __init__(self, database: Database) -> None:
        self._database = database

    async def work(self) -> bool:
        """Free everything that dead workers hold."""
        async with self._database.connection() as connection:
            dead = await dead_workers(connection)
            freed = await release_executions_of(connection, dead) if dead else 0
        if freed:
            metrics.count_recovered(freed)
            _log.warning("executions of dead workers freed", executions=freed)
        return False
