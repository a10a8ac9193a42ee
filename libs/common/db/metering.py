"""Metering: what tenants have used, counted from the rows of what has ended, hour by hour, into a table that only
grows.

An hour is counted when it is over, and once more a day later for what came late. Each time what the table holds already
is taken off, so that counting again adds nothing and a scheduler that dies in the middle leaves nothing behind. Nothing
is counted while executions run: the hot path knows nothing of metering.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec

from libs.common.clock import first_id_at
from libs.common.db.pool import Connection, Record

HOUR = timedelta(hours=1)
_METER_SECONDS = 600.0


class Used(msgspec.Struct, frozen=True):
    """What was used. `executions` that have ended with their `actions` (attempts that have); webhook `calls`; `bytes`:
    inputs and outputs as kept, and bodies of calls; `tokens` and `cost` as far as actions say (`usage` of an output).
    """

    executions: int = 0
    actions: int = 0
    action_seconds: Decimal = Decimal(0)
    calls: int = 0
    bytes: int = 0
    mails: int = 0
    tokens: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)


class UsageRow(msgspec.Struct, frozen=True):
    """One row of the table: an hour of a tenant, or what came late for it. `number` grows."""

    number: int
    tenant_id: UUID
    hour: datetime
    used: Used


_LOCK_PROGRESS = "SELECT metered, now() AS now FROM usage_progress WHERE pass = $1 FOR UPDATE SKIP LOCKED"
# Asks first: ON CONFLICT alone would wait for another scheduler that is at it.
_BEGIN = """
INSERT INTO usage_progress (pass, metered) SELECT $1, date_trunc('hour', now(), 'UTC')
 WHERE NOT EXISTS (SELECT FROM usage_progress WHERE pass = $1) ON CONFLICT (pass) DO NOTHING
"""
_ADVANCE = "UPDATE usage_progress SET metered = $2 WHERE pass = $1"
# An output may hold escapes that PostgreSQL keeps but cannot read: those say nothing of their usage.
_METER = """
WITH ended AS MATERIALIZED (
    SELECT tenant_id, id, coalesce(pg_column_size(input), 0) + coalesce(pg_column_size(output), 0) AS weight
      FROM executions WHERE finished_at >= $1 AND finished_at < $2),
runs AS (SELECT tenant_id, count(*) AS executions, sum(weight) AS weight FROM ended GROUP BY tenant_id),
acts AS (
    SELECT e.tenant_id, count(*) AS actions,
           sum(greatest(extract(epoch FROM a.finished_at - a.started_at), 0)) AS seconds,
           count(*) FILTER (WHERE a.type = 'send_email' AND a.status = 'completed') AS mails,
           sum(CASE WHEN said.usage ->> 'tokens' ~ '^[0-9]{1,12}$' THEN (said.usage ->> 'tokens')::numeric ELSE 0 END)
               AS tokens,
           sum(CASE WHEN said.usage ->> 'cost' ~ '^[0-9]{1,9}([.][0-9]{1,9})?$'
                    THEN (said.usage ->> 'cost')::numeric ELSE 0 END) AS cost
      FROM ended e JOIN action_executions a ON a.tenant_id = e.tenant_id AND a.execution_id = e.id
           CROSS JOIN LATERAL (
           SELECT CASE WHEN strpos(a.output::text, '"usage"') > 0 AND strpos(a.output::text, '\\u0000') = 0
                            AND strpos(a.output::text, '\\ud') = 0 THEN a.output -> 'usage' END AS usage) AS said
     WHERE a.finished_at IS NOT NULL AND a.status <> 'skipped'
     GROUP BY e.tenant_id),
called AS (
    SELECT t.tenant_id, c.calls, c.weight
      FROM tenants t CROSS JOIN LATERAL (
           SELECT sum(stands_for) AS calls, sum(coalesce(body_bytes, length(body), 0)) AS weight FROM webhook_logs l
            WHERE l.tenant_id = t.tenant_id AND l.id >= $3 AND l.id < $4 AND l.outcome <> 'preflight') AS c
     WHERE c.calls IS NOT NULL),
total AS (
    SELECT t.tenant_id, coalesce(runs.executions, 0) AS executions, coalesce(acts.actions, 0) AS actions,
           coalesce(acts.seconds, 0) AS seconds, coalesce(called.calls, 0) AS calls,
           coalesce(runs.weight, 0) + coalesce(called.weight, 0) AS weight, coalesce(acts.mails, 0) AS mails,
           coalesce(acts.tokens, 0) AS tokens, coalesce(acts.cost, 0) AS cost
      FROM tenants t LEFT JOIN runs USING (tenant_id) LEFT JOIN acts USING (tenant_id)
           LEFT JOIN called USING (tenant_id)
     WHERE runs.tenant_id IS NOT NULL OR called.tenant_id IS NOT NULL),
