"""Cancelling, pausing and resuming executions, and what their workers have to know of it.

What nobody runs changes at once, and its epoch moves, so that a late claim finds nothing. What runs gets a wish in
`control`; its worker looks for wishes every second. A wish that comes too late for the worker to see is honoured when
the execution is parked: `change_executions` makes it due (to be cancelled) or parks it for good (paused).
"""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from libs.common.db.children import open_children
from libs.common.db.ended import settle_ends
from libs.common.db.pool import Connection

_CANCEL = """
WITH ended AS (
    UPDATE executions
       SET status = 'cancelled', wake_at = NULL, finished_at = now(), epoch = epoch + 1, control = NULL,
           error = json_build_object('class', 'cancelled', 'message', 'the execution was cancelled')
     WHERE tenant_id = $1 AND id = ANY ($2::uuid[]) AND status IN ('pending', 'waiting')
    RETURNING id),
closed AS (
    UPDATE action_executions
       SET status = CASE WHEN status = 'started' AND type <> 'for_each' THEN 'unknown' ELSE 'cancelled' END,
           wake_at = NULL, finished_at = now()
     WHERE tenant_id = $1 AND execution_id IN (SELECT id FROM ended) AND status IN ('started', 'waiting')),
asked AS (
    UPDATE executions SET control = 'cancel'
     WHERE tenant_id = $1 AND id = ANY ($2::uuid[]) AND status = 'running'
    RETURNING id)
SELECT id, true AS has_ended FROM ended UNION ALL SELECT id, false FROM asked
"""


async def cancel_executions(connection: Connection, tenant_id: UUID, ids: Sequence[UUID]) -> set[UUID]:
    """What is parked has ended, and what it waited for is cancelled as well; what runs will end within seconds.
    Returns those; the others had ended before, or moved in this very moment: ask again.
    """
    async with connection.transaction():
        rows = await connection.fetch(_CANCEL, tenant_id, list(ids))
        await settle_interrupted(connection, [(tenant_id, row["id"]) for row in rows if row["has_ended"]])
    return {row["id"] for row in rows}


async def settle_interrupted(connection: Connection, ended: Sequence[tuple[UUID, UUID]]) -> None:
    """See to what hangs on executions (tenant, execution) that have ended before their time: what they waited for is
    cancelled. Part of the caller's transaction.
    """
    await settle_ends(connection, ended)
    children: dict[UUID, list[UUID]] = {}
    for tenant_id, child in await open_children(connection, ended):
        children.setdefault(tenant_id, []).append(child)
    for tenant_id, ids in children.items():
        await cancel_executions(connection, tenant_id, ids)


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
