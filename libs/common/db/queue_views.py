"""Queues as people look at them: what of a tenant waits for its turn, where one execution stands, what it waits for.

Reads only, and only for people: what waits is counted row by row, along its index.
"""

from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection
from libs.common.domain.fairness import Standing


class QueuedPart(msgspec.Struct, frozen=True):
    """Executions of one workflow and one priority that wait for their tenant's turn, the first of them since then."""

    workflow_id: UUID
    priority: int
    waiting: int
    oldest_id: UUID


class Load(msgspec.Struct, frozen=True):
    """What a tenant has under way: `running` in executors, `ready` on the bus."""

    running: int
    ready: int

    @property
    def outstanding(self) -> int:
        """What counts for the window."""
        return self.running + self.ready


class Place(msgspec.Struct, frozen=True):
    """Where a held execution stands in its tenant's queue: `place` 1 is the next. `first_id`: of that one."""

    place: int
    priority: int
    first_id: UUID


class OpenWait(msgspec.Struct, frozen=True):
    """An action that waits: for what (`event`, `execution`, `approval`, `doubt`; None: for a time), and until when.
    `status` failed: it is tried again then.
    """

    key: str
    iteration: int
    status: str
    until: datetime | None
    awaited: str | None
    event: str | None
    approval_id: UUID | None
    child_id: UUID | None


_QUEUED = """
SELECT workflow_id, coalesce(priority, 0)::int AS priority, count(*)::int AS waiting,
       (array_agg(id ORDER BY queue_rank, id))[1] AS oldest_id
  FROM executions WHERE tenant_id = $1 AND status = 'pending' AND queue_rank IS NOT NULL
 GROUP BY workflow_id, coalesce(priority, 0) ORDER BY 2 DESC, 1
"""


async def list_queued(connection: Connection, tenant_id: UUID) -> list[QueuedPart]:
    """What of the tenant waits for its turn, the highest priority first."""
    return [QueuedPart(*row.values()) for row in await connection.fetch(_QUEUED, tenant_id)]


_LOAD = """
SELECT (SELECT count(*)::int FROM executions WHERE tenant_id = $1 AND worker IS NOT NULL) AS running,
       (SELECT count(*)::int FROM executions
         WHERE tenant_id = $1 AND wake_at < now() + interval '1 minute' AND status = 'pending') AS ready
"""


async def find_load(connection: Connection, tenant_id: UUID) -> Load:
    """What the tenant has under way."""
    row = await connection.fetchrow(_LOAD, tenant_id)
    return Load(0, 0) if row is None else Load(*row.values())


_STANDING = "SELECT run_window, weight FROM tenants WHERE tenant_id = $1"


async def find_standing(connection: Connection, tenant_id: UUID, usual_window: int) -> Standing:
    """What the tenant may have under way."""
    row = await connection.fetchrow(_STANDING, tenant_id)
    weight = 1 if row is None else row["weight"]
    return Standing((None if row is None else row["run_window"]) or usual_window * weight, weight)


_PLACE = """
SELECT (SELECT count(*)::int FROM executions q
         WHERE q.tenant_id = $1 AND q.status = 'pending' AND q.queue_rank IS NOT NULL
           AND (q.queue_rank, q.id) <= (e.queue_rank, e.id)) AS place,
       coalesce(e.priority, 0)::int AS priority,
       (SELECT q.id FROM executions q WHERE q.tenant_id = $1 AND q.status = 'pending' AND q.queue_rank IS NOT NULL
         ORDER BY q.queue_rank, q.id LIMIT 1) AS first_id
  FROM executions e WHERE e.tenant_id = $1 AND e.id = $2 AND e.status = 'pending' AND e.queue_rank IS NOT NULL
"""


async def find_place(connection: Connection, tenant_id: UUID, execution_id: UUID) -> Place | None:
    """Where the execution stands; None when it does not wait for its tenant's turn."""
    row = await connection.fetchrow(_PLACE, tenant_id, execution_id)
    return None if row is None else Place(*row.values())


# The first of a queue follows those that were let go last: what has become of them shows the pace.
_PACE = """
SELECT coalesce(count(*) / greatest(extract(epoch FROM now() - min(x.finished_at)), 0.1), 0)::float8
  FROM (SELECT finished_at FROM executions WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT 500) x
 WHERE x.finished_at > now() - interval '5 minutes'
"""


async def find_pace(connection: Connection, tenant_id: UUID, first_id: UUID) -> float:
    """How many executions of the tenant end in a second, judged by those before that one; 0.0: not known."""
    return await connection.fetchval(_PACE, tenant_id, first_id) or 0.0


_WAITS = """
SELECT a.key, a.iteration, a.status, nullif(a.wake_at, 'infinity') AS until, a.state ->> 'for' AS awaited, w.event,
       (a.state ->> 'approval_id')::uuid AS approval_id, (a.state ->> 'execution_id')::uuid AS child_id
  FROM action_executions a
  LEFT JOIN event_waits w ON w.tenant_id = a.tenant_id AND w.execution_id = a.execution_id
                         AND w.position = a.position AND w.iteration = a.iteration
 WHERE a.tenant_id = $1 AND a.execution_id = $2
   AND (a.status = 'waiting' OR a.status = 'failed' AND a.wake_at > now())
 ORDER BY a.position, a.iteration
"""


async def list_open_waits(connection: Connection, tenant_id: UUID, execution_id: UUID) -> list[OpenWait]:
    """What of the execution waits, in the order of the workflow."""
    return [OpenWait(*row.values()) for row in await connection.fetch(_WAITS, tenant_id, execution_id)]
