"""Several schedulers on one database, and schedulers that die in the middle: each slot becomes one execution."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from libs.common.accept import Acceptor
from libs.common.bus.memory import MemoryBus
from libs.common.clock import SystemClock
from libs.common.db.pool import Connection, Database
from libs.common.errors import Unavailable
from libs.common.parts import Parts
from services.scheduler.app import SchedulerService
from services.scheduler.firing import Firing
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow
from tests.integration.locks import held_up
from tests.integration.scheduler.conftest import drained, every, sweep, woken, work_off
from tests.waiting import until

_NAMES = "SELECT application_name FROM pg_stat_activity WHERE pid = ANY($1::int[]) ORDER BY 1"
_MULTIPLY = """
INSERT INTO triggers (tenant_id, id, workflow_id, key, type, config, enabled, next_run_at)
SELECT tenant_id, gen_random_uuid(), workflow_id, 'more' || n, type, config, enabled, next_run_at
  FROM triggers, generate_series(1, $1::int) n
"""
_TWICE = """
SELECT trigger_id, input->>'scheduled_for' FROM executions GROUP BY 1, 2 HAVING count(*) > 1
"""
_HOLES = """
WITH steps AS (
    SELECT planned_at - lag(planned_at) OVER (PARTITION BY trigger_id ORDER BY planned_at) AS step FROM firings)
SELECT step FROM steps WHERE step <> interval '1 second'
"""


@asynccontextmanager
async def scheduler(world: World, dsn: str, name: str) -> AsyncGenerator[tuple[SchedulerService, MemoryBus]]:
    """A scheduler with a pool and a bus of its own, as in a process of its own; running."""
    database, bus = Database(dsn, size=4, name=name), MemoryBus()
    await database.open()
    await bus.connect()
    parts = Parts(world.parts.settings, SystemClock(), database, bus, world.parts.vault, Acceptor(database, bus))
    service = SchedulerService(parts)
    await service.start()
    yield service, bus
    await service.stop()
    await parts.close()


async def due(world: World, slots_back: int, triggers: int = 1) -> None:
    """Schedules of every second that were last looked at so many seconds ago."""
    await world.made(workflow(triggers=[every(1, catchup_seconds=600)]))
    await world.fetch(
        "UPDATE triggers SET next_run_at = date_trunc('second', now()) - make_interval(secs => $1)", slots_back
    )
    await world.fetch(_MULTIPLY, triggers - 1)


async def test_two_running_schedulers_share_the_schedules_and_fire_each_slot_once(
    acme: World, database_dsn: str, beside: Connection
) -> None:
    """More schedules than one takes at a time: the second takes others while the first is in the middle."""
    await due(acme, 3, triggers=600)
    async with scheduler(acme, database_dsn, "one") as one, scheduler(acme, database_dsn, "two") as two:
        async with beside.transaction():
            await beside.execute("LOCK TABLE firings IN ACCESS EXCLUSIVE MODE")
            names = await beside.fetch(_NAMES, await held_up(beside, 2))
        assert [name for (name,) in names] == ["signalbox-one", "signalbox-two"]

        async def have_caught_up() -> bool:
            return (await beside.fetchval("SELECT count(*) FROM firings")) >= 600 * 5

        await until(have_caught_up)
        for service, _ in (one, two):
            await service.stop()
        runs = {row["id"] for row in await acme.fetch("SELECT id FROM executions")}

        announced: list[set[UUID]] = [set(), set()]

        async def all_are_announced() -> bool:
            for seen, (_, bus) in zip(announced, (one, two), strict=True):
                seen |= {ready.execution_id for ready in await drained(bus)}
            return announced[0] | announced[1] == runs

        await until(all_are_announced)
        assert all(announced), "each has fired something"
    assert await acme.fetch(_TWICE) == []
    assert await acme.fetch(_HOLES) == []
    (fired,) = await acme.fetch("SELECT count(*) AS slots, count(DISTINCT trigger_id) AS triggers FROM firings")
    assert (fired["slots"], fired["triggers"]) == (len(runs), 600)


async def test_a_scheduler_cut_off_in_the_middle_has_done_nothing_and_another_does_it(
    acme: World, database_dsn: str, beside: Connection
) -> None:
    await due(acme, 0)
    first = Database(database_dsn, size=1, name="first")
    await first.open()
    async with beside.transaction():
        await beside.execute(
            "LOCK TABLE executions IN ACCESS EXCLUSIVE MODE"
        )  # the ledger is written, no execution yet
        duty = asyncio.create_task(Firing(first, Acceptor(first, acme.bus)).work())
        (pid,) = await held_up(beside)
        second = await Firing(acme.parts.database, acme.parts.acceptor).work()
        assert second is False, "what the first holds is nobody else's meanwhile"
        await beside.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(Unavailable):
            await duty
        assert await beside.fetchval("SELECT count(*) FROM firings") == 0
    assert await acme.bus.depth() == 0
    await work_off(acme.parts.database, acme.parts.acceptor)
    assert await acme.fetch(_TWICE) == []
    assert await acme.count("firings") == await acme.count("executions") >= 1
    await first.close()


async def test_what_a_scheduler_committed_and_never_announced_is_found_by_the_sweep_of_another(
    acme: World, bus: MemoryBus
) -> None:
    await due(acme, 0)
    dead = MemoryBus()  # never connected: between the commit and the message its process dies
    acceptor = Acceptor(acme.parts.database, dead)
    await work_off(acme.parts.database, acceptor)
    await acceptor.close()
    ids = [row["id"] for row in await acme.fetch("SELECT id FROM executions")]
    await sweep(acme.parts.database, bus)
    assert await woken(bus) == [], "its message may still be under way"
    await acme.fetch("UPDATE executions SET wake_at = wake_at - interval '2 seconds'")
    await sweep(acme.parts.database, bus)
    assert await woken(bus) == sorted((one, 0) for one in ids)
