"""What a tenant's report counts. Reads only, by bounds on ids and slots, so that only those days' partitions are
opened.
"""

from datetime import datetime
from uuid import UUID

from libs.common.db.pool import Connection
from libs.common.domain.report import Counts

MOST_WORKFLOWS = 100


_EXECUTIONS = """
SELECT c.workflow_id, w.name, c.total, c.completed, c.failed, c.timed_out, c.cancelled, c.unfinished,
       c.average_ms, c.p50_ms, c.p95_ms, c.max_ms
  FROM (SELECT e.workflow_id, count(*) AS total,
               count(*) FILTER (WHERE status = 'completed') AS completed,
               count(*) FILTER (WHERE status = 'failed') AS failed,
               count(*) FILTER (WHERE status = 'timed_out') AS timed_out,
               count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
               count(*) FILTER (WHERE finished_at IS NULL) AS unfinished,
               avg(ms) AS average_ms, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS p50_ms,
               percentile_cont(0.95) WITHIN GROUP (ORDER BY ms) AS p95_ms, max(ms) AS max_ms
          FROM (SELECT workflow_id, status, finished_at,
                       extract(epoch FROM finished_at - started_at)::float8 * 1000 AS ms
                  FROM executions WHERE tenant_id = $1 AND id >= $2 AND id < $3) AS e
         GROUP BY GROUPING SETS ((e.workflow_id), ())
         ORDER BY e.workflow_id IS NOT NULL, total DESC, e.workflow_id LIMIT $4) AS c
  LEFT JOIN workflows w ON w.tenant_id = $1 AND w.id = c.workflow_id
 ORDER BY c.workflow_id IS NOT NULL, c.total DESC, c.workflow_id
"""


async def count_executions(
    connection: Connection, tenant_id: UUID, first_id: UUID, before_id: UUID, patience_seconds: float
) -> list[Counts]:
    """First of all of them, then of the workflows that ran most. Raises `TimeoutError` when it takes longer."""
    rows = await connection.fetch(
        _EXECUTIONS, tenant_id, first_id, before_id, MOST_WORKFLOWS + 1, timeout=patience_seconds
    )
    return [Counts(*row.values()) for row in rows]


_FIRINGS = """
SELECT coalesce(outcome, 'waiting') AS outcome, count(*) AS number FROM firings
 WHERE tenant_id = $1 AND planned_at >= $2 AND planned_at < $3 GROUP BY 1 ORDER BY 1
"""


async def count_firings(
    connection: Connection, tenant_id: UUID, since: datetime, until: datetime, patience_seconds: float
) -> dict[str, int]:
    """Slots of schedules by what became of them. Raises `TimeoutError` when it takes longer."""
    rows = await connection.fetch(_FIRINGS, tenant_id, since, until, timeout=patience_seconds)
    return {row["outcome"]: row["number"] for row in rows}


_CALLS = """
SELECT outcome, sum(stands_for)::bigint AS number FROM webhook_logs
 WHERE tenant_id = $1 AND id >= $2 AND id < $3 GROUP BY 1 ORDER BY 1
"""


async def count_calls(
    connection: Connection, tenant_id: UUID, first_id: UUID, before_id: UUID, patience_seconds: float
) -> dict[str, int]:
    """Webhook calls by their outcome. Raises `TimeoutError` when it takes longer."""
    rows = await connection.fetch(_CALLS, tenant_id, first_id, before_id, timeout=patience_seconds)
    return {row["outcome"]: row["number"] for row in rows}
