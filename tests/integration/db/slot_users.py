"""What the tests of slots share: executions that enter as an executor's do, and whose writes go with their slots."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from libs.common.clock import new_id
from libs.common.db.accepting import insert_accepted
from libs.common.db.concurrency import Entered, Entry, enter
from libs.common.db.executions import ExecutionChange, change_executions
from libs.common.db.pool import Connection
from libs.common.db.slots import Place, leave
from tests.factories import execution_change, new_execution

TENANT, WORKFLOW, WORKER = new_id(), new_id(), new_id()
NEVER = datetime.max.replace(tzinfo=UTC)
ENDED = ("completed", "failed", "cancelled", "timed_out")
_SLOTS = "SELECT execution_id, state FROM concurrency_slots ORDER BY execution_id"
_ROW = "SELECT status, epoch, wake_at <= now() AS due, control FROM executions WHERE id = $1"


def entry(execution_id: UUID, **more: Any) -> Entry:
    """One that wants to begin, alone in its key and patient; `more` replaces fields."""
    return msgspec.structs.replace(Entry(TENANT, WORKFLOW, execution_id, "k", 1, "queue"), **more)


async def accepted(connection: Connection, count: int) -> list[UUID]:
    """So many pending executions, oldest first."""
    new = [new_execution(TENANT, WORKFLOW) for _ in range(count)]
    await insert_accepted(connection, [one.row() for one in new])
    return sorted(one.id for one in new)


async def asked(connection: Connection, *entries: Entry) -> list[str]:
    """What each is told."""
    return [one.answer for one in await enter(connection, entries)]


async def row(connection: Connection, execution_id: UUID) -> tuple[str, int, bool | None, str | None]:
    """Status, epoch, whether it is due, and what somebody wants of it."""
    found = await connection.fetchrow(_ROW, execution_id)
    assert found is not None
    return tuple(found.values())


async def change_of(connection: Connection, execution_id: UUID, status: str) -> ExecutionChange:
    """What its worker writes next; what waits does so until somebody wakes it."""
    present, epoch, _, _ = await row(connection, execution_id)
    claims = present == "pending"
    change = execution_change(TENANT, execution_id, epoch + claims, status, claims=claims)
    return msgspec.structs.replace(change, wake_at=NEVER if status == "waiting" else None)


async def write(connection: Connection, changes: Sequence[ExecutionChange]) -> set[UUID]:
    """As the journal does: the changes and what follows for slots are one transaction."""
    async with connection.transaction():
        written = await change_executions(connection, WORKER, sorted(changes, key=lambda change: change.id))
        mine = [change for change in changes if change.id in written]
        await leave(
            connection,
            [Place(change.tenant_id, change.id) for change in mine if change.status in ENDED],
            [Place(change.tenant_id, change.id) for change in mine if change.status == "waiting"],
        )
    return written


async def becomes(connection: Connection, status: str, *ids: UUID) -> None:
    """These executions are written so by their worker."""
    assert await write(connection, [await change_of(connection, one, status) for one in ids]) == set(ids)


async def follow(connection: Connection, answers: Sequence[Entered]) -> None:
    """What an executor does with its answers: run, park or end."""
    for one in answers:
        if (await row(connection, one.execution_id))[0] == "pending":
            status = {"held": "running", "queued": "waiting", "skipped": "cancelled"}[one.answer]
            await becomes(connection, status, one.execution_id)


async def slots(connection: Connection) -> dict[UUID, str]:
    """Who holds and who queues."""
    return {found["execution_id"]: found["state"] for found in await connection.fetch(_SLOTS)}
