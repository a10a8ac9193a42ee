"""Taking executions: one claim wins, and whoever holds an old epoch writes nothing, records included."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from libs.common.clock import new_id
from libs.common.db.accepting import ExecutionRow, insert_accepted
from libs.common.db.executions import ActionRow, ExecutionChange, change_executions, release_executions_of
from libs.common.db.pool import Database

NOW = datetime.now(UTC)
TENANT, WORKFLOW = new_id(), new_id()


def change(execution: UUID, epoch: int, status: str = "running", *, claims: bool = False) -> ExecutionChange:
    """A write of a worker that has done one action."""
    ended = status in ("completed", "failed")
    record = ActionRow(0, 0, 1, "a", "log", "completed", "{}", f'"by epoch {epoch}"', None, NOW, NOW, None, None)
    return ExecutionChange(
        TENANT, execution, epoch, claims, status, NOW if status == "waiting" else None, None, None, 1, 1, 0, 0, NOW,
        NOW if ended else None, [record],
    )  # fmt: skip


@pytest.fixture
async def execution(database: Database) -> UUID:
    identifier = new_id()
    async with database.connection() as connection:
        row = ExecutionRow(TENANT, identifier, WORKFLOW, 1, None, "manual", "{}", None, "")
        await insert_accepted(connection, [row])
    return identifier


async def write(database: Database, worker: UUID, *changes: ExecutionChange) -> set[UUID]:
    async with database.connection() as connection:
        return await change_executions(connection, worker, changes)


async def stored(database: Database, execution: UUID) -> tuple[Any, ...]:
    """Status, epoch, worker, and the outputs on record."""
    async with database.connection() as connection:
        row = await connection.fetchrow("SELECT status, epoch, worker FROM executions WHERE id = $1", execution)
        outputs = await connection.fetch("SELECT output FROM action_executions WHERE execution_id = $1", execution)
    assert row is not None
    return (*row.values(), [output["output"] for output in outputs])


async def test_of_many_claims_at_once_one_wins(database: Database, execution: UUID) -> None:
    workers = [new_id() for _ in range(6)]
    answers = await asyncio.gather(*[write(database, one, change(execution, 1, claims=True)) for one in workers])
    (winner,) = [worker for worker, answer in zip(workers, answers, strict=True) if answer]
    assert await stored(database, execution) == ("running", 1, winner, ['"by epoch 1"'])


async def test_a_worker_that_was_given_up_writes_nothing(database: Database, execution: UUID) -> None:
    zombie, heir = new_id(), new_id()
    await write(database, zombie, change(execution, 1, claims=True))
    async with database.connection() as connection:
        assert await release_executions_of(connection, [zombie]) == 1
    assert await write(database, zombie, change(execution, 1, "completed")) == set()
    assert await write(database, heir, change(execution, 3, claims=True)) == {execution}
    assert await write(database, zombie, change(execution, 1, "failed")) == set()
    assert await stored(database, execution) == ("running", 3, heir, ['"by epoch 3"'])


async def test_a_message_from_before_a_release_claims_nothing(database: Database, execution: UUID) -> None:
    first, late = new_id(), new_id()
    await write(database, first, change(execution, 1, claims=True))
    async with database.connection() as connection:
        await release_executions_of(connection, [first])
    assert await write(database, late, change(execution, 1, claims=True)) == set()


async def test_the_same_write_twice_is_the_same_as_once(database: Database, execution: UUID) -> None:
    """A journal whose answer was lost writes again."""
    worker = new_id()
    await write(database, worker, change(execution, 1, claims=True))
    for _ in range(2):
        assert await write(database, worker, change(execution, 1)) == {execution}
    assert await stored(database, execution) == ("running", 1, worker, ['"by epoch 1"'])


@pytest.mark.parametrize("status", ["completed", "failed"])
async def test_an_ended_execution_changes_no_more(database: Database, execution: UUID, status: str) -> None:
    worker = new_id()
    await write(database, worker, change(execution, 1, status, claims=True))
    assert await write(database, worker, change(execution, 1)) == set()
    assert await write(database, new_id(), change(execution, 2, claims=True)) == set()
    assert (await stored(database, execution))[:3] == (status, 1, None)


async def test_another_tenant_s_id_is_not_written(database: Database, execution: UUID) -> None:
    foreign = msgspec.structs.replace(change(execution, 1, claims=True), tenant_id=new_id())
    assert await write(database, new_id(), foreign) == set()
    assert await stored(database, execution) == ("pending", 0, None, [])


async def test_in_one_batch_each_is_judged_by_itself(database: Database, execution: UUID) -> None:
    worker, unknown = new_id(), new_id()
    answer = await write(database, worker, change(execution, 1, claims=True), change(unknown, 1, claims=True))
    assert answer == {execution}
    assert (await stored(database, execution))[0] == "running"
