"""Who waits for a lock: how a test knows that what it holds up has come so far."""

import asyncio

from libs.common.db.pool import Connection
from tests.waiting import patience

_WAITING = "SELECT pid FROM pg_locks WHERE NOT granted ORDER BY pid"
"""Not `pg_stat_activity`: within a transaction that shows the sessions there were when it first looked."""


async def held_up(beside: Connection, sessions: int = 1) -> set[int]:
    """The process ids of those who wait for a lock, once they are so many. Raises `TimeoutError`."""
    async with patience():
        while len(found := {row["pid"] for row in await beside.fetch(_WAITING)}) != sessions:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found
