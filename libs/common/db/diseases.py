"""What stands still and why, over all tenants: each question is one statement, bounded, and each cure changes nothing
that is well.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from libs.common.db.pool import Connection


class Stuck(NamedTuple):
    """An execution that does not move."""

    tenant_id: UUID
    execution_id: UUID


class Orphan(NamedTuple):
    """An execution that runs under a worker that is dead or unknown."""

    tenant_id: UUID
    execution_id: UUID
    worker: UUID


class Lagging(NamedTuple):
    """A schedule that was due at `planned_at` and that nobody looked at."""

    tenant_id: UUID
    trigger_id: UUID
    planned_at: datetime


_ORPHANS = """
SELECT e.tenant_id, e.id, e.worker FROM executions e LEFT JOIN workers w ON w.id = e.worker
 WHERE e.worker IS NOT NULL AND (w.id IS NULL OR w.beat_at < now() - make_interval(secs => $1))
 LIMIT $2
"""


async def find_orphans(connection: Connection, dead_seconds: float, limit: int) -> list[Orphan]:
    """Running executions whose worker has not been heard of for so long, or is on no record at all."""
    return [Orphan(*row.values()) for row in await connection.fetch(_ORPHANS, dead_seconds, limit)]


_DEAD_WORKERS = """
SELECT id FROM workers WHERE beat_at > '-infinity' AND beat_at < now() - make_interval(secs => $1) LIMIT $2
"""


async def find_dead_workers(connection: Connection, dead_seconds: float, limit: int) -> list[UUID]:
    """Workers that have not been heard of for so long and did not say goodbye."""
    return [row["id"] for row in await connection.fetch(_DEAD_WORKERS, dead_seconds, limit)]


_RETIRE = """
UPDATE workers SET beat_at = '-infinity'
 WHERE id = ANY($1::uuid[]) AND beat_at < now() - make_interval(secs => $2)
RETURNING id
"""


async def retire_dead_workers(connection: Connection, workers: Sequence[UUID], dead_seconds: float) -> int:
    """Those that are still silent count as gone; one that comes back is alive with its next beat."""
    return len(await connection.fetch(_RETIRE, list(workers), dead_seconds))


_OVERDUE = """
SELECT tenant_id, id FROM executions WHERE wake_at < now() - make_interval(secs => $1) ORDER BY wake_at LIMIT $2
"""


async def find_overdue(connection: Connection, late_seconds: float, limit: int) -> list[Stuck]:
    """Executions whose time came so long ago and that nobody put on the bus."""
    return [Stuck(*row.values()) for row in await connection.fetch(_OVERDUE, late_seconds, limit)]


_STRANDED = """
SELECT e.tenant_id, e.id FROM executions e
 WHERE e.wake_at = 'infinity' AND e.status = 'waiting' AND e.control IS NULL
   AND NOT EXISTS (SELECT FROM event_waits w WHERE w.tenant_id = e.tenant_id AND w.execution_id = e.id)
   AND NOT EXISTS (SELECT FROM approvals a
                    WHERE a.tenant_id = e.tenant_id AND a.execution_id = e.id AND a.decided_at IS NULL)
   AND NOT EXISTS (SELECT FROM concurrency_slots s
                    WHERE s.tenant_id = e.tenant_id AND s.execution_id = e.id AND s.state = 'queued')
   AND NOT EXISTS (SELECT FROM executions c
                    WHERE c.tenant_id = e.tenant_id AND c.parent_id = e.id AND c.finished_at IS NULL)
 LIMIT $1
"""


async def find_stranded(connection: Connection, limit: int) -> list[Stuck]:
    """Executions that wait without end although no event, decision, slot or other execution can move them."""
    return [Stuck(*row.values()) for row in await connection.fetch(_STRANDED, limit)]


# `IS TRUE`: a condition that no index can use, so that each row is found by its primary key.
_WAKE_STRANDED = """
UPDATE executions e SET wake_at = now() FROM unnest($1::uuid[], $2::uuid[]) AS w (tenant_id, id)
 WHERE e.tenant_id = w.tenant_id AND e.id = w.id AND (e.wake_at = 'infinity') IS TRUE AND e.status = 'waiting'
   AND e.control IS NULL
RETURNING e.id
"""


async def wake_stranded(connection: Connection, stranded: Sequence[Stuck]) -> int:
    """Those that still wait so are due: an executor looks at their records and goes on, or waits for what is there."""
    places = [one.tenant_id for one in stranded], [one.execution_id for one in stranded]
    return len(await connection.fetch(_WAKE_STRANDED, *places))


_LAGGING = """
SELECT tenant_id, id, next_run_at FROM triggers WHERE next_run_at < now() - make_interval(secs => $1)
 ORDER BY next_run_at LIMIT $2
"""


async def find_lagging(connection: Connection, late_seconds: float, limit: int) -> list[Lagging]:
    """Schedules whose slot is so long over and not in the ledger."""
    return [Lagging(*row.values()) for row in await connection.fetch(_LAGGING, late_seconds, limit)]
