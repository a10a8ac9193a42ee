"""Connections to PostgreSQL.

One pool a process. Session settings keep plans on indexes: the batch writes are `UPDATE … FROM unnest(…)`, their plan
is cached while the tables are new and small, and a plan that scans or hashes them then would still do so when they
are large. A statement is planned once for a connection: planning a set write anew costs as much as the write itself.

A database that is away shows as `Unavailable`, whatever the driver calls it.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypeAlias
from urllib.parse import urlsplit

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from libs.common.errors import OperatorError, Unavailable

Record: TypeAlias = asyncpg.Record
Connection: TypeAlias = "asyncpg.Connection[Record] | PoolConnectionProxy[Record]"

AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server's farewell came on an idle connection, which is not seen as closed yet
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""What the driver raises when the server is gone, going or not yet there, or can't do it now: it shuts down, has no
room, ended a deadlock, is a standby that only reads. The same statement may succeed later.
"""

_INDEX_PLANS = {
    "enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}  # fmt: skip
_CONNECT_SECONDS = 5.0
_COMMAND_SECONDS = 30.0


class Database:
    """A pool that is opened once and used by every query module."""

    def __init__(self, dsn: str, *, size: int, name: str) -> None:
        """`dsn`: where; `size`: most connections; `name`: shown in pg_stat_activity."""
        self._dsn, self._size, self._name = dsn, size, name
        self._pool: asyncpg.Pool[Record] | None = None

    async def open(self) -> None:
        """Connect. Raises `OperatorError` when the server refuses us or is not there."""
        try:
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=1,
                max_size=self._size,
                timeout=_CONNECT_SECONDS,
                command_timeout=_COMMAND_SECONDS,
                max_inactive_connection_lifetime=0,
                reset=_keep_session,
                server_settings={"application_name": f"signalbox-{self._name}", **_INDEX_PLANS},
            )
        except (*AWAY, asyncpg.PostgresError, ValueError) as error:
            raise OperatorError(f"PostgreSQL at {address(self._dsn)}: {reason(error)}") from error

    async def close(self) -> None:
        """Give every connection back to the server; cuts off what still runs after five seconds."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            async with asyncio.timeout(5.0):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """A connection for single statements. Raises `Unavailable` when the database is away."""
        if self._pool is None:
            raise Unavailable("The database is not connected.")
        try:
            async with self._pool.acquire(timeout=_CONNECT_SECONDS) as connection:
                try:
                    yield connection
                except (asyncpg.InternalClientError, asyncpg.ReadOnlySQLTransactionError):
                    connection.terminate()  # of no use to the next one
                    raise
        except AWAY as error:
            raise Unavailable(f"The database is away: {reason(error)}") from error

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """A connection inside one transaction. Raises `Unavailable` when the database is away."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[Connection]:
        """A connection on which several reads see one moment. Raises `Unavailable` when the database is away."""
        async with self.connection() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection

    async def ping(self) -> bool:
        """Whether the database answers."""
        try:
            async with self.connection() as connection:
                await connection.fetchval(_PING)
        except Unavailable:
            return False
        return True


_PING = "SELECT 1"


async def _keep_session(_connection: Connection) -> None:
    """Nothing to undo when a connection returns: no query changes session state. Saves a round trip each time."""


def address(dsn: str) -> str:
    """Host, port and database of a DSN: what may be shown, without the credential."""
    parts = urlsplit(dsn)
    if not parts.scheme or ("@" in dsn and "@" not in parts.netloc):  # a password with a slash
        return "(no readable address)"
    return f"{parts.netloc.rpartition('@')[2] or 'local socket'}{parts.path}"


def reason(error: BaseException) -> str:
    """Why, in one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
