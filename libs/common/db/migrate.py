"""Brings the schema up to date: numbered SQL files, forward only, each in a transaction of its own, under one
advisory lock.

Any number of processes may call this at the same moment: one works, the others wait and find nothing to do. It also
keeps tenants apart in every table (`isolation.py`) and makes today's partitions, so that a fresh database takes rows at
once.
"""

from importlib.resources import files

import asyncpg

from libs.common.clock import Clock, SystemClock
from libs.common.db.isolation import isolate_tenants
from libs.common.db.partitions import make_partitions
from libs.common.db.pool import AWAY, Record, address, reason
from libs.common.errors import OperatorError

_LOCK_KEY = 7_309_744_017  # any constant; shared by all processes of all releases

_LOCK = "SELECT pg_advisory_lock($1)"
_CREATE_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())
"""
_APPLIED = "SELECT name FROM schema_migrations"
_RECORD = "INSERT INTO schema_migrations (name) VALUES ($1)"


async def migrate(dsn: str, clock: Clock | None = None) -> list[str]:
    """Apply what is missing; returns the names applied. Raises `OperatorError` when the server can't be used, or when
    a later release has migrated it for good (`post`).
    """
    if not dsn:
        raise OperatorError("SIGNALBOX_DATABASE_URL is not set (signalbox up brings its own PostgreSQL).")
    try:
        connection: asyncpg.Connection[Record] = await asyncpg.connect(dsn, timeout=5)
    except (*AWAY, asyncpg.PostgresError, ValueError) as error:
        raise OperatorError(f"PostgreSQL at {address(dsn)}: {reason(error)}") from error
    try:
        await connection.execute(_LOCK, _LOCK_KEY)
        applied = await _apply_missing(connection)
        await isolate_tenants(connection)
        await make_partitions(connection, (clock or SystemClock()).now())
    except (*AWAY, asyncpg.InsufficientPrivilegeError) as error:
        raise OperatorError(f"PostgreSQL at {address(dsn)}: {reason(error)}") from error
    finally:
        await connection.close()
    return applied


async def _apply_missing(connection: "asyncpg.Connection[Record]") -> list[str]:
    await connection.execute(_CREATE_LEDGER)
    known: set[str] = {row["name"] for row in await connection.fetch(_APPLIED)}
    ours = migrations()
    # What a later release does before its code runs (`pre`) leaves this one able to work; what it does after, not.
    if foreign := sorted(name for name in known - {name for name, _ in ours} if "_pre_" not in name):
        raise OperatorError(f"The database belongs to a later release of Signalbox: this one has no {foreign[-1]}.")
    missing = [(name, sql) for name, sql in ours if name not in known]
    for name, sql in missing:
        async with connection.transaction():
            await connection.execute(sql)
            await connection.execute(_RECORD, name)
    return [name for name, _ in missing]


def migrations() -> list[tuple[str, str]]:
    """Every migration of this release, oldest first: file name and SQL."""
    folder = files("libs.common.db") / "migrations"
    found = [(entry.name, entry.read_text()) for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted(found)
