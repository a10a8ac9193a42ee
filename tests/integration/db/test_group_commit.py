"""Group commit: each waiter is answered after its own commit, and one bad item harms nobody else."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from libs.common.db.group_commit import GroupCommit, RefusedWrite
from libs.common.db.pool import Connection, Database
from libs.common.errors import Unavailable
from tests.integration.locks import held_up
from tests.waiting import patience

_WRITE = "INSERT INTO numbers SELECT unnest($1::int[]) RETURNING n * 10 AS n"


class Numbers:
    """Writes numbers into a table that takes none twice and none below zero."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.flushes: list[int] = []
        self.at_once = self.most_at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, batch: Sequence[int]) -> list[int]:
        await self.gate.wait()
        self.flushes.append(len(batch))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            async with self.database.connection() as connection:
                rows = await connection.fetch(_WRITE, batch)
        finally:
            self.at_once -= 1
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
    async with patience():
        assert await commits.submit(7) == 70
    assert numbers.flushes == [1]
    await commits.close()


async def test_one_after_the_other_on_one_lane_each_is_flushed(numbers: Numbers) -> None:
    """The next item comes in the very moment in which the lane of the one before ends."""
    commits = GroupCommit[int, int](numbers.write, lanes=1)
    async with patience():
        assert [await commits.submit(n) for n in range(20)] == [n * 10 for n in range(20)]
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


async def test_a_database_that_goes_away_fails_all_and_stores_nothing(numbers: Numbers, beside: Connection) -> None:
    commits = GroupCommit[int, int](numbers.write)
    async with beside.transaction():
        await beside.execute("LOCK TABLE numbers IN ACCESS EXCLUSIVE MODE")
        waiting = asyncio.ensure_future(commits.submit_all(list(range(60))))
        for pid in await held_up(beside):
            await beside.execute("SELECT pg_terminate_backend($1)", pid)
        answers = await waiting
    assert {type(answer) for answer in answers} == {Unavailable}
    assert await numbers.stored() == []
    assert await commits.submit(61) == 610, "the next one finds it back"
    await commits.close()


async def test_at_most_so_many_flushes_and_so_large_ones(numbers: Numbers) -> None:
    commits = GroupCommit[int, int](numbers.write, max_batch=10, lanes=2)
    answers = await commits.submit_all(list(range(95)))
    assert answers == [n * 10 for n in range(95)]
    assert (max(numbers.flushes), numbers.most_at_once) == (10, 2)
    await commits.close()


async def test_whoever_stops_waiting_harms_nobody(numbers: Numbers) -> None:
    commits = GroupCommit[int, int](numbers.write)
    numbers.gate.clear()
    waiting = [asyncio.ensure_future(commits.submit(n)) for n in range(9)]
    await asyncio.sleep(0)
    waiting.pop(4).cancel()
    numbers.gate.set()
    assert await asyncio.gather(*waiting) == [n * 10 for n in range(9) if n != 4]
    assert await numbers.stored() == list(range(9)), "what was taken is written all the same"
    await commits.close()


async def test_only_what_was_committed_is_observed(numbers: Numbers) -> None:
    seen: list[int] = []
    commits = GroupCommit[int, int](numbers.write, observe=lambda size, _: seen.append(size))
    await commits.submit_all([0, -1, 2])
    assert sum(seen) == 2
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
