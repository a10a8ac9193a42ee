"""Who is alive. A worker proves it with one row that it refreshes; the database's clock judges, never a worker's."""

from uuid import UUID

from libs.common.db.pool import Connection

BEAT_SECONDS = 2.0
ANSWER_SECONDS = 3.0
"""What shows that a worker lives, and what it holds, has to be answered sooner than by other statements: when it is
not, another connection is tried, so that a worker is not lost with one of its connections.
"""
LEASE_SECONDS = 10.0

_BEAT = """
INSERT INTO workers (id, service) VALUES ($1, $2)
ON CONFLICT (id) DO UPDATE SET beat_at = now()
"""


async def beat(connection: Connection, worker: UUID, service: str) -> None:
    """The worker is alive for the next `LEASE_SECONDS`."""
    await connection.execute(_BEAT, worker, service)


_DEAD = "SELECT id FROM workers WHERE beat_at < now() - make_interval(secs => $1)"


async def dead_workers(connection: Connection, silent_seconds: float = LEASE_SECONDS) -> list[UUID]:
    """Workers that were not heard of for longer than that. Their rows stay for a day: a worker that wakes late may
    still claim.
    """
    return [row["id"] for row in await connection.fetch(_DEAD, silent_seconds)]


_FORGET = "DELETE FROM workers WHERE beat_at < now() - interval '1 day'"


async def forget_old_workers(connection: Connection) -> None:
    """Rows of workers dead for a day are gone."""
    await connection.execute(_FORGET)


_RETIRE = "UPDATE workers SET beat_at = '-infinity' WHERE id = $1"


async def retire(connection: Connection, worker: UUID) -> None:
    """The worker is gone by its own word: whatever it still holds is free at the next sweep."""
    await connection.execute(_RETIRE, worker)
