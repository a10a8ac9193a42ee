"""Rescue: what a dead worker held is free under a new epoch; what a living one holds is not touched."""

from datetime import timedelta
from uuid import UUID

import pytest

from libs.common.bus.memory import MemoryBus
from libs.common.clock import new_id
from libs.common.db.workers import beat, retire
from libs.common.errors import Unavailable
from services.scheduler.rescue import Rescue
from tests.integration.conftest import World
from tests.integration.scheduler.conftest import metric, parked, sweep, woken
from tests.waiting import until


async def worker(world: World, last_beat: timedelta | None) -> UUID:
    """A worker that gave its last sign of life so long ago; None: it has signed off."""
    identifier = new_id()
    async with world.parts.database.connection() as connection:
        await beat(connection, identifier, "executor")
        if last_beat is None:
            await retire(connection, identifier)
    if last_beat is not None:
        await world.fetch("UPDATE workers SET beat_at = now() - $2::interval WHERE id = $1", identifier, last_beat)
    return identifier


async def held(world: World, owner: UUID, count: int = 1, epoch: int = 1) -> list[UUID]:
    """Executions that this worker has under way."""
    ids = await parked(world, count, "pending")
    await world.fetch(
        "UPDATE executions SET status = 'running', wake_at = NULL, epoch = $3, worker = $2 WHERE id = ANY($1)",
        ids, owner, epoch,
    )  # fmt: skip
    return ids


async def state(world: World) -> dict[UUID, tuple[str, int, UUID | None]]:
    rows = await world.fetch("SELECT id, status, epoch, worker FROM executions")
    return {row["id"]: (row["status"], row["epoch"], row["worker"]) for row in rows}


async def test_only_what_the_dead_hold_is_freed(acme: World) -> None:
    dead, gone = await worker(acme, timedelta(seconds=11)), await worker(acme, None)
    living, slow = await worker(acme, timedelta()), await worker(acme, timedelta(seconds=8))
    (of_dead,), (of_gone,) = await held(acme, dead), await held(acme, gone, epoch=4)
    (of_living,), (of_slow,) = await held(acme, living), await held(acme, slow)
    before = metric("sweep_recovered_total")
    for _ in range(2):
        await Rescue(acme.parts.database).work()
    assert await state(acme) == {
        of_dead: ("pending", 2, None), of_gone: ("pending", 5, None),
        of_living: ("running", 1, living), of_slow: ("running", 1, slow),
    }  # fmt: skip
    assert metric("sweep_recovered_total") - before == 2


async def test_who_could_not_say_that_it_lives_keeps_what_it_holds(acme: World) -> None:
    now = 0.0
    rescue = Rescue(acme.parts.database, lambda: now)
    cut_off, dead = await worker(acme, timedelta()), await worker(acme, timedelta(seconds=9))
    gone = await worker(acme, timedelta())
    await rescue.work()
    of_cut_off, of_dead, of_gone = [(await held(acme, one))[0] for one in (cut_off, dead, gone)]
    await acme.fetch("UPDATE workers SET beat_at = beat_at - interval '30 s'")  # in which nobody could write
    now = 30.0
    async with acme.parts.database.connection() as connection:
        await retire(connection, gone)
    await rescue.work()
    assert {id_: one[0] for id_, one in (await state(acme)).items()} == {
        of_gone: "pending", of_dead: "running", of_cut_off: "running",
    }  # fmt: skip
    await acme.fetch("UPDATE workers SET beat_at = beat_at - interval '2 s' WHERE beat_at > '-infinity'")
    now = 32.0
    await rescue.work()
    assert await state(acme) == {
        of_dead: ("pending", 2, None), of_gone: ("pending", 2, None), of_cut_off: ("running", 1, cut_off),
    }  # fmt: skip
    now = 36.5
    await rescue.work()  # it has had three chances
    assert (await state(acme))[of_cut_off] == ("pending", 2, None)


async def test_a_worker_that_wakes_late_keeps_what_it_takes_after_its_beat(acme: World) -> None:
    sleeper = await worker(acme, timedelta(hours=2))
    (before,) = await held(acme, sleeper)
    await Rescue(acme.parts.database).work()
    async with acme.parts.database.connection() as connection:
        await beat(connection, sleeper, "executor")
    (after,) = await held(acme, sleeper)
    await Rescue(acme.parts.database).work()
    assert await state(acme) == {before: ("pending", 2, None), after: ("running", 1, sleeper)}


async def test_what_was_freed_is_published_at_once_even_when_the_bus_holds_a_backlog(
    acme: World, bus: MemoryBus
) -> None:
    freed = await held(acme, await worker(acme, None), count=30)
    await bus.publish([b"backlog"] * 100)
    await Rescue(acme.parts.database).work()
    await sweep(acme.parts.database, bus)
    assert await bus.depth() > 100
    rows = await acme.fetch("SELECT id FROM executions WHERE wake_at > now()")
    assert {row["id"] for row in rows} == set(freed)


async def test_what_was_freed_is_published_under_its_new_epoch(acme: World, bus: MemoryBus) -> None:
    freed = await held(acme, await worker(acme, None), count=3, epoch=6)
    await Rescue(acme.parts.database).work()
    await sweep(acme.parts.database, bus)
    assert await woken(bus) == [(one, 7) for one in freed]


async def test_looks_that_take_long_do_not_keep_it_from_judging(acme: World) -> None:
    now = 0.0
    rescue = Rescue(acme.parts.database, lambda: now)
    await rescue.work()
    gone = await worker(acme, timedelta(seconds=60))
    [execution] = await held(acme, gone)
    now = 7.0
    await rescue.work()
    now = 14.0
    await rescue.work()
    assert (await state(acme))[execution] == ("pending", 2, None)


async def test_who_is_cut_off_in_a_transaction_holds_nothing_for_long(acme: World) -> None:
    async with acme.parts.database.connection() as connection:
        assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "30s"
    with pytest.raises(Unavailable):
        async with acme.parts.database.transaction() as connection:
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = '20ms'")
            left = connection.get_server_pid()

            async def is_gone() -> bool:
                return await acme.fetch("SELECT FROM pg_stat_activity WHERE pid = $1", left) == []

            await until(is_gone)
            await connection.fetchval("SELECT 1")
