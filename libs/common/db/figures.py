"""What an installation looks like right now, over all tenants, for the metrics: each question is one statement that
reads a bounded number of rows, so that asking costs the same on a bad day.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from libs.common.db.pool import Connection, Record
from libs.common.domain.fairness import STEP_SECONDS

MOST = 20_000
"""Rows that are counted; more than that is shown as so many."""


class Backlog(NamedTuple):
    """Executions that are ready and not taken. `oldest`: of those that nobody ever took; None: there is none."""

    tenant_id: UUID
    executions: int
    oldest: UUID | None


# Pending executions are due again within seconds as long as nobody takes them; what waits for a time is not pending.
_BACKLOG = """
SELECT p.tenant_id, count(*)::int AS executions,
       (array_agg(p.id ORDER BY p.id) FILTER (WHERE p.epoch = 0 AND p.started_at IS NULL))[1] AS oldest
  FROM (SELECT e.tenant_id, e.id, e.status, e.epoch, e.started_at FROM executions e
         WHERE e.wake_at <= now() + interval '1 minute' ORDER BY e.wake_at LIMIT $1) p
 WHERE p.status = 'pending' GROUP BY p.tenant_id
"""


async def read_backlog(connection: Connection) -> list[Backlog]:
    """What waits to be taken, for each tenant that has any."""
    return [Backlog(*row.values()) for row in await connection.fetch(_BACKLOG, MOST)]


class Held(NamedTuple):
    """Executions of a tenant that wait for its turn; `seconds`: for how long the longest of those at the front."""

    executions: int
    seconds: float


# Along the index of what is held, of each tenant an equal share of the rows that are read at most. The rank is the
# time since which it waits, a step earlier for each of its priority.
_HELD = """
SELECT g.tenant_id, count(h.queue_rank)::int AS executions,
       coalesce(extract(epoch FROM now() - min(h.queue_rank + make_interval(secs => $3 * h.priority))), 0)::float8
         AS seconds
  FROM unnest($1::uuid[]) AS g (tenant_id)
  LEFT JOIN LATERAL (
       SELECT e.queue_rank, coalesce(e.priority, 0) AS priority FROM executions e
        WHERE e.tenant_id = g.tenant_id AND e.status = 'pending' AND e.queue_rank IS NOT NULL
        ORDER BY e.queue_rank, e.id LIMIT $2) h ON true
 GROUP BY g.tenant_id
"""


async def read_held(connection: Connection, tenants: Sequence[UUID]) -> dict[UUID, Held]:
    """What of these tenants waits for their turns; `MOST` of all together are counted, of each an equal share."""
    share = max(1, MOST // max(1, len(tenants)))
    rows = await connection.fetch(_HELD, list(tenants), share, float(STEP_SECONDS))
    return {row["tenant_id"]: Held(row["executions"], max(0.0, row["seconds"])) for row in rows}


_OVERDUE_SCHEDULES = """
SELECT count(*)::int AS schedules, coalesce(extract(epoch FROM now() - min(d.next_run_at)), 0)::float8 AS seconds
  FROM (SELECT t.next_run_at FROM triggers t WHERE t.next_run_at <= now() ORDER BY t.next_run_at LIMIT $1) d
"""


async def overdue_schedules(connection: Connection) -> tuple[int, float]:
    """How many schedules are due, and for how many seconds the longest."""
    row = await connection.fetchrow(_OVERDUE_SCHEDULES, MOST)
    assert row is not None  # an aggregate has one row
    return row["schedules"], row["seconds"]


_ALIVE = "SELECT count(*)::int AS number FROM workers WHERE beat_at > now() - make_interval(secs => $1)"


async def workers_alive(connection: Connection, lease_seconds: float) -> int:
    """How many workers are alive by their lease."""
    return await connection.fetchval(_ALIVE, lease_seconds)


_SLUGS = "SELECT tenant_id, slug FROM tenants ORDER BY tenant_id LIMIT $1"


async def slugs_of_tenants(connection: Connection, limit: int) -> dict[UUID, str]:
    """The names of the first so many tenants."""
    return {row["tenant_id"]: row["slug"] for row in await connection.fetch(_SLUGS, limit)}


_SERVER = """
SELECT d.xact_commit, d.xact_rollback, d.blks_read, d.blks_hit, d.tup_inserted, d.tup_updated, d.tup_deleted,
       d.deadlocks, pg_database_size(d.datid)::int8 AS bytes,
       current_setting('max_connections')::int AS max_connections,
       (SELECT coalesce(extract(epoch FROM now() - min(a.xact_start)), 0)::float8 FROM pg_stat_activity a
         WHERE a.datid = d.datid AND a.backend_type = 'client backend') AS oldest_seconds
  FROM pg_stat_database d WHERE d.datname = current_database()
"""


async def read_server(connection: Connection) -> Record:
    """The server's own figures of our database."""
    row = await connection.fetchrow(_SERVER)
    assert row is not None  # of the database that we are in
    return row


_CONNECTIONS = """
SELECT coalesce(state, 'unknown') AS state, count(*)::int AS number FROM pg_stat_activity
 WHERE datname = current_database() AND backend_type = 'client backend' GROUP BY 1
"""


async def connections_by_state(connection: Connection) -> dict[str, int]:
    """How many connections to our database do what."""
    return {row["state"]: row["number"] for row in await connection.fetch(_CONNECTIONS)}


# From the catalogue: the functions that measure a table's files wait for whoever has it locked.
_TABLES = """
SELECT coalesce(p.relname, c.relname) AS name,
       sum((c.relpages + coalesce(t.relpages, 0) + coalesce(x.pages, 0)) * current_setting('block_size')::int8)::int8
         AS bytes,
       sum(pg_stat_get_dead_tuples(c.oid))::int8 AS dead
  FROM pg_class c
  LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
  LEFT JOIN pg_class p ON p.oid = i.inhparent
  LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
  LEFT JOIN LATERAL (SELECT sum(k.relpages) AS pages FROM pg_index n JOIN pg_class k ON k.oid = n.indexrelid
                      WHERE n.indrelid = c.oid) x ON true
 WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
 GROUP BY 1 ORDER BY 2 DESC LIMIT $1
"""


class Table(NamedTuple):
    """A table with all its partitions and indexes, as large as it was when it was last vacuumed or analysed."""

    name: str
    bytes: int
    dead_rows: int


async def largest_tables(connection: Connection, limit: int) -> list[Table]:
    """The largest tables, largest first."""
    return [Table(*row.values()) for row in await connection.fetch(_TABLES, limit)]
