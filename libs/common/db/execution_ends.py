"""How executions have ended, for those who wait for them: status, output, and what their `respond` said."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection


class Ended(msgspec.Struct, frozen=True):
    """An execution that has ended. `output` and `responded` (of the `respond` that was first) are JSON texts."""

    id: UUID
    status: str
    output: str | None
    responded: str | None


_LOAD = """
SELECT e.id, e.status, e.output, r.output AS responded
  FROM unnest($1::uuid[], $2::uuid[]) AS wanted (tenant_id, id)
  JOIN executions e ON e.tenant_id = wanted.tenant_id AND e.id = wanted.id AND e.finished_at IS NOT NULL
  LEFT JOIN LATERAL (
       SELECT a.output FROM action_executions a
        WHERE a.tenant_id = e.tenant_id AND a.execution_id = e.id AND a.type = 'respond' AND a.status = 'completed'
        ORDER BY a.finished_at LIMIT 1) AS r ON true
"""


async def load_ends(connection: Connection, executions: Sequence[tuple[UUID, UUID]]) -> list[Ended]:
    """Those of the executions (tenant, execution) that have ended."""
    tenants, ids = [tenant for tenant, _ in executions], [one for _, one in executions]
    return [Ended(*row.values()) for row in await connection.fetch(_LOAD, tenants, ids)]
