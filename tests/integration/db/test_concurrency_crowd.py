"""Many connections that enter, park, end, cancel and wake at random: no deadlock, never more than the limit, and all
come to their end without the scheduler's net, so that no wake-up is lost.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import msgspec
import pytest

from libs.common.db.concurrency import Entry, enter
from libs.common.db.controlling import cancel_executions
from libs.common.db.executions import ExecutionChange, wake_due_executions
from libs.common.db.pool import Connection, Database
from tests.integration.db.slot_users import TENANT, WORKFLOW, accepted, change_of, entry, slots, write

EXECUTIONS, WORKERS, KEYS, LIMIT = 90, 6, 3, 2
STATUS = {"held": "running", "queued": "waiting", "skipped": "cancelled"}
_OPEN = "SELECT count(*) FROM executions WHERE workflow_id = $1 AND finished_at IS NULL"
_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


class Crowd:
    """Executors, a scheduler and somebody who cancels, each on a connection of its own."""

    def __init__(self, database: Database, ids: Sequence[UUID], chance: random.Random) -> None:
        self.database, self.ids, self.chance = database, ids, chance
        self.ready: asyncio.Queue[UUID | None] = asyncio.Queue()
        self.entries = {one: self.draw(one) for one in ids}
        self.running: Counter[str] = Counter()

    def draw(self, one: UUID) -> Entry:
        policy = self.chance.choice(["queue"] * 6 + ["skip", "cancel_running"])
        return entry(one, key=str(self.chance.randrange(KEYS)), limit=LIMIT, policy=policy)

    async def run(self) -> None:
        for one in self.chance.sample(self.ids, len(self.ids)):
            self.ready.put_nowait(one)
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self.work())
            group.create_task(self.wake())

    async def work(self) -> None:
        """As an executor: what it takes enters; its flushes hold ends, claims and parkings of several executions."""
        under_way: list[ExecutionChange] = []
        async with self.database.connection() as connection:
            while (first := await self.ready.get()) is not None:
                batch = [first]
                while len(batch) < 4 and not self.ready.empty() and (one := self.ready.get_nowait()) is not None:
                    batch.append(one)
                begun = await self.begin(connection, batch)
                ending = under_way if self.ready.empty() else [one for one in under_way if self.chance.random() < 0.5]
                under_way = [one for one in under_way if one not in ending]
                under_way += await self.flush(connection, begun, ending)
                while under_way and self.ready.empty():
                    await self.flush(connection, [], under_way)
                    under_way = []

    async def begin(self, connection: Connection, batch: Sequence[UUID]) -> list[ExecutionChange]:
        told = await enter(connection, [self.entries[one] for one in batch])
        return [await change_of(connection, one.execution_id, STATUS[one.answer]) for one in told]

    async def flush(
        self, connection: Connection, begun: Sequence[ExecutionChange], ending: Sequence[ExecutionChange]
    ) -> list[ExecutionChange]:
        """Returns what runs now. Who ends counts no more from before the write: another may begin in that moment."""
        for one in ending:
            self.running[self.entries[one.id].key] -= 1
        ends = [await change_of(connection, one.id, "completed") for one in ending]
        written = await write(connection, [*begun, *ends])
        assert {one.id for one in ending} <= written
        started = [one for one in begun if one.id in written and one.status == "running"]
        for one in started:
            key = self.entries[one.id].key
            self.running[key] += 1
            assert self.running[key] <= LIMIT
        return [msgspec.structs.replace(one, claims=False) for one in started]

    async def wake(self) -> None:
        """As the scheduler, and as somebody who cancels some, until every execution has ended."""
        unwanted = self.chance.sample(self.ids, 20)
        async with self.database.connection() as connection:
            while await connection.fetchval(_OPEN, WORKFLOW):
                for one in await wake_due_executions(connection, 100, 1e6):
                    self.ready.put_nowait(one.id)
                if unwanted:
                    await cancel_executions(connection, TENANT, [unwanted.pop(), unwanted.pop()])
                await asyncio.sleep(0.005)
        for _ in range(WORKERS * 5):
            self.ready.put_nowait(None)


@pytest.mark.parametrize("seed", range(5))
async def test_a_crowd_comes_to_its_end(database: Database, seed: int) -> None:
    async with database.connection() as connection:
        ids = await accepted(connection, EXECUTIONS)
    await Crowd(database, ids, random.Random(seed)).run()
    async with database.connection() as connection:
        assert await slots(connection) == {}
        assert await connection.fetchval(_DEADLOCKS) == 0
