"""Day partitions that nobody needs any more, dropped whole: those that are empty, and those in which everything is
older than the longest retention of any tenant.

Executions go with their records and signals or not at all: those that go on may still get some. A partition is looked
at again under its lock, so nothing that comes in the same moment is lost. A table that is in use (a dump reads for
hours) is not waited for: that would hold up everybody behind us. The next round tries again.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import asyncpg

from libs.common.clock import first_id_at
from libs.common.db.pool import Connection

EMPTY_DAYS = 7
"""Younger partitions stay although they are empty: what waited on a spool comes with the ids of its own day."""
_DAY = timedelta(days=1)
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
RUNS = ("executions", "action_executions", "signals")
LOGS = ("webhook_logs", "events", "firings")
_NAME = re.compile(r"([a-z_]+)_(\d{8})")

_LIST = """
SELECT parent.relname AS parent, child.relname AS name FROM pg_inherits
  JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent
 WHERE inhparent = ANY($1::regclass[]) ORDER BY right(child.relname, 8), child.relname
"""


class Day(NamedTuple):
    """A day's partition of a table."""

    table: str
    name: str
    day: datetime


async def list_days(connection: Connection, before: datetime) -> list[Day]:
    """The partitions of days that were over by then, oldest first."""
    days: list[Day] = []
    for row in await connection.fetch(_LIST, [*RUNS, *LOGS]):
        named = _NAME.fullmatch(row["name"])
        if named is None or named[1] != row["parent"]:
            continue
        day = datetime.strptime(named[2], "%Y%m%d").replace(tzinfo=UTC)
        if day + _DAY <= before:
            days.append(Day(row["parent"], row["name"], day))
    return days


# What ended late is as old as its end; an execution that goes on keeps its day, and the day's records and signals.
_LIVING = """
SELECT EXISTS (SELECT FROM executions
                WHERE id >= $1 AND id < $2 AND (finished_at IS NULL OR finished_at >= $3))
"""


async def has_living_runs(connection: Connection, day: datetime, before: datetime) -> bool:
    """Whether an execution of that day goes on, or has ended since `before`."""
    return await connection.fetchval(_LIVING, first_id_at(day), first_id_at(day + _DAY), before)


_FORGET_ASKED = "DELETE FROM approvals WHERE execution_id >= $1 AND execution_id < $2"
_PATIENCE = "SET LOCAL lock_timeout = '200ms'"


async def drop_runs(connection: Connection, day: datetime, before: datetime | None) -> bool:
    """The executions of that day are gone with all that is theirs, if they have ended before then (None: if there are
    none). False: they stay, or a table is in use.
    """
    names, before = [(table, _name(table, day)) for table in RUNS], before or _BEGINNING
    if await has_living_runs(connection, day, before):
        return False
    try:
        async with connection.transaction():
            await _lock(connection, names)
            if await has_living_runs(connection, day, before):
                return False
            await connection.execute(_FORGET_ASKED, first_id_at(day), first_id_at(day + _DAY))
            await _drop(connection, names)
    except asyncpg.LockNotAvailableError:
        return False
    return True


async def drop_day(connection: Connection, day: Day, *, only_empty: bool) -> bool:
    """The partition of one of `LOGS` is gone. False: it is in use, or it is not empty although it should be."""
    looks_empty = f"SELECT NOT EXISTS (SELECT FROM {day.name})"  # noqa: S608 - a name that list_days has checked
    if only_empty and not await connection.fetchval(looks_empty):
        return False
    try:
        async with connection.transaction():
            await _lock(connection, [(day.table, day.name)])
            if only_empty and not await connection.fetchval(looks_empty):
                return False
            await _drop(connection, [(day.table, day.name)])
    except asyncpg.LockNotAvailableError:
        return False
    return True


async def _lock(connection: Connection, names: Sequence[tuple[str, str]]) -> None:
    await connection.execute(_PATIENCE)
    locking = f"LOCK TABLE {', '.join(f'ONLY {table}, {name}' for table, name in names)} IN ACCESS EXCLUSIVE MODE"
    await connection.execute(locking)


async def _drop(connection: Connection, names: Sequence[tuple[str, str]]) -> None:
    dropping = f"DROP TABLE IF EXISTS {', '.join(name for _, name in names)}"
    await connection.execute(dropping)


def _name(table: str, day: datetime) -> str:
    return f"{table}_{day:%Y%m%d}"
