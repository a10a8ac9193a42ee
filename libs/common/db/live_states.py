"""The states of a tenant's executions, for those who follow all of them: read by sets of ids, and without any value.

What has changed since a moment is told from the times on record: when an execution was accepted, started and ended, and
when its actions began and ended. There is no index by those times, so a look back is bounded by an id: nothing older
was open at that moment, and what had ended by then does not change.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.clock import first_id_at
from libs.common.db.pool import Connection


class StoredState(msgspec.Struct, frozen=True):
    """An execution without its values. `wake_at`: only while it waits for a time."""

    id: UUID
    workflow_id: UUID
    version: int
    trigger_id: UUID | None
    trigger_type: str
    status: str
    total: int
    executed: int
    failed: int
    skipped: int
    paused: bool
    parent_id: UUID | None
    retry_of: UUID | None
    wake_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


_LOAD = """
SELECT e.id, e.workflow_id, e.version, e.trigger_id, e.trigger_type, e.status, e.total, e.executed, e.failed, e.skipped,
       e.control IS NOT DISTINCT FROM 'pause' AS paused, e.parent_id, e.retry_of,
       CASE e.status WHEN 'waiting' THEN nullif(e.wake_at, 'infinity') END AS wake_at, e.started_at, e.finished_at
  FROM unnest($2::uuid[]) AS wanted (id) JOIN executions e ON e.tenant_id = $1 AND e.id = wanted.id
"""


async def load_states(connection: Connection, tenant_id: UUID, execution_ids: Sequence[UUID]) -> list[StoredState]:
    """Those of them that the tenant has."""
    rows = await connection.fetch(_LOAD, tenant_id, execution_ids)
    return [StoredState(*row.values()) for row in rows]


_NEWEST = "SELECT id FROM executions WHERE tenant_id = $1 AND id >= $2 ORDER BY id DESC LIMIT $3"


async def newest_ids(connection: Connection, tenant_id: UUID, since: datetime, limit: int) -> list[UUID]:
    """Executions accepted since then, the newest first."""
    return [row["id"] for row in await connection.fetch(_NEWEST, tenant_id, first_id_at(since), limit)]


# In the order of the indexes that hold only open executions: what has ended, mostly all of a tenant's, is not read.
_OPEN = """
SELECT id FROM (
    SELECT id FROM executions WHERE tenant_id = $1 AND wake_at IS NOT NULL ORDER BY wake_at LIMIT $2) AS parked
UNION ALL
SELECT id FROM (
    SELECT id FROM executions WHERE tenant_id = $1 AND worker IS NOT NULL ORDER BY worker LIMIT $2) AS running
"""


async def open_ids(connection: Connection, tenant_id: UUID, limit: int) -> list[UUID]:
    """Executions that have not ended; `limit` of those that run and of the others."""
    return [row["id"] for row in await connection.fetch(_OPEN, tenant_id, limit)]


_COUNT = "SELECT count(*) FROM (SELECT FROM executions WHERE tenant_id = $1 AND id >= $2 LIMIT $3) AS counted"


async def count_from(connection: Connection, tenant_id: UUID, first_id: UUID, limit: int) -> int:
    """How many executions there are from that id on; counts no further than to `limit`."""
    return await connection.fetchval(_COUNT, tenant_id, first_id, limit)


class Change(msgspec.Struct, frozen=True):
    """An execution, and the latest time on record of something that became of it."""

    id: UUID
    at: datetime | None


_CHANGED = """
SELECT id, at FROM (
    SELECT e.id, e.control, greatest(e.started_at, e.finished_at, acted.at) AS at
      FROM executions e
      LEFT JOIN LATERAL (
        SELECT max(greatest(a.started_at, a.finished_at)) AS at FROM action_executions a
         WHERE a.tenant_id = $1 AND a.execution_id = e.id AND e.finished_at IS NULL) AS acted ON true
     WHERE e.tenant_id = $1 AND e.id >= $2 AND ($5::uuid IS NULL OR e.workflow_id = $5)
       AND ($6::uuid IS NULL OR e.id = $6)) AS known
 WHERE at > $3 OR id >= $4 OR control = 'pause'
 ORDER BY at NULLS FIRST, id LIMIT $7
"""


async def changed_since(
    connection: Connection,
    tenant_id: UUID,
    since: datetime,
    first_id: UUID,
    *,
    workflow_id: UUID | None,
    execution_id: UUID | None,
    limit: int,
) -> list[Change]:
    """Executions from `first_id` on of which something is on record after `since`, in that order. Those that are paused
    come too: there is no record of when that was.
    """
    rows = await connection.fetch(
        _CHANGED, tenant_id, first_id, since, first_id_at(since), workflow_id, execution_id, limit
    )
    return [Change(*row.values()) for row in rows]
