"""Tenants by id or slug, for credentials that are not stored here: looked up, and remembered for `cache_seconds`."""

from uuid import UUID

from libs.common.clock import Clock
from libs.common.db.pool import Database
from libs.common.db.tenants import Tenant, find_tenant, find_tenant_called
from services.gateway.identity import Remembered


class TenantStates:
    """Knows the tenants that are asked for."""

    def __init__(self, database: Database, clock: Clock, cache_seconds: float) -> None:
        self._database = database
        self._known = Remembered[Tenant](clock, cache_seconds)

    async def find(self, reference: str) -> Tenant | None:
        """The tenant of that id or slug. Raises `Unavailable`."""
        wanted = reference.strip().lower()
        known = self._known.get(wanted)
        if known is not None:
            return known
        found = await self._look_up(wanted)
        if found is not None:
            self._known.put(wanted, found)
        return found

    async def _look_up(self, wanted: str) -> Tenant | None:
        try:
            tenant_id = UUID(wanted)
        except ValueError:
            if not wanted.isprintable() or len(wanted) > 63:
                return None
            async with self._database.connection() as connection:
                return await find_tenant_called(connection, wanted)
        async with self._database.connection() as connection:
            return await find_tenant(connection, tenant_id)
