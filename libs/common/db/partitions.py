"""Day partitions of the big tables, made ahead of time.

Executions, their actions and webhook calls are cut by the time inside their UUIDv7, firings by slot. Old partitions are
dropped whole by retention; a row whose day has no partition could not be stored, so they are made days ahead.
"""

from datetime import UTC, datetime, timedelta

from libs.common.clock import first_id_at
from libs.common.db.pool import Connection

DAYS_BACK = 1
DAYS_AHEAD = 3
_BY_ID = ("executions", "action_executions", "webhook_logs")
_BY_TIME = ("firings",)

_EXISTING = """
SELECT child.relname AS name FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
 WHERE inhparent = ANY($1::regclass[])
"""


async def make_partitions(connection: Connection, now: datetime) -> list[str]:
    """Make what is missing from yesterday to three days ahead of `now`; returns the names made. Safe to call at any
    time.
    """
    rows = await connection.fetch(_EXISTING, [*_BY_ID, *_BY_TIME])
    existing: set[str] = {row["name"] for row in rows}
    statements = wanted_partitions(now)
    missing = [name for name in statements if name not in existing]
    for name in missing:
        await connection.execute(statements[name])
    return missing


def wanted_partitions(now: datetime) -> dict[str, str]:
    """Partition name → statement that makes it, for every day that must exist at `now`."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [midnight + timedelta(days=offset) for offset in range(-DAYS_BACK, DAYS_AHEAD + 1)]
    wanted: dict[str, str] = {}
    for day in days:
        for table in _BY_ID:
            low, high = first_id_at(day), first_id_at(day + timedelta(days=1))
            wanted[_name(table, day)] = _create(table, day, str(low), str(high))
        for table in _BY_TIME:
            wanted[_name(table, day)] = _create(table, day, day.isoformat(), (day + timedelta(days=1)).isoformat())
    return wanted


def _name(table: str, day: datetime) -> str:
    return f"{table}_{day:%Y%m%d}"


def _create(table: str, day: datetime, low: str, high: str) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {_name(table, day)} PARTITION OF {table} FOR VALUES FROM ('{low}') TO ('{high}')"
    )
