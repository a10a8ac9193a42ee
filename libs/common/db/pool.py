"""Connections to PostgreSQL.

One pool a process. Session settings keep plans on indexes: the batch writes are `UPDATE … FROM unnest(…)`, their plan
is cached while the tables are new and small, and a plan that scans or hashes them then would still do so when they
are large. A statement is planned once for a connection: planning a set write anew costs as much as the write itself.

Two roles use the same pool. By itself a connection has the role that it logged in with, the *service role*, which
sees the rows of all tenants: for what works before the tenant is known and for batches of many tenants. `for_tenant`
gives transactions in the role `signalbox_app`, to which PostgreSQL shows one tenant's rows and no others
(`isolation.py`); role and tenant go with the BEGIN and end with the transaction.

A database that is away shows as `Unavailable`, whatever the driver calls it.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import perf_counter
from typing import TypeAlias
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from libs.common.errors import OperatorError, Unavailable
from libs.common.telemetry.metrics import count_database_away, observe_pool_wait
from libs.common.telemetry.states import show_pool

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
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""What the driver raises when the server is gone, going or not yet there, or can't do it now: it shuts down, has no
room, ended a deadlock, is a standby that only reads. The same statement may succeed later.
"""

_INDEX_PLANS = {
    "enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}  # fmt: skip
_SILENCE = {
    "idle_in_transaction_session_timeout": "30s", "tcp_user_timeout": "30s", "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5", "tcp_keepalives_count": "4",
}  # fmt: skip
"""Who begins a transaction and is not heard of any more (its machine froze) would hold its locks for ever, and whoever
takes over its work would wait for them. Who cannot be reached any more (its network is cut) would have a session until
TCP gives up, by itself after 15 minutes, or two hours when there is nothing to send; on a local socket the server takes
no notice of these four. (PostgreSQL 17, 19.3.2 "TCP Settings".)
"""
APP_ROLE = "signalbox_app"
"""The database role that sees the rows of one tenant."""
TENANT_SETTING = "signalbox.tenant_id"
"""The setting of a transaction that says which tenant's."""
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
                server_settings={"application_name": f"signalbox-{self._name}", **_INDEX_PLANS, **_SILENCE},
            )
        except (*AWAY, asyncpg.PostgresError, ValueError) as error:
            raise OperatorError(f"PostgreSQL at {address(self._dsn)}: {reason(error)}") from error
        pool = self._pool
        show_pool(lambda: (pool.get_size(), pool.get_idle_size(), pool.get_max_size()))

    async def close(self) -> None:
        """Give every connection back to the server; cuts off what still runs after five seconds."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        show_pool(None)
        try:
            async with asyncio.timeout(5.0):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    @asynccontextmanager
    async def connection(self, within_seconds: float | None = None) -> AsyncGenerator[Connection]:
        """A connection for single statements. Raises `Unavailable` when the database is away, or the block has not
        ended within that time: that may be the connection's fault (its network loses what it sends), so it is closed.
        """
        if self._pool is None:
            raise Unavailable("The database is not connected.")
        started = perf_counter()
        try:
            async with self._pool.acquire(timeout=_CONNECT_SECONDS) as connection:
                observe_pool_wait(perf_counter() - started)
                limit = asyncio.timeout(within_seconds)
                try:
                    async with limit:
                        yield connection
                except (asyncpg.InternalClientError, asyncpg.ReadOnlySQLTransactionError):
                    connection.terminate()  # of no use to the next one
                    raise
                except TimeoutError:
                    if limit.expired():
                        connection.terminate()
                    raise
        except AWAY as error:
            count_database_away()
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

    def for_tenant(self, tenant_id: UUID) -> "TenantDatabase":
        """The same database, with the rows of that tenant alone."""
        return TenantDatabase(self, tenant_id)

    async def ping(self) -> bool:
        """Whether the database answers."""
        try:
            async with self.connection() as connection:
                await connection.fetchval(_PING)
        except Unavailable:
            return False
        return True


_PING = "SELECT 1"


class TenantDatabase:
    """Transactions that see and write one tenant's rows: PostgreSQL hides the others and refuses to store them."""

    def __init__(self, database: Database, tenant_id: UUID) -> None:
        # Digits of a number: nothing that a tenant sends can become part of a statement.
        self._as_tenant = f"SET LOCAL ROLE {APP_ROLE}; SET LOCAL {TENANT_SETTING} = '{tenant_id.hex}'"
        self._database = database

    def transaction(self) -> AbstractAsyncContextManager[Connection]:
        """A connection inside one transaction, for single statements too: the role lasts no longer.

        `Connection.transaction` is not for use in it. Raises `Unavailable` when the database is away.
        """
        return self._begun(f"BEGIN; {self._as_tenant}")

    def snapshot(self) -> AbstractAsyncContextManager[Connection]:
        """As `transaction`, for several reads that see one moment."""
        return self._begun(f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {self._as_tenant}")

    @asynccontextmanager
    async def _begun(self, begin: str) -> AsyncGenerator[Connection]:
        """One round trip begins the transaction and says whose it is, which the driver's own transactions cannot."""
        async with self._database.connection() as connection:
            try:
                await connection.execute(begin)
                yield connection
                await connection.execute(_COMMIT)
            except BaseException:  # also of one who is cancelled while it begins or ends
                if not connection.is_closed():
                    await connection.execute(_ROLLBACK)
                raise


_COMMIT = "COMMIT"
_ROLLBACK = "ROLLBACK"


@asynccontextmanager
async def one_transaction(connection: Connection) -> AsyncGenerator[None]:
    """The transaction that the connection is in, or one of its own."""
    if connection.is_in_transaction():
        yield
    else:
        async with connection.transaction():
            yield


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
