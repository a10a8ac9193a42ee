"""Day partitions of the big tables, made ahead of time.

Executions, their actions and webhook calls are cut by the time inside their UUIDv7, firings by slot. Old partitions are
dropped whole by retention; a row whose day has no partition could not be stored, so they are made days ahead.

A partition is made beside its table and then attached: `CREATE TABLE … PARTITION OF` would wait for every reader of
the table (a dump takes hours) and hold up everybody behind it.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from libs.common.clock import first_id_at
from libs.common.db.pool import Connection

DAYS_BACK = 1
DAYS_AHEAD = 3
_BY_ID = ("executions", "action_executions", "signals", "webhook_logs", "events")
_BY_TIME = ("firings",)

_EXISTING = """
SELECT child.relname AS name FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
 WHERE inhparent = ANY($1::regclass[])
"""


_ONE_AT_A_TIME = "LOCK TABLE ONLY executions IN SHARE UPDATE EXCLUSIVE MODE"
"""What attaching takes anyway: in nobody's way but that of another who makes partitions."""


async def make_partitions(connection: Connection, now: datetime) -> list[str]:
    """Make what is missing from yesterday to three days ahead of `now`; returns the names made. Safe to call at any
    time, by many at once.
    """
    return await _make(connection, wanted_partitions(now))


async def make_days_of_firings(connection: Connection, slots: Iterable[datetime]) -> list[str]:
    """As `make_partitions`, for the days of these slots, however long ago."""
    days = {_midnight(slot) for slot in slots}
    return await _make(connection, {_name("firings", day): _create_by_time("firings", day) for day in sorted(days)})


async def _make(connection: Connection, wanted: Mapping[str, str]) -> list[str]:
    if not await _missing(connection, wanted):
        return []
    async with connection.transaction():
        await connection.execute(_ONE_AT_A_TIME)
        missing = await _missing(connection, wanted)
        for name in missing:
            await connection.execute(wanted[name])
    return missing


async def _missing(connection: Connection, wanted: Mapping[str, str]) -> list[str]:
    existing = {row["name"] for row in await connection.fetch(_EXISTING, [*_BY_ID, *_BY_TIME])}
    return [name for name in wanted if name not in existing]


async def missing_partitions(connection: Connection, now: datetime) -> list[str]:
    """Names of those that `make_partitions` would make."""
    return await _missing(connection, wanted_partitions(now))


def wanted_partitions(now: datetime) -> dict[str, str]:
    """Partition name → statements that make it, for every day that must exist at `now`."""
    days = [_midnight(now) + timedelta(days=offset) for offset in range(-DAYS_BACK, DAYS_AHEAD + 1)]
    wanted: dict[str, str] = {}
    for day in days:
        for table in _BY_ID:
            low, high = first_id_at(day), first_id_at(day + timedelta(days=1))
            wanted[_name(table, day)] = _create(table, day, str(low), str(high))
        for table in _BY_TIME:
            wanted[_name(table, day)] = _create_by_time(table, day)
    return wanted


def _midnight(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _name(table: str, day: datetime) -> str:
    return f"{table}_{day:%Y%m%d}"


def _create_by_time(table: str, day: datetime) -> str:
    return _create(table, day, day.isoformat(), (day + timedelta(days=1)).isoformat())


def _create(table: str, day: datetime, low: str, high: str) -> str:
    name = _name(table, day)
    return (
        f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS);"
        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}')"
    )
