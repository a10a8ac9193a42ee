"""Dispatch: a tenant has no more on the bus than its window, and the rest goes when there is room, whoever forgets the
counts.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from libs.common.accept import Acceptor
from libs.common.announce import Announcer
from libs.common.bus.memory import MemoryBus
from libs.common.bus.messages import Ready, decode, decode_snapshot
from libs.common.bus.protocol import Delivery
from libs.common.cache.connect import make_outstanding
from libs.common.clock import new_id
from libs.common.db.dispatching import count_outstanding
from libs.common.db.group_commit import RefusedWrite
from libs.common.db.pool import Connection, Database
from libs.common.domain.fairness import PROMPT, Lane
from libs.common.embedded.valkey import EmbeddedValkey
from libs.common.windows import Windows
from services.scheduler.dispatch import Dispatch
from services.scheduler.loop import Loop
from tests.factories import make_tenant, make_workflow, new_execution
from tests.waiting import patience

WINDOW = 40
_END = """
UPDATE executions SET status = 'completed', wake_at = NULL, finished_at = now()
 WHERE id = ANY($1::uuid[]) AND finished_at IS NULL
"""
_OPEN = "SELECT count(*) FROM executions WHERE finished_at IS NULL"


class Installation:
    """A door, a dispatcher, and an executor that ends what it gets when it is told to. Each has its own windows, as in
    processes of their own.
    """

    def __init__(self, database: Database, bus: MemoryBus, redis_url: str, budget: int = 1_000) -> None:
        self.database, self.bus = database, bus
        self._windows = [Windows(database, make_outstanding(redis_url), window=WINDOW, budget=budget) for _ in range(3)]
        self.door = Acceptor(database, bus, self._windows[0])
        self._announcer = Announcer(bus, self._windows[1])
        self._loop = Loop([Dispatch(database, self._windows[1], self._announcer)])
        self.taken: list[Ready] = []
        self.lanes: Counter[str] = Counter()
        self.goes_on = asyncio.Event()
        self.most: Counter[UUID] = Counter()
        self._under_way: Counter[UUID] = Counter()

    async def start(self) -> None:
        await self.bus.consume(self._take("prompt"), 1_000)
        await self.bus.consume(self._take("bulk"), 1_000, bulk=True)
        self._loop.start()

    async def stop(self) -> None:
        self.goes_on.set()
        await self._loop.stop()
        await self.door.close()
        await self._announcer.close()
        for windows in self._windows:
            await windows.close()

    async def drop(self, tenant: UUID, workflow: UUID, number: int) -> list[UUID]:
        """So many executions of the tenant at once."""
        new = [new_execution(tenant, workflow) for _ in range(number)]
        return list(await asyncio.gather(*[self.door.accept(one) for one in new]))

    def _take(self, lane: str) -> Callable[[Delivery], Awaitable[None]]:
        async def take(delivery: Delivery) -> None:
            items = decode(delivery.body).items
            self.taken += items
            self.lanes[lane] += len(items)
            for item in items:
                self._under_way[item.tenant_id] += 1
                self.most[item.tenant_id] = max(self.most[item.tenant_id], self._under_way[item.tenant_id])
            await self.goes_on.wait()
            async with self.database.connection() as connection:
                await connection.execute(_END, [item.execution_id for item in items])
            for item in items:
                self._under_way[item.tenant_id] -= 1
                self._windows[2].ended(item.tenant_id)
            await delivery.ack()

        return take


@asynccontextmanager
async def installed(database: Database, redis_url: str, budget: int = 1_000) -> AsyncGenerator[Installation]:
    bus = MemoryBus()
    await bus.connect()
    made = Installation(database, bus, redis_url, budget)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        await bus.close()


async def somebody(connection: Connection, slug: str, weight: int = 1) -> tuple[UUID, UUID]:
    """A tenant with a workflow."""
    tenant = await make_tenant(connection, slug)
    await connection.execute("UPDATE tenants SET weight = $2 WHERE tenant_id = $1", tenant, weight)
    return tenant, await make_workflow(connection, tenant)


async def until(database: Database, holds: Callable[[Connection], Awaitable[bool]]) -> None:
    """Wait for something that nobody announces: rows."""
    async with patience(), database.connection() as connection:
        while not await holds(connection):  # noqa: ASYNC110 - the database has no event for it
            await asyncio.sleep(0.02)


async def all_ended(connection: Connection) -> bool:
    return await connection.fetchval(_OPEN) == 0


def queue_is(number: int) -> Callable[[Connection], Awaitable[bool]]:
    async def holds(connection: Connection) -> bool:
        text = "SELECT count(*) FROM executions WHERE status = 'pending' AND queue_rank IS NOT NULL"
        return await connection.fetchval(text) == number

    return holds


def has_come(made: Installation, execution_id: UUID) -> Callable[[Connection], Awaitable[bool]]:
    async def holds(_: Connection) -> bool:
        return execution_id in {item.execution_id for item in made.taken}

    return holds


@pytest.mark.parametrize("has_redis", [True, False])
async def test_a_flood_is_held_back_and_runs_to_the_last(database: Database, redis_url: str, has_redis: bool) -> None:
    async with installed(database, redis_url if has_redis else "") as made:
        async with database.connection() as connection:
            noisy, quiet = await somebody(connection, "noisy"), await somebody(connection, "quiet")
        ids = await made.drop(*noisy, 500)
        await until(database, queue_is(500 - WINDOW))
        assert len(made.taken) == WINDOW
        (single,) = await made.drop(*quiet, 1)
        await until(database, has_come(made, single))
        assert made.lanes["prompt"] == 16 + 1, "the few of everybody go ahead"
        made.goes_on.set()
        await until(database, all_ended)
        assert {item.execution_id for item in made.taken} == {*ids, single}
        assert made.most[noisy[0]] <= WINDOW + 64, "its window, and what was not yet known of"
        fresh = [item for item in made.taken if item.snapshot]
        assert len(fresh) == len(made.taken), "nobody has to read a row"
        assert decode_snapshot(fresh[-1].snapshot).trigger_type == "manual"


async def test_who_has_a_backlog_gets_what_is_free_by_weight(database: Database, redis_url: str) -> None:
    async with installed(database, redis_url, budget=60) as made:
        async with database.connection() as connection:
            light, heavy = await somebody(connection, "light"), await somebody(connection, "heavy", 3)
        await made.drop(*light, 200)
        await made.drop(*heavy, 200)
        made.goes_on.set()
        await until(database, all_ended)
        first_half = Counter(item.tenant_id for item in made.taken[80:240])
        assert 2 <= first_half[heavy[0]] / first_half[light[0]] <= 4.5


async def test_redis_killed_emptied_and_restarted_under_load(database: Database, tmp_path: Path) -> None:
    """Nothing is lost, and within ten seconds of its return it says again what PostgreSQL knows."""
    valkey = EmbeddedValkey(tmp_path)
    url = await valkey.start()
    async with installed(database, url) as made:
        async with database.connection() as connection:
            tenant = await somebody(connection, "noisy")
        ids = await made.drop(*tenant, 300)
        await until(database, queue_is(300 - WINDOW))
        await valkey.stop()
        ids += await made.drop(*tenant, 100)
        made.goes_on.set()
        await until(database, all_ended)
        made.goes_on.clear()
        again = EmbeddedValkey(tmp_path)
        assert await again.start() == url
        ids += await made.drop(*tenant, 300)
        counts = make_outstanding(url)

        async def are_right(connection: Connection) -> bool:
            heard, known = await counts.all(), await count_outstanding(connection)
            return heard is not None and known.get(tenant[0], 0) >= WINDOW and dict(heard.of) == known

        await until(database, are_right)
        await counts.set({}, ())
        await until(database, are_right)
        made.goes_on.set()
        await until(database, all_ended)
        assert {item.execution_id for item in made.taken} == set(ids)
        await counts.close()
    await again.stop()


async def test_a_count_that_is_wrong_is_set_right(database: Database, redis_url: str) -> None:
    counts = make_outstanding(redis_url)
    async with installed(database, redis_url) as made:
        async with database.connection() as connection:
            tenant, workflow = await somebody(connection, "noisy")
        await counts.set({tenant: 10_000, new_id(): 5}, ())
        ids = await made.drop(tenant, workflow, 5)
        made.goes_on.set()
        await until(database, all_ended)
        assert {item.execution_id for item in made.taken} == set(ids)
    await counts.close()


async def test_what_could_not_be_stored_takes_up_no_window(database: Database, redis_url: str) -> None:
    bus, windows = MemoryBus(), Windows(database, make_outstanding(redis_url), window=WINDOW, budget=1_000)
    await bus.connect()
    door = Acceptor(database, bus, windows)
    async with database.connection() as connection:
        tenant, workflow = await somebody(connection, "clumsy")
    broken = [new_execution(tenant, workflow, input=b"no json") for _ in range(WINDOW)]
    answers = await asyncio.gather(*[door.accept(one) for one in broken], return_exceptions=True)
    assert {type(answer) for answer in answers} == {RefusedWrite}
    lanes = Counter(windows.place(tenant) for _ in range(WINDOW))
    assert lanes == {Lane.PROMPT: PROMPT, Lane.BULK: WINDOW - PROMPT}
    await door.close()
    await windows.close()
    await bus.close()


async def test_a_steady_load_after_a_burst_is_not_held_back(database: Database, redis_url: str) -> None:
    """It comes while the burst is let go, which it must not keep alive: soon it goes ahead by the prompt lane again,
    by which nothing comes that was held.
    """
    async with installed(database, redis_url) as made:
        async with database.connection() as connection:
            tenant, workflow = await somebody(connection, "bursty")
        await made.drop(tenant, workflow, 10 * WINDOW)
        made.goes_on.set()
        async with asyncio.timeout(20):
            while made.lanes["prompt"] < 16 + 50:
                await made.drop(tenant, workflow, 1)
                await asyncio.sleep(0.005)  # a load is a length of time
        await until(database, all_ended)
