"""Entering under a workflow's concurrency: an execution asks once, before its first action, and is told what to do.

    held      run; give the slot back when it ends (`slots.leave`)
    queued    park; it is woken when a slot is its own, in the order of execution ids
    skipped   policy `skip` and no slot is free: end it, nothing is kept of it (or it has ended long since)

Policy `cancel_running` is that of GitHub Actions' `cancel-in-progress`: the newest win. Of all that hold or queue, as
many of the newest as the limit says live on. The older ones are cancelled, those that queue too, for a result that the
next one replaces is of no use to anybody; the newcomer is next. A newcomer that is itself older than so many (its
message was late) is skipped: an older run never cancels a newer one.

Whoever has asked is answered from its row, so that asking again, after a crash, changes nothing. Locks: `slots`.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec

from libs.common.db.controlling import Replaced, cancel_replaced
from libs.common.db.pool import Connection
from libs.common.db.slots import Place, SlotKey, columns, lock_keys, promote, wake_holders

Answer = Literal["held", "queued", "skipped"]


class Entry(msgspec.Struct, frozen=True):
    """An execution that wants to begin. `key`: rendered (`domain.concurrency`); the others are of its version."""

    tenant_id: UUID
    workflow_id: UUID
    execution_id: UUID
    key: str
    limit: int
    policy: Literal["queue", "skip", "cancel_running"]


class Entered(msgspec.Struct, frozen=True):
    """What an execution is told. `holder`: whose turn it is instead of a skipped one's."""

    tenant_id: UUID
    execution_id: UUID
    answer: Answer
    holder: UUID | None = None


class _Let(NamedTuple):
    skipped: dict[Place, UUID | None]
    replaced: list[Replaced]


async def enter(connection: Connection, entries: Sequence[Entry]) -> list[Entered]:
    """What each is told, in their order. Makes transactions of its own, since what it cancels is locked before keys."""
    assert not connection.is_in_transaction()
    if not entries:
        return []
    places = [Place(entry.tenant_id, entry.execution_id) for entry in entries]
    keys = {_key_of(entry) for entry in entries}
    async with connection.transaction():
        living = await _hold_living(connection, places)
        await lock_keys(connection, keys, places)
        let = await _let_in(connection, [one for one, place in zip(entries, places, strict=True) if place in living])
        states = await _tell(connection, places)
    if let.replaced:
        await cancel_replaced(connection, let.replaced)
        async with connection.transaction():
            await lock_keys(connection, keys, places)
            states = await _tell(connection, places)
    return [
        Entered(*place, states[place]) if place in states else Entered(*place, "skipped", let.skipped.get(place))
        for place in places
    ]


_HOLD_LIVING = """
SELECT e.tenant_id, e.id FROM unnest($1::uuid[], $2::uuid[]) AS w (tenant_id, execution_id)
  JOIN executions e ON e.tenant_id = w.tenant_id AND e.id = w.execution_id
 WHERE e.finished_at IS NULL ORDER BY e.tenant_id, e.id FOR SHARE OF e
"""


async def _hold_living(connection: Connection, places: Sequence[Place]) -> set[Place]:
    """Those that have not ended; they will not before this transaction does, so whoever ends them sees their slot."""
    return {Place(*row.values()) for row in await connection.fetch(_HOLD_LIVING, *columns(places, 2))}


async def _let_in(connection: Connection, entries: Sequence[Entry]) -> _Let:
    fresh = await _queue_up(connection, entries)
    newcomers = [entry for entry in entries if Place(entry.tenant_id, entry.execution_id) in fresh]
    cancelling = {_key_of(entry) for entry in newcomers if entry.policy == "cancel_running"}
    replaced = await _replace(connection, cancelling) if cancelling else []
    await wake_holders(connection, await promote(connection, {_key_of(entry) for entry in newcomers}))
    skipped: dict[Place, UUID | None] = {}
    if any(entry.policy != "queue" for entry in newcomers):
        skipped = await _turn_away(connection, newcomers)
    return _Let(skipped, [one for one in replaced if (one.tenant_id, one.execution_id) not in fresh])


