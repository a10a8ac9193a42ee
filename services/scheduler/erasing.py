"""Duty: everything of a tenant that is to be erased, a batch at a time; batch and count are one transaction.

It ends with the tenant's own row, when a look at every table has found nothing: what somebody wrote late, because it
had not heard yet, goes as well.
"""

from uuid import UUID

from libs.common.db.erasures import claim_erasure, count_erased
from libs.common.db.pool import Connection, Database
from libs.common.db.whole_tenants import delete_some, tenant_tables

_BATCH = 1000
_LATE_SECONDS = 5.0
"""Besides the time for which credentials and triggers are remembered."""


class Erasing:
    """Erases tenants."""

    name = "erasing"
    least = 0.05
    most = 5.0

    def __init__(self, database: Database, cache_seconds: float) -> None:
        self._database, self._patience_seconds = database, cache_seconds + _LATE_SECONDS

    async def work(self) -> bool:
        """One batch of one tenant; more while there is one."""
        async with self._database.transaction() as connection:
            tenant_id = await claim_erasure(connection, self._patience_seconds)
            if tenant_id is None:
                return False
            counts = await _erase_some(connection, tenant_id)
            await count_erased(connection, tenant_id, counts, finished=not counts or "tenants" in counts)
        return True


async def _erase_some(connection: Connection, tenant_id: UUID) -> dict[str, int]:
    """How many rows of which tables are gone. The tenant's own row goes alone, after all others."""
    counts: dict[str, int] = {}
    for table in await tenant_tables(connection):
        if table.name == "tenants" and counts:
            break
        gone = await delete_some(connection, tenant_id, table, _BATCH)
        if gone:
            counts[table.name] = gone
        if sum(counts.values()) >= _BATCH:
            break
    return counts
