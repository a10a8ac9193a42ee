"""The slots of a concurrency key: who holds one, who is next, and what happens when one is given back.

Executions of one (tenant, workflow, key) hold at most as many slots as the limit of the newest of them; the others
queue by execution id, so the one that was accepted first is served first. (`concurrency` lets them in.)

Locks, and why nobody ever waits in a circle. Every transaction takes what it takes in this order:

    1. rows of executions: what it ends or parks    2. the keys concerned, all at once, sorted    3. never waits again

A key is an advisory lock for the transaction: it needs no row that would have to be made, swept and updated, and two
keys with one number merely wait for each other. A flush takes 256 of them at most, of the 6 400 locks that a PostgreSQL
with its defaults has room for; without room the write is tried again, as while the database is away. Rows of slots are
written only under the lock of their key. Whoever holds keys takes rows of other executions only if they are free
(`SKIP LOCKED`). The one it has to pass over is being parked by another transaction, which comes here itself before it
commits (`leave`, `parked`) and finds what it missed.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection


class Place(NamedTuple):
    """An execution of a tenant."""

    tenant_id: UUID
    execution_id: UUID


class SlotKey(NamedTuple):
    """What executions hold slots of. `key`: rendered, at most 255 characters."""

    tenant_id: UUID
    workflow_id: UUID
    key: str


_LOCK = """
SELECT pg_advisory_xact_lock(number) FROM (
    SELECT hashtextextended(k.tenant_id::text || k.workflow_id::text || k.key, 0) AS number
      FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS k (tenant_id, workflow_id, key)
    UNION
    SELECT hashtextextended(s.tenant_id::text || s.workflow_id::text || s.key, 0)
      FROM unnest($4::uuid[], $5::uuid[]) AS w (tenant_id, execution_id)
      JOIN concurrency_slots s ON s.tenant_id = w.tenant_id AND s.execution_id = w.execution_id
    ORDER BY number) sorted
"""


async def lock_keys(connection: Connection, keys: Iterable[SlotKey], places: Sequence[Place]) -> int:
    """These keys, and those that these executions hold or queue for, are this transaction's until it ends. Once in a
    transaction at most: a second time would be out of order. Returns how many.
    """
    return len(await connection.fetch(_LOCK, *columns(keys, 3), *columns(places, 2)))


_DELETE = """
DELETE FROM concurrency_slots s USING unnest($1::uuid[], $2::uuid[]) AS w (tenant_id, execution_id)
 WHERE s.tenant_id = w.tenant_id AND s.execution_id = w.execution_id
RETURNING s.tenant_id, s.workflow_id, s.key
"""


async def leave(connection: Connection, executions: Sequence[Place], parked: Sequence[Place] = ()) -> int:
    """What ended in this transaction gives back its slot or its place in the queue, and the next ones hold and are due.

    `parked`: what this transaction parked because it queues. One whose turn came meanwhile is due at once. Call it once
    in the transaction, after the executions were written, as the last thing. Returns how many hold now that queued.
    """
    assert connection.is_in_transaction()
    if not await lock_keys(connection, (), [*executions, *parked]):
        return 0
    freed = {SlotKey(*row.values()) for row in await connection.fetch(_DELETE, *columns(executions, 2))}
    promoted = await promote(connection, freed)
    await wake_holders(connection, [*promoted, *parked])
    return len(promoted)


_PROMOTE = """
WITH free AS (
    SELECT k.*, newest.capacity - (
               SELECT count(*) FROM concurrency_slots h
                WHERE h.tenant_id = k.tenant_id AND h.workflow_id = k.workflow_id AND h.key = k.key
                  AND h.state = 'held') AS slots
      FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS k (tenant_id, workflow_id, key)
     CROSS JOIN LATERAL (
           SELECT n.capacity FROM unnest(ARRAY['held', 'queued']) AS of (state) CROSS JOIN LATERAL (
                  SELECT s.capacity, s.execution_id FROM concurrency_slots s
                   WHERE s.tenant_id = k.tenant_id AND s.workflow_id = k.workflow_id AND s.key = k.key
                     AND s.state = of.state
                   ORDER BY s.execution_id DESC LIMIT 1) n
            ORDER BY n.execution_id DESC LIMIT 1) newest)
UPDATE concurrency_slots s SET state = 'held', since = now()
  FROM free CROSS JOIN LATERAL (
       SELECT q.tenant_id, q.execution_id FROM concurrency_slots q
        WHERE q.tenant_id = free.tenant_id AND q.workflow_id = free.workflow_id AND q.key = free.key
          AND q.state = 'queued' AND q.replaced_by IS NULL
        ORDER BY q.execution_id LIMIT greatest(free.slots, 0)) next
 WHERE s.tenant_id = next.tenant_id AND s.execution_id = next.execution_id
