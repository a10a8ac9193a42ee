"""In which tenants something listens to the ends of executions: a trigger or a wait on `execution.…`.

Looked up for all tenants at once every `seconds`, beside the hot path: an end asks a set in memory, and costs a tenant
without a listener nothing. A listener hears the ends from one look after it came. While the database is away the
answer stays as it was.
"""

import asyncio
from uuid import UUID

import structlog

from libs.common.db.event_triggers import tenants_on_ends
from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.tasks import end_tasks

_LEAST_SECONDS = 0.25

_log = structlog.get_logger(__name__)


class EndListeners:
    """A set of tenants that is kept up to date between `start` and `stop`."""

    def __init__(self, database: Database, seconds: float) -> None:
        self._database, self._seconds = database, max(seconds, _LEAST_SECONDS)
        self._tenants: frozenset[UUID] = frozenset()
        self._task: asyncio.Task[None] | None = None

    def __contains__(self, tenant_id: object) -> bool:
        return tenant_id in self._tenants

    async def start(self) -> None:
        """Known from now on, as far as the database is there."""
        await self._look()
        self._task = asyncio.get_running_loop().create_task(self._keep_looking())

    async def stop(self) -> None:
        """Looks no more."""
        await end_tasks(self._task)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await self._look()

    async def _look(self) -> None:
        try:
            async with self._database.connection() as connection:
                self._tenants = await tenants_on_ends(connection)
        except Unavailable as error:
            _log.debug("listeners not looked up", reason=error.detail)
        except Exception:  # noqa: BLE001 - who looks no more never hears of another listener
            _log.exception("listeners not looked up")
