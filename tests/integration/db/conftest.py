"""What the tests of the database share: a connection beside the one that is looked at, and who waits for a lock."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from libs.common.db.pool import Connection

_WAITING = "SELECT pid FROM pg_locks WHERE NOT granted ORDER BY pid"
"""Not `pg_stat_activity`: a transaction sees that as it was when it first looked."""


@pytest.fixture
async def beside(database_dsn: str) -> AsyncIterator[Connection]:
    """A connection to the database that is not the pool's."""
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()


async def held_up(beside: Connection, sessions: int = 1) -> set[int]:
    """The process ids of those who wait for a lock, once they are so many. Raises `TimeoutError`."""
    async with asyncio.timeout(10):
        while len(found := {row["pid"] for row in await beside.fetch(_WAITING)}) != sessions:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found
