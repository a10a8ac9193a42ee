"""What limits a tenant and how much of it is used, as far as rows tell. Who refuses stands elsewhere."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection, Record


class Quota(msgspec.Struct, frozen=True):
    """The plan of a tenant, the JSON text of its own limits, and what its rows weighed when they were last weighed."""

    plan: str | None
    quota: str
    stored_bytes: int


_FIND = "SELECT plan, quota, stored_bytes FROM tenants WHERE tenant_id = $1"


async def find_quota(connection: Connection, tenant_id: UUID) -> Quota | None:
    """What limits the tenant; None: there is no such tenant."""
    return _quota(await connection.fetchrow(_FIND, tenant_id))


# Not FOR UPDATE: whoever writes a row that refers to the tenant goes on.
_LOCK = "SELECT plan, quota, stored_bytes FROM tenants WHERE tenant_id = $1 FOR NO KEY UPDATE"


async def lock_quota(connection: Connection, tenant_id: UUID) -> Quota | None:
    """As `find_quota`; until the transaction ends nobody else who does this counts or changes."""
    return _quota(await connection.fetchrow(_LOCK, tenant_id))


_SET = """
UPDATE tenants SET plan = $2, quota = $3, updated_at = now() WHERE tenant_id = $1 RETURNING plan, quota, stored_bytes
"""


async def set_quota(connection: Connection, tenant_id: UUID, plan: str | None, quota: str) -> Quota | None:
    """The tenant has this plan and these limits of its own (JSON text); None: there is no such tenant."""
    return _quota(await connection.fetchrow(_SET, tenant_id, plan, quota))


_ALL = """
SELECT tenant_id, plan, quota, stored_bytes FROM tenants
 WHERE $1::uuid IS NULL OR tenant_id > $1 ORDER BY tenant_id LIMIT $2
"""


async def list_quotas(connection: Connection, after: UUID | None, limit: int) -> list[tuple[UUID, Quota]]:
    """The tenants after that one, in the order of their ids."""
    rows = await connection.fetch(_ALL, after, limit)
    return [(row["tenant_id"], Quota(row["plan"], row["quota"], row["stored_bytes"])) for row in rows]


class Stocks(NamedTuple):
    """How much there is of what a tenant makes: its workflows, and triggers that are schedules (of tasks, too)."""

    workflows: int
    schedules: int


_COUNT_STOCKS = """
SELECT t.id, (SELECT count(*) FROM workflows w
               WHERE w.tenant_id = t.id AND w.deleted_at IS NULL AND w.kind = 'workflow') AS workflows,
       (SELECT count(*) FROM triggers s WHERE s.tenant_id = t.id AND s.type = 'schedule') AS schedules
  FROM unnest($1::uuid[]) AS t (id)
"""


async def count_stocks(connection: Connection, tenants: Sequence[UUID]) -> dict[UUID, Stocks]:
    """Of each of these tenants."""
    rows = await connection.fetch(_COUNT_STOCKS, list(tenants))
    return {row["id"]: Stocks(row["workflows"], row["schedules"]) for row in rows}


# Both partial indexes together hold what has not ended, and nothing else.
_COUNT_IN_FLIGHT = """
SELECT tenant_id, sum(n)::bigint AS n
  FROM (SELECT tenant_id, count(*) AS n FROM executions
         WHERE tenant_id = ANY($1::uuid[]) AND wake_at IS NOT NULL AND status = 'pending' GROUP BY tenant_id
        UNION ALL
        SELECT tenant_id, count(*) FROM executions
         WHERE tenant_id = ANY($1::uuid[]) AND worker IS NOT NULL GROUP BY tenant_id) AS counted
 GROUP BY tenant_id