_QUEUE_UP = """
INSERT INTO concurrency_slots (tenant_id, workflow_id, execution_id, key, capacity, state)
SELECT x.*, 'queued'
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::int[])
    AS x (tenant_id, workflow_id, execution_id, key, capacity)
 ORDER BY x.tenant_id, x.execution_id
ON CONFLICT (tenant_id, execution_id) DO NOTHING
RETURNING tenant_id, execution_id
"""


async def _queue_up(connection: Connection, entries: Sequence[Entry]) -> set[Place]:
    """Everybody has a row. Returns those who had none. Sorted, for copies of a message that come at one moment."""
    rows = [(one.tenant_id, one.workflow_id, one.execution_id, one.key, one.limit) for one in entries]
    return {Place(*row.values()) for row in await connection.fetch(_QUEUE_UP, *columns(rows, 5))}


_REPLACE = """
WITH ranked AS (
    SELECT s.tenant_id, s.execution_id, row_number() OVER newest AS rank,
           first_value(s.capacity) OVER newest AS capacity, first_value(s.execution_id) OVER newest AS newest
      FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS k (tenant_id, workflow_id, key)
      JOIN concurrency_slots s ON s.tenant_id = k.tenant_id AND s.workflow_id = k.workflow_id AND s.key = k.key
     WHERE s.replaced_by IS NULL
    WINDOW newest AS (PARTITION BY s.tenant_id, s.workflow_id, s.key ORDER BY s.execution_id DESC))
UPDATE concurrency_slots s SET replaced_by = ranked.newest FROM ranked
 WHERE s.tenant_id = ranked.tenant_id AND s.execution_id = ranked.execution_id AND ranked.rank > ranked.capacity
RETURNING s.tenant_id, s.execution_id, s.replaced_by
"""


async def _replace(connection: Connection, keys: Iterable[SlotKey]) -> list[Replaced]:
    """Of these keys the newest that the limit lets live stay; returns the others, which have to be cancelled."""
    return [Replaced(*row.values()) for row in await connection.fetch(_REPLACE, *columns(keys, 3))]


_TURN_AWAY = """
DELETE FROM concurrency_slots s USING unnest($1::uuid[], $2::uuid[], $3::bool[]) AS w (tenant_id, execution_id, skips)
 WHERE s.tenant_id = w.tenant_id AND s.execution_id = w.execution_id AND (s.state = 'queued') IS TRUE
   AND (w.skips OR s.replaced_by IS NOT NULL)
RETURNING s.tenant_id, s.execution_id, coalesce(s.replaced_by, (
    SELECT h.execution_id FROM concurrency_slots h
     WHERE h.tenant_id = s.tenant_id AND h.workflow_id = s.workflow_id AND h.key = s.key AND h.state = 'held'
     ORDER BY h.execution_id LIMIT 1)) AS holder
"""


async def _turn_away(connection: Connection, newcomers: Sequence[Entry]) -> dict[Place, UUID | None]:
    """Newcomers that do not hold and would not queue are gone. Returns each one's holder."""
    rows = [(one.tenant_id, one.execution_id, one.policy == "skip") for one in newcomers]
    found = await connection.fetch(_TURN_AWAY, *columns(rows, 3))
    return {Place(row["tenant_id"], row["execution_id"]): row["holder"] for row in found}


_TELL = """
WITH told AS (
    UPDATE concurrency_slots s SET told_at = now() FROM unnest($1::uuid[], $2::uuid[]) AS w (tenant_id, execution_id)
     WHERE s.tenant_id = w.tenant_id AND s.execution_id = w.execution_id AND (s.state = 'held') IS TRUE
       AND s.told_at IS NULL)
SELECT s.tenant_id, s.execution_id, s.state
  FROM unnest($1::uuid[], $2::uuid[]) AS w (tenant_id, execution_id)
  JOIN concurrency_slots s ON s.tenant_id = w.tenant_id AND s.execution_id = w.execution_id
"""


async def _tell(connection: Connection, places: Sequence[Place]) -> dict[Place, Answer]:
    """The state of each that has a row; whoever holds is known to have heard of it."""
    rows = await connection.fetch(_TELL, *columns(places, 2))
    return {Place(row["tenant_id"], row["execution_id"]): row["state"] for row in rows}


def _key_of(entry: Entry) -> SlotKey:
    return SlotKey(entry.tenant_id, entry.workflow_id, entry.key)
