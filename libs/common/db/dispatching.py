"""What waits for its tenant's turn, and what is on the bus or running: the rows behind fair dispatch.

An execution that is held back is `pending`, has a `queue_rank`, and nothing wakes it but the dispatcher. It is let go
by taking its rank away and publishing it; when that message is lost, the sweep publishes it again like any other.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from libs.common.db.executions import NEXT_TRY_SECONDS
from libs.common.db.pool import Connection
from libs.common.domain.fairness import STEP_SECONDS, Standing


class Ticket(NamedTuple):
    """An execution that is ready, at the epoch that its taker must find."""

    tenant_id: UUID
    execution_id: UUID
    epoch: int


# The priority of the call counts, else that of the trigger as the version has it, else that of the workflow, which is
# found once for all that have the same (MATERIALIZED: not once for each).
_HOLD = """
WITH given AS (
    SELECT e.* FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS w (tenant_id, id, epoch)
     CROSS JOIN LATERAL (
           SELECT e.tenant_id, e.id, e.workflow_id, e.version, e.trigger_id, e.priority FROM executions e
            WHERE e.tenant_id = w.tenant_id AND e.id = w.id
              AND e.status = 'pending' AND e.epoch = w.epoch AND (e.queue_rank IS NULL) IS TRUE
              FOR UPDATE SKIP LOCKED) e),
usual AS MATERIALIZED (
    SELECT g.tenant_id, g.workflow_id, g.version, g.trigger_id,
           coalesce((SELECT (spec ->> 'priority')::int FROM triggers t
                      CROSS JOIN json_array_elements(v.definition -> 'triggers') AS spec
                      WHERE t.tenant_id = g.tenant_id AND t.id = g.trigger_id AND spec ->> 'key' = t.key),
                    (v.definition ->> 'priority')::int) AS priority
      FROM (SELECT DISTINCT tenant_id, workflow_id, version, trigger_id FROM given WHERE priority IS NULL) g
      JOIN workflow_versions v
        ON v.tenant_id = g.tenant_id AND v.workflow_id = g.workflow_id AND v.version = g.version),
ranked AS (
    SELECT given.tenant_id, given.id, coalesce(given.priority, usual.priority, 0) AS priority
      FROM given LEFT JOIN usual ON usual.tenant_id = given.tenant_id AND usual.workflow_id = given.workflow_id
                                AND usual.version = given.version
                                AND usual.trigger_id IS NOT DISTINCT FROM given.trigger_id)
UPDATE executions e SET wake_at = 'infinity', priority = ranked.priority,
       queue_rank = now() - make_interval(secs => $4 * ranked.priority)
  FROM ranked WHERE e.tenant_id = ranked.tenant_id AND e.id = ranked.id
RETURNING e.tenant_id
"""


async def hold_executions(connection: Connection, tickets: Sequence[Ticket]) -> int:
    """Those that are still pending wait for their tenants' turn. Returns how many."""
    tenants, ids = [one.tenant_id for one in tickets], [one.execution_id for one in tickets]
    epochs = [one.epoch for one in tickets]
    return len(await connection.fetch(_HOLD, tenants, ids, epochs, float(STEP_SECONDS)))


_BACKLOG = """
WITH RECURSIVE queued AS (
    (SELECT e.tenant_id FROM executions e WHERE e.status = 'pending' AND e.queue_rank IS NOT NULL
      ORDER BY e.tenant_id LIMIT 1)
     UNION ALL
    SELECT (SELECT e.tenant_id FROM executions e
             WHERE e.status = 'pending' AND e.queue_rank IS NOT NULL AND e.tenant_id > q.tenant_id
             ORDER BY e.tenant_id LIMIT 1)
      FROM queued q WHERE q.tenant_id IS NOT NULL)
SELECT tenant_id FROM queued WHERE tenant_id IS NOT NULL
"""


async def tenants_with_backlog(connection: Connection) -> set[UUID]:
    """Whose executions wait for a turn. One step of an index for each tenant, however many wait."""
    return {row["tenant_id"] for row in await connection.fetch(_BACKLOG)}


class Released(msgspec.Struct, frozen=True):
    """An execution that is let go. `is_fresh`: it has no past, so what follows is all that an executor has to know;
    `input` is JSON text, empty for one that is not.
    """

    tenant_id: UUID
    id: UUID
    epoch: int
    workflow_id: UUID
    version: int
    traceparent: str
    rank: datetime
    is_fresh: bool
    trigger_id: UUID | None
    trigger_key: str
    trigger_type: str
    actor: str | None
    input: str


_RELEASE = """
WITH picked AS (
    SELECT q.tenant_id, q.id, q.queue_rank
      FROM unnest($1::uuid[], $2::int[]) AS g (tenant_id, room)
     CROSS JOIN LATERAL (
           SELECT e.tenant_id, e.id, e.queue_rank FROM executions e
            WHERE e.tenant_id = g.tenant_id AND e.status = 'pending' AND e.queue_rank IS NOT NULL
            ORDER BY e.queue_rank, e.id LIMIT g.room FOR UPDATE SKIP LOCKED) q),
released AS (
    UPDATE executions e SET wake_at = now() + make_interval(secs => $3), queue_rank = NULL
      FROM picked WHERE e.tenant_id = picked.tenant_id AND e.id = picked.id
    RETURNING e.*, picked.queue_rank AS rank,
              e.epoch = 0 AND e.parent_id IS NULL AND e.original_id IS NULL AND e.control IS NULL
              AND octet_length(e.input::text) <= $4 AS is_fresh)
SELECT r.tenant_id, r.id, r.epoch, r.workflow_id, r.version, r.traceparent, r.rank, r.is_fresh, r.trigger_id,
       coalesce(t.key, '') AS trigger_key, r.trigger_type, r.actor,
       CASE WHEN r.is_fresh THEN r.input::text ELSE '' END AS input
  FROM released r LEFT JOIN triggers t ON t.tenant_id = r.tenant_id AND t.id = r.trigger_id
 ORDER BY r.rank, r.id
"""


async def release_held(
    connection: Connection, granted: Sequence[tuple[UUID, int]], snapshot_bytes: int
) -> list[Released]:
    """Of each tenant so many that wait, by their ranks, wait no more; the caller publishes them. An input of more
    than `snapshot_bytes` does not come along.
    """
    tenants, rooms = [tenant for tenant, _ in granted], [room for _, room in granted]
    rows = await connection.fetch(_RELEASE, tenants, rooms, NEXT_TRY_SECONDS, snapshot_bytes)
    return [Released(*row.values()) for row in rows]


_OUTSTANDING = """
SELECT tenant_id, count(*)::int AS number
  FROM (SELECT e.tenant_id FROM executions e WHERE e.worker IS NOT NULL
         UNION ALL
        SELECT e.tenant_id FROM executions e WHERE e.wake_at < now() + interval '1 minute' AND e.status = 'pending') x
 GROUP BY tenant_id
"""


async def count_outstanding(connection: Connection) -> dict[UUID, int]:
    """How many executions each tenant has on the bus or running; reads those and no others."""
    return {row["tenant_id"]: row["number"] for row in await connection.fetch(_OUTSTANDING)}


_STANDINGS = "SELECT tenant_id, run_window, weight FROM tenants WHERE tenant_id = ANY($1::uuid[])"


async def standings_of(connection: Connection, tenants: Sequence[UUID], usual_window: int) -> dict[UUID, Standing]:
    """What each of these tenants may have."""
    return {
        row["tenant_id"]: Standing(row["run_window"] or usual_window * row["weight"], row["weight"])
        for row in await connection.fetch(_STANDINGS, list(tenants))
    }
