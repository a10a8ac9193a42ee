"""Group commit: each waiter is answered after its own commit, and one bad item harms nobody else."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from libs.common.db.group_commit import GroupCommit, RefusedWrite
from libs.common.db.pool import Database
from libs.common.errors import Unavailable


class Numbers:
    """Writes numbers into a table that takes none twice and none below zero."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.flushes: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, batch: Sequence[int]) -> list[int]:
        await self.gate.wait()
        self.flushes.append(len(batch))
        async with self.database.connection() as connection:
            rows = await connection.fetch("INSERT INTO numbers SELECT unnest($1::int[]) RETURNING n * 10 AS n", batch)
        return [row["n"] for row in rows]

    async def stored(self) -> list[int]:
        async with self.database.connection() as connection:
            return [row["n"] for row in await connection.fetch("SELECT n FROM numbers ORDER BY n")]


@pytest.fixture
async def numbers(database: Database) -> Numbers:
    async with database.connection() as connection:
        await connection.execute("CREATE TABLE numbers (n int PRIMARY KEY CHECK (n >= 0))")
    return Numbers(database)


async def test_what_comes_during_a_flush_goes_together_in_the_next(numbers: Numbers) -> None:
    commits = GroupCommit[int, int](numbers.write)
    numbers.gate.clear()
    waiting = [asyncio.ensure_future(commits.submit(n)) for n in range(200)]
    await asyncio.sleep(0)
    numbers.gate.set()
    assert await asyncio.gather(*waiting) == [n * 10 for n in range(200)]
    assert len(numbers.flushes) < 10
    await commits.close()


async def test_a_lone_item_does_not_wait_for_company(numbers: Numbers) -> None:
    commits = GroupCommit[int, int](numbers.write)
    async with asyncio.timeout(1):
        assert await commits.submit(7) == 70
    assert numbers.flushes == [1]
    await commits.close()


@pytest.mark.parametrize("bad", [-1, 3])
async def test_an_item_that_the_database_refuses_fails_alone(numbers: Numbers, bad: int) -> None:
    await numbers.write([3])
    commits = GroupCommit[int, int](numbers.write)
    good = [n for n in range(40) if n != 3]
    answers = await commits.submit_all([*good[:17], bad, *good[17:]])
    assert isinstance(answers.pop(17), RefusedWrite)
    assert answers == [n * 10 for n in good]
    assert await numbers.stored() == sorted([*good, 3])
    await commits.close()


async def test_a_database_that_is_away_fails_all_and_nothing_is_stored_twice(numbers: Numbers) -> None:
    async def away(batch: Sequence[int]) -> list[int]:
        raise Unavailable("The database is away.")

    commits = GroupCommit[int, int](away)
    answers = await commits.submit_all([1, 2, 3])
    assert [type(answer) for answer in answers] == [Unavailable] * 3
    assert await numbers.stored() == []
    await commits.close()


async def test_closing_writes_what_was_taken_and_takes_no_more(numbers: Numbers) -> None:
    commits = GroupCommit[int, int](numbers.write)
    waiting = [asyncio.ensure_future(commits.submit(n)) for n in range(50)]
    await asyncio.sleep(0)
    await commits.close()
    assert all(task.done() for task in waiting)
    assert await numbers.stored() == list(range(50))
    with pytest.raises(Unavailable):
        await commits.submit(99)


async def test_an_error_of_the_program_reaches_whoever_waits(numbers: Numbers) -> None:
    async def broken(batch: Sequence[int]) -> list[int]:
        raise asyncpg.UndefinedTableError("no such table")

    commits = GroupCommit[int, int](broken)
    with pytest.raises(asyncpg.UndefinedTableError):
        await commits.submit(1)
    await commits.close()
