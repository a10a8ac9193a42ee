"""Cancelling, pausing and resuming executions, and what their workers have to know of it.

What nobody runs changes at once, and its epoch moves, so that a late claim finds nothing. What runs gets a wish in
`control`; its worker looks for wishes every second. A wish that comes too late for the worker to see is honoured when
the execution is parked: `change_executions` makes it due (to be cancelled) or parks it for good (paused). What ends
here gives back the slot of its concurrency key in the same transaction.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from libs.common.db.children import open_children
from libs.common.db.ended import settle_ends
from libs.common.db.ended_runs import raise_ends
from libs.common.db.pool import Connection, Record, one_transaction
from libs.common.db.slots import Place, columns, leave

_PARENT_ENDED = "the execution that waited for it has ended"


class Replaced(NamedTuple):
    """An execution whose place under its concurrency key a newer one has taken."""

    tenant_id: UUID
    execution_id: UUID
    by: UUID


# A row that moves while it is waited for may be seen in `target` as it was before: what is done to it is judged by the
# row itself once more.
_CANCEL = """
WITH target AS (
    SELECT e.tenant_id, e.id, e.status, w.message
      FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS w (tenant_id, id, message)
      JOIN executions e ON e.tenant_id = w.tenant_id AND e.id = w.id
     WHERE e.finished_at IS NULL ORDER BY e.tenant_id, e.id FOR UPDATE OF e),
ended AS (
    UPDATE executions e
       SET status = 'cancelled', wake_at = NULL, finished_at = now(), epoch = e.epoch + 1, control = NULL,
           error = json_build_object('class', $4::text, 'message', target.message)
      FROM target
     WHERE e.tenant_id = target.tenant_id AND e.id = target.id AND target.status IN ('pending', 'waiting')
       AND e.status IN ('pending', 'waiting')
    RETURNING e.tenant_id, e.id),
closed AS (
    UPDATE action_executions a
       SET status = CASE WHEN a.status = 'started' AND a.type <> 'for_each' THEN 'unknown' ELSE 'cancelled' END,
           wake_at = NULL, finished_at = now()
      FROM ended
     WHERE a.tenant_id = ended.tenant_id AND a.execution_id = ended.id AND a.status IN ('started', 'waiting')),
asked AS (
    UPDATE executions e SET control = 'cancel', wake_at = CASE WHEN e.wake_at IS NOT NULL THEN now() END
      FROM target
     WHERE e.tenant_id = target.tenant_id AND e.id = target.id AND target.status = 'running'
    RETURNING e.tenant_id, e.id)
SELECT tenant_id, id, true AS ended FROM ended UNION ALL SELECT tenant_id, id, false FROM asked
"""


async def cancel_executions(connection: Connection, tenant_id: UUID, ids: Sequence[UUID]) -> set[UUID]:
    """What is parked has ended, and what it waited for is cancelled as well; what runs will end within seconds.
    Returns those; the others had ended before.
    """
    wanted = [(tenant_id, one, "the execution was cancelled") for one in ids]
    return {place.execution_id for place in await _cancel(connection, wanted, "cancelled")}


async def cancel_replaced(connection: Connection, replaced: Sequence[Replaced]) -> set[Place]:
    """As `cancel_executions`, for those whose place newer ones have taken."""
    wanted = [(one.tenant_id, one.execution_id, f"execution {one.by} took its place") for one in replaced]
    return await _cancel(connection, wanted, "concurrency_replaced")


async def _cancel(connection: Connection, wanted: Sequence[tuple[UUID, UUID, str]], error_class: str) -> set[Place]:
    """Cancels (tenant, execution, message); what has ended gives back its slot."""
    async with one_transaction(connection):
        rows = await _cancel_rows(connection, wanted, error_class)
        ended = _ended(rows)
        await leave(connection, [*ended, *await settle_interrupted(connection, ended)])
    return {Place(row["tenant_id"], row["id"]) for row in rows}


async def settle_interrupted(connection: Connection, ended: Sequence[Place]) -> list[Place]:
    """See to what hangs on executions that have ended before their time in this transaction: what they waited for is
    cancelled, and so on. Returns what has ended of that; its slots are not given back yet.
    """
    found: list[Place] = []
    while ended:
        await settle_ends(connection, ended)
        children = [(*child, _PARENT_ENDED) for child in await open_children(connection, ended)]
        ended = _ended(await _cancel_rows(connection, children, "cancelled")) if children else []
        found += ended
    return found


async def _cancel_rows(
    connection: Connection, wanted: Sequence[tuple[UUID, UUID, str]], error_class: str
) -> list[Record]:
    rows = await connection.fetch(_CANCEL, *columns(wanted, 3), error_class)
    found = {row["id"] for row in rows}
    if left := [one for one in wanted if one[1] not in found]:
        # They have ended, or moved in that very moment; they are locked now, and a new statement sees them as they are.
        rows += await connection.fetch(_CANCEL, *columns(left, 3), error_class)
    await raise_ends(connection, _ended(rows))
    return rows


def _ended(rows: Sequence[Record]) -> list[Place]:
    return [Place(row["tenant_id"], row["id"]) for row in rows if row["ended"]]


_PAUSE = """
WITH parked AS (
    UPDATE executions SET status = 'waiting', wake_at = 'infinity', epoch = epoch + 1, control = 'pause'
     WHERE tenant_id = $1 AND id = $2 AND status IN ('pending', 'waiting') AND control IS NULL
    RETURNING id),
asked AS (
    UPDATE executions SET control = 'pause'
     WHERE tenant_id = $1 AND id = $2 AND status = 'running' AND control IS NULL
    RETURNING id)
SELECT id FROM parked UNION ALL SELECT id FROM asked
"""


async def pause_execution(connection: Connection, tenant_id: UUID, execution_id: UUID) -> bool:
    """Nothing new starts in it until it is resumed; what is under way ends. False: nothing to pause."""
    return await connection.fetchval(_PAUSE, tenant_id, execution_id) is not None


_RESUME = """
UPDATE executions SET control = NULL, wake_at = CASE WHEN status = 'waiting' THEN now() ELSE wake_at END
 WHERE tenant_id = $1 AND id = $2 AND control = 'pause' AND finished_at IS NULL
RETURNING id
"""


async def resume_execution(connection: Connection, tenant_id: UUID, execution_id: UUID) -> bool:
    """A paused execution goes on. False: it was not paused."""
    return await connection.fetchval(_RESUME, tenant_id, execution_id) is not None


class Wish(msgspec.Struct, frozen=True):
    """What somebody wants of an execution that runs: `cancel` or `pause`."""

    execution_id: UUID
    control: str


_WISHES = "SELECT id, control FROM executions WHERE worker = $1 AND control IS NOT NULL"


async def wishes_for(connection: Connection, worker: UUID) -> list[Wish]:
    """The wishes for what this worker runs."""
    return [Wish(row["id"], row["control"]) for row in await connection.fetch(_WISHES, worker)]
