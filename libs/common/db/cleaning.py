"""Deleting a tenant's old history, a batch a call: each is one short transaction, and the caller comes again until
nothing is left.

An execution goes with every row that is its own, and only after its end; a finished one whose parent goes on stays
until that has ended. The ledger of schedules stays: its rows merely name executions that are gone.
"""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from libs.common.db.pool import Connection

EXECUTIONS_AT_ONCE = 200
ROWS_AT_ONCE = 1_000


class Batch(NamedTuple):
    """How many executions are gone, and the last one looked at; None: there are no more."""

    deleted: int
    last: UUID | None


# OFFSET 0 keeps the inner query for itself: only so is a parent found by its id, not among all of the tenant's.
_OLD_EXECUTIONS = """
SELECT e.id FROM executions e
 WHERE e.tenant_id = $1 AND e.id > $2 AND e.id < $3 AND e.finished_at < $4
   AND NOT EXISTS (SELECT FROM executions p
                    WHERE p.tenant_id = $1 AND p.id = e.parent_id AND p.finished_at IS NULL OFFSET 0)
 ORDER BY e.id LIMIT $5
"""
# The bounds leave partitions of other days alone, which a list of ids does not.
_DELETE_EXECUTIONS = """
WITH actions AS (DELETE FROM action_executions
                  WHERE tenant_id = $1 AND execution_id = ANY($2::uuid[]) AND execution_id BETWEEN $3 AND $4),
     told AS (DELETE FROM signals
               WHERE tenant_id = $1 AND execution_id = ANY($2::uuid[]) AND execution_id BETWEEN $3 AND $4),
     waits AS (DELETE FROM event_waits WHERE tenant_id = $1 AND execution_id = ANY($2::uuid[])),
     asked AS (DELETE FROM approvals WHERE tenant_id = $1 AND execution_id = ANY($2::uuid[])),
     given AS (DELETE FROM local_results WHERE tenant_id = $1 AND execution_id = ANY($2::uuid[]))
DELETE FROM executions
 WHERE tenant_id = $1 AND id = ANY($2::uuid[]) AND id BETWEEN $3 AND $4 AND finished_at IS NOT NULL
"""


async def delete_old_executions(
    connection: Connection, tenant_id: UUID, ended_before: datetime, *, after: UUID, before_id: UUID
) -> Batch:
    """In a transaction: the next executions with ids in between, that ended before that time, are gone."""
    rows = await connection.fetch(_OLD_EXECUTIONS, tenant_id, after, before_id, ended_before, EXECUTIONS_AT_ONCE)
    ids = [row["id"] for row in rows]
    if ids:
        await connection.execute(_DELETE_EXECUTIONS, tenant_id, ids, ids[0], ids[-1])
    return Batch(len(ids), ids[-1] if len(ids) == EXECUTIONS_AT_ONCE else None)


_DELETE_CALLS = """
WITH gone AS (
    DELETE FROM webhook_logs
     WHERE tenant_id = $1 AND id < $2
       AND id < coalesce((SELECT id FROM webhook_logs WHERE tenant_id = $1 AND id < $2 ORDER BY id OFFSET $3 LIMIT 1),
                         $2)
    RETURNING 1)
SELECT count(*) FROM gone
"""


async def delete_old_calls(connection: Connection, tenant_id: UUID, before_id: UUID) -> int:
    """The oldest webhook calls before that id are gone; returns how many."""
    return await connection.fetchval(_DELETE_CALLS, tenant_id, before_id, ROWS_AT_ONCE)


_DELETE_EVENTS = """
WITH gone AS (
    DELETE FROM events
     WHERE tenant_id = $1 AND id < $2
       AND id < coalesce((SELECT id FROM events WHERE tenant_id = $1 AND id < $2 ORDER BY id OFFSET $3 LIMIT 1), $2)
    RETURNING 1)
SELECT count(*) FROM gone
"""


async def delete_old_events(connection: Connection, tenant_id: UUID, before_id: UUID) -> int:
    """The oldest events before that id are gone; returns how many."""
    return await connection.fetchval(_DELETE_EVENTS, tenant_id, before_id, ROWS_AT_ONCE)


_DELETE_NOTIFICATIONS = """
WITH gone AS (
    DELETE FROM notifications
     WHERE tenant_id = $1 AND id < $2
       AND id < coalesce((SELECT id FROM notifications WHERE tenant_id = $1 AND id < $2 ORDER BY id OFFSET $3 LIMIT 1),
                         $2)
    RETURNING 1)
SELECT count(*) FROM gone
"""


async def delete_old_notifications(connection: Connection, tenant_id: UUID, before_id: UUID) -> int:
    """The oldest notifications before that id are gone, read or not; returns how many."""
    return await connection.fetchval(_DELETE_NOTIFICATIONS, tenant_id, before_id, ROWS_AT_ONCE)