late AS (
    SELECT n.tenant_id, greatest(n.executions - k.executions, 0) AS executions,
           greatest(n.actions - k.actions, 0) AS actions, greatest(n.seconds - k.seconds, 0) AS seconds,
           greatest(n.calls - k.calls, 0) AS calls, greatest(n.weight - k.weight, 0) AS weight,
           greatest(n.mails - k.mails, 0) AS mails, greatest(n.tokens - k.tokens, 0) AS tokens,
           greatest(n.cost - k.cost, 0) AS cost
      FROM total n CROSS JOIN LATERAL (
           SELECT coalesce(sum(u.executions), 0) AS executions, coalesce(sum(u.actions), 0) AS actions,
                  coalesce(sum(u.action_seconds), 0) AS seconds, coalesce(sum(u.calls), 0) AS calls,
                  coalesce(sum(u.bytes), 0) AS weight, coalesce(sum(u.mails), 0) AS mails,
                  coalesce(sum(u.tokens), 0) AS tokens, coalesce(sum(u.cost), 0) AS cost
             FROM usage u WHERE u.tenant_id = n.tenant_id AND u.hour = $1) AS k)
INSERT INTO usage (tenant_id, hour, executions, actions, action_seconds, calls, bytes, mails, tokens, cost)
SELECT tenant_id, $1, executions, actions, seconds, calls, weight, mails, tokens, cost FROM late
 WHERE executions + calls + actions + mails + tokens + cost > 0
"""


async def meter_next_hour(connection: Connection, kind: str, after: timedelta) -> bool:
    """In a transaction: the next hour of this pass (`first`, `late`) is in the table, if it has been over for so long.
    Returns whether it was; False also while another scheduler is at it. The first hour is that of the first call.
    """
    progress = await connection.fetchrow(_LOCK_PROGRESS, kind)
    if progress is None:
        await connection.execute(_BEGIN, kind)
        return False
    if progress["metered"] + HOUR + after > progress["now"]:
        return False
    await meter_hour(connection, progress["metered"])
    await connection.execute(_ADVANCE, kind, progress["metered"] + HOUR)
    return True


_LOCK_FIRST = "SELECT 1 FROM usage_progress WHERE pass = 'first' FOR UPDATE"


async def meter_hour(connection: Connection, hour: datetime) -> None:
    """In a transaction: what was used in that hour is in the table, whether it was in it before or not."""
    await connection.execute(_LOCK_FIRST)  # one writer at a time: numbers become visible in their order
    bounds = hour, hour + HOUR, first_id_at(hour), first_id_at(hour + HOUR)
    await connection.execute(_METER, *bounds, timeout=_METER_SECONDS)


_EXPORT = """
SELECT number, tenant_id, hour, executions, actions, action_seconds, calls, bytes, mails, tokens, cost FROM usage
 WHERE hour >= $1 AND number > $2 AND ($3::uuid IS NULL OR tenant_id = $3)
 ORDER BY number LIMIT $4
"""


async def export_usage(
    connection: Connection, since: datetime, after: int, of_tenant: UUID | None, limit: int
) -> list[UsageRow]:
    """Rows of hours since then, after that number, in the order in which they were written: for all time the same."""
    return [_row(row) for row in await connection.fetch(_EXPORT, since, after, of_tenant, limit)]


_SUM = """
SELECT coalesce(sum(executions), 0)::bigint AS executions, coalesce(sum(actions), 0)::bigint AS actions,
       coalesce(sum(action_seconds), 0) AS action_seconds, coalesce(sum(calls), 0)::bigint AS calls,
       coalesce(sum(bytes), 0)::bigint AS bytes, coalesce(sum(mails), 0)::bigint AS mails,
       coalesce(sum(tokens), 0) AS tokens, coalesce(sum(cost), 0) AS cost
  FROM usage WHERE tenant_id = $1 AND hour >= $2 AND hour < $3
"""


async def sum_usage(connection: Connection, tenant_id: UUID, since: datetime, until: datetime) -> Used:
    """What the tenant has used in the hours that begin in between."""
    row = await connection.fetchrow(_SUM, tenant_id, since, until)
    return Used() if row is None else _used(row, 0)


_METERED = """
SELECT coalesce((SELECT metered FROM usage_progress WHERE pass = $1), date_trunc('hour', now(), 'UTC'))
"""


async def metered_until(connection: Connection, kind: str = "first") -> datetime:
    """Up to when everything is metered; `late`: and was looked at once more."""
    return await connection.fetchval(_METERED, kind)


def _row(row: Record) -> UsageRow:
    return UsageRow(row["number"], row["tenant_id"], row["hour"], _used(row, 3))


def _used(row: Record, first: int) -> Used:
    values: Sequence[object] = list(row.values())[first:]
    return Used(*values)  # pyright: ignore[reportArgumentType] - the columns stand in the order of the fields
