"""A running scheduler through bad days: its database stops and starts again, one of its duties is sick."""

import asyncio
from itertools import pairwise

import pytest

from libs.common.db.migrate import migrate
from libs.common.embedded.postgres import EmbeddedPostgres
from libs.common.errors import Unavailable
from services.scheduler.app import SchedulerService
from services.scheduler.loop import Loop
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow
from tests.integration.scheduler.conftest import every
from tests.waiting import patience, until


@pytest.fixture
async def database_dsn(server: EmbeddedPostgres) -> str:
    """The world of these tests lives on that server."""
    dsn = await server.start()
    await migrate(dsn)
    return dsn


async def test_it_goes_on_once_the_database_is_back_and_accounts_for_every_slot(
    acme: World, server: EmbeddedPostgres
) -> None:
    await acme.made(workflow(triggers=[every(1)]))
    service = SchedulerService(acme.service_parts())

    async def has_fired(times: int) -> bool:
        return await acme.count("firings") >= times

    await service.start()
    await until(lambda: has_fired(2))
    assert {name: await check() for name, check in service.checks.items()} == {"database": True, "bus": True}
    for _ in range(2):
        await server.stop()
        assert {name: await check() for name, check in service.checks.items()} == {"database": False, "bus": True}
        await asyncio.sleep(1.2)  # so that a slot passes while every duty fails
        await server.start()
        seen = await acme.count("firings")
        await until(lambda seen=seen: has_fired(seen + 2))
    await service.stop()
    rows = await acme.fetch("SELECT planned_at, execution_id FROM firings ORDER BY planned_at")
    planned = [row["planned_at"] for row in rows]
    assert {(after - before).total_seconds() for before, after in pairwise(planned)} == {1}
    assert {row["execution_id"] for row in rows} == {row["id"] for row in await acme.fetch("SELECT id FROM executions")}


class Sick:
    """A duty that fails in some of its turns, and a bell for each turn."""

    least, most = 0.01, 0.01

    def __init__(self, name: str, *errors: Exception) -> None:
        self.name, self._errors = name, list(errors)
        self.turns: asyncio.Queue[int] = asyncio.Queue()

    async def work(self) -> bool:
        self.turns.put_nowait(1)
        if self._errors:
            raise self._errors.pop(0)
        return False


async def test_a_duty_that_fails_is_tried_again_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.scheduler.loop._FAILED_SECONDS", 0.05)
    away, broken = Sick("away", Unavailable("The database is away.")), Sick("broken", ValueError("a bug"), KeyError())
    well = Sick("well")
    loop = Loop([away, broken, well])
    loop.start()
    async with patience():
        for duty, turns in ((well, 5), (away, 3), (broken, 4)):
            for _ in range(turns):
                await duty.turns.get()
        await loop.stop()


async def test_stopping_ends_the_longest_pause_at_once(acme: World) -> None:
    service = SchedulerService(acme.service_parts())
    await service.start()
    async with asyncio.timeout(20):  # the longest pause is ten minutes
        await service.stop()