RETURNING s.tenant_id, s.execution_id
"""


async def promote(connection: Connection, keys: Iterable[SlotKey]) -> list[Place]:
    """The first in the queue hold what is free of these keys, which the transaction has locked. Returns who."""
    wanted = list(keys)
    return [Place(*row.values()) for row in await connection.fetch(_PROMOTE, *columns(wanted, 3))] if wanted else []


# `IS TRUE` here and in `concurrency`: a condition that no index can use, so that a row is found by its primary key.
_WAKE = """
WITH free AS (
    SELECT e.tenant_id, e.id FROM unnest($1::uuid[], $2::uuid[]) AS w (tenant_id, execution_id)
      JOIN concurrency_slots s ON s.tenant_id = w.tenant_id AND s.execution_id = w.execution_id
      JOIN executions e ON e.tenant_id = w.tenant_id AND e.id = w.execution_id
     WHERE (s.state = 'held') IS TRUE AND e.status = 'waiting' AND e.control IS NULL
       FOR UPDATE OF e SKIP LOCKED)
UPDATE executions e SET wake_at = now() FROM free WHERE e.tenant_id = free.tenant_id AND e.id = free.id
"""


async def wake_holders(connection: Connection, places: Sequence[Place]) -> None:
    """Those that hold a slot and wait are due, unless somebody has them in hand. A paused one stays paused."""
    if places:
        await connection.execute(_WAKE, *columns(places, 2))


class Watched(msgspec.Struct, frozen=True):
    """A slot that somebody must look at, or (`finding` None) need not.

    `ended`: its execution has ended or is gone. `unasked`: it is replaced, and its execution knows nothing of it.
    `unwoken`: it holds, and its execution still waits for that.
    """

    tenant_id: UUID
    execution_id: UUID
    finding: str | None
    replaced_by: UUID | None


_WATCH = """
SELECT s.tenant_id, s.execution_id,
       CASE WHEN e.id IS NULL OR e.finished_at IS NOT NULL THEN 'ended'
            WHEN s.replaced_by IS NOT NULL AND e.control IS DISTINCT FROM 'cancel' THEN 'unasked'
            WHEN s.state = 'held' AND s.told_at IS NULL AND e.status = 'waiting' AND e.wake_at > now()
                 AND e.control IS NULL THEN 'unwoken' END AS finding,
       s.replaced_by
  FROM (SELECT w.tenant_id, w.execution_id, w.state, w.replaced_by, w.told_at FROM concurrency_slots w
         WHERE w.watched AND (w.tenant_id, w.execution_id) > ($1, $2)
         ORDER BY w.tenant_id, w.execution_id LIMIT $3) s
  LEFT JOIN executions e ON e.tenant_id = s.tenant_id AND e.id = s.execution_id
 ORDER BY s.tenant_id, s.execution_id
"""


async def watch_slots(connection: Connection, after: Place, limit: int) -> list[Watched]:
    """The next slots of all tenants behind `after`, with what is wrong with each."""
    return [Watched(*row.values()) for row in await connection.fetch(_WATCH, *after, limit)]


class QueuedFor(msgspec.Struct, frozen=True):
    """What a queued execution waits for. `place` 1 is the next; `held_by`: up to ten that hold a slot."""

    key: str
    limit: int
    place: int
    held_by: list[UUID]


_QUEUED_FOR = """
SELECT s.key,
       (SELECT n.capacity FROM concurrency_slots n
         WHERE n.tenant_id = s.tenant_id AND n.workflow_id = s.workflow_id AND n.key = s.key
         ORDER BY n.execution_id DESC LIMIT 1) AS capacity,
       (SELECT count(*) FROM concurrency_slots q
         WHERE q.tenant_id = s.tenant_id AND q.workflow_id = s.workflow_id AND q.key = s.key AND q.state = 'queued'
           AND q.replaced_by IS NULL AND q.execution_id <= s.execution_id) AS place,
       ARRAY(SELECT h.execution_id FROM concurrency_slots h
              WHERE h.tenant_id = s.tenant_id AND h.workflow_id = s.workflow_id AND h.key = s.key AND h.state = 'held'
              ORDER BY h.execution_id LIMIT 10) AS held_by
  FROM concurrency_slots s
 WHERE s.tenant_id = $1 AND s.execution_id = $2 AND s.state = 'queued' AND s.replaced_by IS NULL
"""


async def queued_for(connection: Connection, tenant_id: UUID, execution_id: UUID) -> QueuedFor | None:
    """What the execution queues for; None when it does not."""
    row = await connection.fetchrow(_QUEUED_FOR, tenant_id, execution_id)
    return None if row is None else QueuedFor(*row.values())


def columns(rows: Iterable[Sequence[object]], width: int) -> list[list[object]]:
    """Rows as the arrays that a statement unnests."""
    listed = list(rows)
    return [list(column) for column in zip(*listed, strict=True)] if listed else [[] for _ in range(width)]
