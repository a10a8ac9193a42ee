"""Databases for tests: one after the other uses the same, emptied in between.

A copy of the migrated template costs PostgreSQL six hundred files each time; emptying what a test has filled, a few.
A database whose structure, statistics or settings a test has changed is not emptied but dropped.
"""

import os
from contextlib import suppress
from urllib.parse import urlsplit

import asyncpg

from libs.common.db.migrate import migrate
from libs.common.db.pool import Connection
from tests.waiting import until

_TEMPLATE = "signalbox_template"
_LEAVING_SECONDS = 20.0
"""So long a connection that was closed may take to be gone from the server."""

_USERS = """
SELECT coalesce(string_agg(application_name, ', '), '') FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

# Every relation by its identity, and whether it was analysed (that changes plans); everything else by the transaction
# that wrote its row in the catalogue.
_STRUCTURE = """
SELECT md5(concat_ws(';',
    (SELECT string_agg(concat(oid, relname, relrowsecurity, relforcerowsecurity, relacl, reltuples >= 0), ','
                       ORDER BY oid)
       FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind <> 'i'),
    (SELECT string_agg(concat(indexrelid, xmin), ',' ORDER BY indexrelid) FROM pg_index WHERE indexrelid >= 16384),
    (SELECT string_agg(concat(attrelid, attnum, xmin), ',' ORDER BY attrelid, attnum)
       FROM pg_attribute WHERE attrelid >= 16384),
    (SELECT string_agg(concat(oid, xmin), ',' ORDER BY oid) FROM pg_constraint WHERE oid >= 16384),
    (SELECT string_agg(concat(oid, tgname, tgenabled), ',' ORDER BY oid) FROM pg_trigger),
    (SELECT string_agg(concat(oid, xmin), ',' ORDER BY oid) FROM pg_policy),
    (SELECT string_agg(concat(oid, xmin), ',' ORDER BY oid) FROM pg_proc WHERE oid >= 16384),
    (SELECT string_agg(concat(oid, xmin), ',' ORDER BY oid) FROM pg_statistic_ext),
    (SELECT string_agg(m::text, ',' ORDER BY m::text) FROM schema_migrations m),
    (SELECT string_agg(setconfig::text, ',') FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
      WHERE d.datname = current_database())))
"""

_FILLED = """
SELECT quote_ident(relname) AS name,
       EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) AS guarded
  FROM pg_class c
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'schema_migrations'
   AND pg_relation_size(oid) > 0
"""


class Databases:
    """Migrated databases on one server, lent to one test each."""

    def __init__(self, server: str, template: str, structure: str) -> None:
        self._server, self._template, self._structure = server, template, structure
        self._empty: list[str] = []

    @classmethod
    async def on(cls, server: str, template: str) -> "Databases":
        """Copies of the template on the server at this address."""
        connection = await asyncpg.connect(address(server, template))
        structure = await connection.fetchval(_STRUCTURE)
        await connection.close()
        return cls(server, template, structure)

    async def take(self) -> str:
        """Address of a database that is migrated and otherwise empty."""
        if self._empty:
            return address(self._server, self._empty.pop())
        name = f"test_{os.urandom(6).hex()}"
        await execute(self._server, f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return address(self._server, name)

    async def give_back(self, dsn: str) -> str:
        """The test is over. Returns the names of the clients that still hold connections; empty when none do."""
        name = urlsplit(dsn).path[1:]
        connection = await asyncpg.connect(dsn)
        try:
            users = await _users_of(connection)
            is_as_before = users == "" and await connection.fetchval(_STRUCTURE) == self._structure
            if is_as_before:
                await _empty(connection)
                self._empty.append(name)
        finally:
            await connection.close()
        if not is_as_before:
            await execute(self._server, f"DROP DATABASE {name} WITH (FORCE)")
        return users


async def make_template(server: str) -> str:
    """Name of a database that is migrated and otherwise empty, from which the others are copied."""
    await execute(server, f"CREATE DATABASE {_TEMPLATE}")
    await migrate(address(server, _TEMPLATE))
    return _TEMPLATE


def address(server: str, database: str) -> str:
    """Of a database on that server."""
    return urlsplit(server)._replace(path=f"/{database}").geturl()


async def execute(dsn: str, statement: str) -> None:
    """Run one statement on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _users_of(connection: Connection) -> str:
    """Others than this one, after those that are just closing had time to."""
    users = ""

    async def is_alone() -> bool:
        nonlocal users
        users = await connection.fetchval(_USERS)
        return users == ""

    with suppress(TimeoutError):
        await until(is_alone, _LEAVING_SECONDS)
    return users


async def _empty(connection: Connection) -> None:
    """In one transaction: what some tables forbid (the audit log is append-only) is allowed for its length."""
    filled = await connection.fetch(_FILLED)
    if not filled:
        return
    guarded = [row["name"] for row in filled if row["guarded"]]
    await connection.execute(
        "".join(f"ALTER TABLE {name} DISABLE TRIGGER USER;" for name in guarded)
        + f"TRUNCATE {', '.join(row['name'] for row in filled)} CASCADE;"
        + "".join(f"ALTER TABLE {name} ENABLE TRIGGER USER;" for name in guarded)
    )
