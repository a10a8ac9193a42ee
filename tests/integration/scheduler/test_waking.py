"""The sweep: what is due, lost or held by the dead comes back on the bus; nothing else does."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from libs.common.accept import Announcer
from libs.common.bus.amqp import AmqpBus
from libs.common.bus.memory import MemoryBus
from libs.common.bus.messages import decode
from libs.common.bus.protocol import Bus, Delivery
from libs.common.clock import new_id
from libs.common.db.workers import beat, retire
from libs.common.errors import Unavailable
from services.scheduler.housekeeping import Housekeeping
from services.scheduler.loop import Loop
from services.scheduler.rescue import Rescue
from services.scheduler.waking import Waking
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow


class Taken:
    """What came over the bus."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[tuple[UUID, int]] = asyncio.Queue()

    async def __call__(self, delivery: Delivery) -> None:
        for ready in decode(delivery.body).items:
            self.items.put_nowait((ready.execution_id, ready.epoch))
        await delivery.ack()

    async def next(self, count: int) -> set[tuple[UUID, int]]:
        async with asyncio.timeout(5):
            return {await self.items.get() for _ in range(count)}


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    made = MemoryBus()
    await made.connect()
    yield made
    await made.close()


async def started(world: World, count: int) -> list[UUID]:
    """Executions that are accepted; their first message is not what these tests look at."""
    made = await world.made(workflow())
    answers = [await world.call("POST", f"/workflows/{made['id']}/execute", {"input": {}}) for _ in range(count)]
    return [UUID(answer.json()["execution_id"]) for answer in answers]


async def sweep(world: World, bus: Bus) -> None:
    announcer = Announcer(bus)
    await Waking(world.parts.database, bus, announcer).work()
    await announcer.close()


async def test_exactly_what_is_due_is_published(acme: World, bus: MemoryBus) -> None:
    lost, waiting, later, fresh = await started(acme, 4)
    await acme.fetch("UPDATE executions SET wake_at = now() - interval '1 second' WHERE id = $1", lost)
    await acme.fetch("UPDATE executions SET status = 'waiting', wake_at = now(), epoch = 3 WHERE id = $1", waiting)
    await acme.fetch("UPDATE executions SET status = 'waiting', wake_at = now() + interval '1 h' WHERE id = $1", later)
    taken = Taken()
    await bus.consume(taken, prefetch=4)
    await sweep(acme, bus)
    assert await taken.next(2) == {(lost, 0), (waiting, 3)}
    await sweep(acme, bus)
    assert taken.items.empty()
    rows = {row["id"]: row["status"] for row in await acme.fetch("SELECT id, status FROM executions")}
    assert rows == {lost: "pending", waiting: "pending", later: "waiting", fresh: "pending"}


async def test_while_the_bus_is_away_nothing_is_woken(acme: World) -> None:
    (lost,) = await started(acme, 1)
    await acme.fetch("UPDATE executions SET wake_at = now() - interval '1 second'")
    await sweep(acme, AmqpBus("amqp://127.0.0.1:9/", "nobody-listens"))
    (row,) = await acme.fetch("SELECT wake_at < now() AS due FROM executions WHERE id = $1", lost)
    assert row["due"]


async def test_only_what_the_dead_hold_is_freed(acme: World) -> None:
    of_dead, of_retired, of_living = await started(acme, 3)
    dead, retired, living = new_id(), new_id(), new_id()
    async with acme.parts.database.connection() as connection:
        for worker in (dead, retired, living):
            await beat(connection, worker, "executor")
        await retire(connection, retired)
    await acme.fetch("UPDATE workers SET beat_at = now() - interval '11 seconds' WHERE id = $1", dead)
    for execution, worker in ((of_dead, dead), (of_retired, retired), (of_living, living)):
        await acme.fetch(
            "UPDATE executions SET status = 'running', wake_at = NULL, epoch = 1, worker = $2 WHERE id = $1",
            execution, worker,
        )  # fmt: skip
    await Rescue(acme.parts.database).work()
    rows = await acme.fetch("SELECT id, status, epoch, worker FROM executions")
    assert {row["id"]: (row["status"], row["epoch"], row["worker"]) for row in rows} == {
        of_dead: ("pending", 2, None), of_retired: ("pending", 2, None), of_living: ("running", 1, living),
    }  # fmt: skip


async def test_housekeeping_makes_the_partitions_of_the_days_to_come(acme: World) -> None:
    acme.clock.move(30 * 86_400)
    await Housekeeping(acme.parts.database, acme.clock).work()
    day = f"{acme.clock.now():%Y%m%d}"
    rows = await acme.fetch("SELECT relname FROM pg_class WHERE relname LIKE '%\\_' || $1", day)
    assert {row["relname"] for row in rows} >= {
        f"{table}_{day}" for table in ("executions", "action_executions", "webhook_logs", "firings")
    }


class Sick:
    """A duty that fails once, and a bell for its next turn."""

    name, least, most = "sick", 0.01, 0.01

    def __init__(self) -> None:
        self.turns = 0
        self.again = asyncio.Event()

    async def work(self) -> bool:
        self.turns += 1
        if self.turns == 1:
            raise Unavailable("The database is away.")
        self.again.set()
        return False


async def test_a_duty_that_fails_is_tried_again_and_stops_no_other() -> None:
    sick, well = Sick(), Sick()
    well.turns = 1
    loop = Loop([sick, well])
    loop.start()
    async with asyncio.timeout(5):
        await well.again.wait()
        await sick.again.wait()
    await loop.stop()
