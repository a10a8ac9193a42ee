"""The durable mailbox of executions: what an action that waits is told from outside. An event came, a child has ended,
an approval was decided.

A signal is for one place of an execution (position and iteration of a record); the first one stands, later ones are
nothing. It is read from here as often as the execution is taken up, so a crash loses none. Sender and executor meet
like this, whoever is first:

    sender:    lock the execution ─ insert the signal ─ parked? then wake it ─ commit
    executor:  change_executions parks it (the same lock) ─ wake_signalled: is a signal there? then wake it ─ commit

The second to get the lock sees what the first has committed. What runs at that moment is not woken; it is woken when
it is parked. What is paused stays so, and finds its signals when it is resumed.

Who has waited long enough closes its place with a signal of a kind of its own, `timeout`, which is nobody's to read:
what came before it is heard, and who comes after it is told that nobody listens.
"""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection

SignalKind = Literal["event", "execution", "approval"]


class Place(msgspec.Struct, frozen=True):
    """Where an execution waits: the key of a record without its attempt."""

    tenant_id: UUID
    execution_id: UUID
    position: int
    iteration: int


class Signal(msgspec.Struct, frozen=True):
    """What the action at a place is told. `value` is JSON text; its shape follows from `kind`."""

    tenant_id: UUID
    execution_id: UUID
    position: int
    iteration: int
    kind: SignalKind
    value: str


_LOCK = """
SELECT e.id FROM executions e
  JOIN (SELECT DISTINCT tenant_id, id FROM unnest($1::uuid[], $2::uuid[]) AS g (tenant_id, id)) AS told
    ON e.tenant_id = told.tenant_id AND e.id = told.id
 WHERE e.finished_at IS NULL
 ORDER BY e.tenant_id, e.id FOR UPDATE OF e
"""
_SEND = """
WITH given AS (
    SELECT g.* FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[], $5::text[], $6::json[])
        AS g (tenant_id, execution_id, position, iteration, kind, value)
      JOIN executions e ON e.tenant_id = g.tenant_id AND e.id = g.execution_id AND e.finished_at IS NULL),
woken AS (
    UPDATE executions e SET wake_at = least(e.wake_at, now())
      FROM (SELECT DISTINCT tenant_id, execution_id FROM given) AS told
     WHERE e.tenant_id = told.tenant_id AND e.id = told.execution_id AND e.status = 'waiting'
       AND e.control IS DISTINCT FROM 'pause')
INSERT INTO signals (tenant_id, execution_id, position, iteration, kind, value) SELECT * FROM given
ON CONFLICT (tenant_id, execution_id, position, iteration) DO NOTHING
RETURNING execution_id
"""


async def send_signals(connection: Connection, signals: Sequence[Signal]) -> int:
    """The signals stand, but for places that have one already and executions that have ended or are not the tenant's;
    what waits is due. Returns how many are new.

    Part of the caller's transaction, which there must be: the lock has to outlive the statement that takes it, and
    only a later statement sees what others committed while it was waited for. Executions are locked in the order of
    their keys, so that two senders never wait for each other in a ring.
    """
    if not signals:
        return 0
    if not connection.is_in_transaction():
        raise RuntimeError("send_signals needs a transaction")
    columns = [list(column) for column in zip(*[msgspec.structs.astuple(signal) for signal in signals], strict=True)]
    await connection.execute(_LOCK, *columns[:2])
    return len(await connection.fetch(_SEND, *columns))


_CLOSE = """
INSERT INTO signals (tenant_id, execution_id, position, iteration, kind, value)
SELECT p.*, 'timeout', 'null' FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[])
    AS p (tenant_id, execution_id, position, iteration)
  JOIN executions e ON e.tenant_id = p.tenant_id AND e.id = p.execution_id AND e.finished_at IS NULL
ON CONFLICT (tenant_id, execution_id, position, iteration) DO NOTHING
"""


async def close_places(connection: Connection, places: Sequence[Place]) -> None:
    """Nothing is told any more at these places, unless it was already: whoever waits there has waited long enough.

    Part of the caller's transaction, which there must be; it takes the locks that senders take, in their order.
    """
    columns = [list(column) for column in zip(*[msgspec.structs.astuple(place) for place in places], strict=True)]
    await connection.execute(_LOCK, *columns[:2])
    await connection.execute(_CLOSE, *columns)


_READ = """
SELECT s.tenant_id, s.execution_id, s.position, s.iteration, s.kind, s.value
  FROM unnest($1::uuid[], $2::uuid[]) AS wanted (tenant_id, id)
  JOIN signals s ON s.tenant_id = wanted.tenant_id AND s.execution_id = wanted.id AND s.kind <> 'timeout'
 ORDER BY s.execution_id, s.position, s.iteration
"""


async def signals_of(connection: Connection, executions: Sequence[tuple[UUID, UUID]]) -> list[Signal]:
    """Every signal of these executions (tenant, execution), in the order of their places."""
    tenants, ids = [tenant for tenant, _ in executions], [execution for _, execution in executions]
    return [Signal(*row.values()) for row in await connection.fetch(_READ, tenants, ids)]


_WAKE = """
WITH told AS (
    SELECT DISTINCT s.tenant_id, s.execution_id
      FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[]) AS p (tenant_id, execution_id, position, iteration)
      JOIN signals s ON s.tenant_id = p.tenant_id AND s.execution_id = p.execution_id AND s.position = p.position
                    AND s.iteration = p.iteration AND s.kind <> 'timeout')
UPDATE executions e SET wake_at = least(e.wake_at, now())
  FROM told
 WHERE e.tenant_id = told.tenant_id AND e.id = told.execution_id AND e.status = 'waiting'
   AND e.control IS DISTINCT FROM 'pause'
RETURNING e.id
"""


async def wake_signalled(connection: Connection, places: Sequence[Place]) -> int:
    """Executions that wait at one of these places and have their signal already are due. Returns how many.

    For whoever has just parked them, in the same transaction but in a statement of its own: a signal that was
    committed after the executor last read them, and before the park had the lock, found nobody to wake. Under READ
    COMMITTED the park's own statement does not see it (its snapshot is older than its lock), the next statement does;
    and a sender that comes later waits for the lock and finds the execution parked.
    """
    if not places:
        return 0
    columns = zip(*[msgspec.structs.astuple(place) for place in places], strict=True)
    return len(await connection.fetch(_WAKE, *[list(column) for column in columns]))


_CLEAR = """
DELETE FROM signals s
 USING unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[]) AS p (tenant_id, execution_id, position, iteration)
 WHERE s.tenant_id = p.tenant_id AND s.execution_id = p.execution_id AND s.position = p.position
   AND s.iteration = p.iteration
"""


async def clear_signals(connection: Connection, places: Sequence[Place]) -> None:
    """What was told at these places is gone: another attempt begins there, which waits anew."""
    if places:
        columns = zip(*[msgspec.structs.astuple(place) for place in places], strict=True)
        await connection.execute(_CLEAR, *[list(column) for column in columns])
