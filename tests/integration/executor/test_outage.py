"""A PostgreSQL that stops under a working executor: what it knows is written once the server is back, messages wait,
and it can be stopped meanwhile.
"""

import asyncio
from time import perf_counter

import pytest

from libs.common.bus.messages import ReadyBatch, encode
from libs.common.db.migrate import migrate
from libs.common.embedded.postgres import EmbeddedPostgres
from tests.integration.conftest import World
from tests.integration.executor.conftest import Endpoint, Executor, attempts
from tests.integration.executor.test_runs import call, log
from tests.integration.scheduler.conftest import drained


@pytest.fixture
async def database_dsn(server: EmbeddedPostgres) -> str:
    """The world of these tests lives on that server."""
    dsn = await server.start()
    await migrate(dsn)
    return dsn


async def test_what_was_done_meanwhile_is_recorded_and_what_was_announced_is_run(
    executors: Executor, endpoint: Endpoint, acme: World, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.executor.consumer._DATABASE_AWAY_SECONDS", 0.01)
    later = await executors.begin([log("a")])
    announcement = ReadyBatch(items=tuple(await drained(acme.bus)))
    service = await executors.start()
    endpoint.hold(1)
    running = await executors.begin([call(endpoint), call(endpoint, "next"), log("after")])
    await endpoint.called(1)
    await server.stop()
    assert [await check() for check in service.checks.values()] == [False, True]
    await acme.bus.publish([encode(announcement)])
    endpoint.release(1)
    await asyncio.sleep(0.5)  # an outage is a length of time: many more tries than a message may come back
    assert len(endpoint.requests) == 1
    await server.start()
    run = await executors.seen(running, "completed")
    assert attempts(run) == [("call", 1, "completed"), ("next", 1, "completed"), ("after", 1, "completed")]
    assert attempts(await executors.seen(later, "completed")) == [("a", 1, "completed")]
    assert (len(endpoint.requests), await acme.bus.dead_letters()) == (2, 0)


async def test_it_can_be_stopped_meanwhile_and_loses_nothing_but_its_last_word(
    executors: Executor, endpoint: Endpoint, server: EmbeddedPostgres
) -> None:
    endpoint.hold(1)
    service = await executors.start(drain_seconds=0.3)
    execution_id = await executors.begin([call(endpoint)])
    await endpoint.called(1)
    await server.stop()
    endpoint.release(1)
    executors.services.remove(service)
    started = perf_counter()
    await service.stop()
    assert perf_counter() - started < 20
    await server.start()
    await executors.world.fetch("UPDATE workers SET beat_at = '-infinity'")  # nobody could say so: its lease runs out
    await executors.start()
    await executors.sweep()
    run = await executors.seen(execution_id, "completed")
    assert attempts(run) == [("call", 1, "unknown"), ("call", 2, "completed")]