"""


async def count_in_flight(connection: Connection, tenants: Sequence[UUID]) -> dict[UUID, int]:
    """How many executions of each of these tenants are pending or running; a tenant without any is left out."""
    rows = await connection.fetch(_COUNT_IN_FLIGHT, list(tenants))
    return {row["tenant_id"]: row["n"] for row in rows}


# As kept, that is compressed. Indexes and versions of definitions weigh little beside it and are left out.
_WEIGH = """
UPDATE tenants t SET weighed_at = now(), stored_bytes =
       coalesce((SELECT sum(pg_column_size(r)) FROM records r WHERE r.tenant_id = $1), 0)
     + coalesce((SELECT sum(pg_column_size(e)) FROM executions e WHERE e.tenant_id = $1), 0)
     + coalesce((SELECT sum(pg_column_size(a)) FROM action_executions a WHERE a.tenant_id = $1), 0)
     + coalesce((SELECT sum(pg_column_size(c)) FROM webhook_logs c WHERE c.tenant_id = $1), 0)
     + coalesce((SELECT sum(pg_column_size(v)) FROM events v WHERE v.tenant_id = $1), 0)
     + coalesce((SELECT sum(pg_column_size(n)) FROM notifications n WHERE n.tenant_id = $1), 0)
 WHERE t.tenant_id = $1
RETURNING t.stored_bytes
"""
_WEIGH_SECONDS = 600.0


async def weigh_tenant(connection: Connection, tenant_id: UUID) -> int | None:
    """What the tenant's rows weigh, in bytes, is on record; it takes its time. None: there is no such tenant."""
    return await connection.fetchval(_WEIGH, tenant_id, timeout=_WEIGH_SECONDS)


_NEXT_TO_WEIGH = """
SELECT tenant_id FROM tenants
 WHERE tenant_id = ANY($1::uuid[]) AND (weighed_at IS NULL OR weighed_at < now() - make_interval(secs => $2))
 ORDER BY weighed_at NULLS FIRST LIMIT 1
"""


async def next_to_weigh(connection: Connection, tenants: Sequence[UUID], seconds: float) -> UUID | None:
    """The tenant among these that was not weighed for the longest, and not within so many seconds."""
    return await connection.fetchval(_NEXT_TO_WEIGH, list(tenants), seconds)


class Warned(NamedTuple):
    """A limit that is nearly used up. `value`: of the limit."""

    tenant_id: UUID
    name: str
    day: date
    value: int
    used: int


_WARN = """
INSERT INTO limit_warnings (tenant_id, name, day, value, used)
SELECT x.* FROM unnest($1::uuid[], $2::text[], $3::date[], $4::bigint[], $5::bigint[]) AS x (tenant_id, name, day, v, u)
 WHERE EXISTS (SELECT FROM tenants t WHERE t.tenant_id = x.tenant_id)
ON CONFLICT (tenant_id, name, day) DO NOTHING
"""


async def note_warnings(connection: Connection, warnings: Sequence[Warned]) -> None:
    """The warnings are on record, each limit of a tenant once a day."""
    if warnings:
        columns = [list(column) for column in zip(*warnings, strict=True)]
        await connection.execute(_WARN, *columns)


_TAKE_WARNINGS = """
WITH taken AS (SELECT tenant_id, name, day FROM limit_warnings WHERE raised_at IS NULL LIMIT $1 FOR UPDATE SKIP LOCKED)
UPDATE limit_warnings w SET raised_at = now() FROM taken
 WHERE w.tenant_id = taken.tenant_id AND w.name = taken.name AND w.day = taken.day
RETURNING w.tenant_id, w.name, w.day, w.value, w.used
"""


async def take_warnings(connection: Connection, limit: int) -> list[Warned]:
    """In a transaction: warnings nobody was told of yet; they count as told when it commits."""
    return [Warned(*row.values()) for row in await connection.fetch(_TAKE_WARNINGS, limit)]


_FORGET_WARNINGS = "DELETE FROM limit_warnings WHERE day < (now() - interval '7 days')::date AND raised_at IS NOT NULL"


async def forget_old_warnings(connection: Connection) -> None:
    """Those of a week ago are gone."""
    await connection.execute(_FORGET_WARNINGS)


def _quota(row: Record | None) -> Quota | None:
    return None if row is None else Quota(row["plan"], row["quota"], row["stored_bytes"])
