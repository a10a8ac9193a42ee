"""Stopping an executor: what runs may finish, the rest is handed back at once, and it is over when it should be."""

import asyncio
from time import perf_counter

from tests.integration.conftest import World
from tests.integration.executor.conftest import Endpoint, Executor, attempts
from tests.integration.executor.test_runs import call, log


async def test_what_runs_may_finish(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.hold(1)
    execution_id = await executor.begin([call(endpoint), log("after")])
    await endpoint.called(1)
    stopping = asyncio.ensure_future(executor.services.pop().stop())
    await asyncio.sleep(0.1)
    assert not stopping.done()
    endpoint.release(1)
    await stopping
    run = await executor.seen(execution_id, "completed")
    assert attempts(run) == [("call", 1, "completed"), ("after", 1, "completed")]


async def test_what_does_not_finish_in_time_is_taken_over_at_once(
    executors: Executor, endpoint: Endpoint, acme: World
) -> None:
    endpoint.hold(1)
    service = await executors.start(drain_seconds=0.2)
    execution_id = await executors.begin([call(endpoint)])
    await endpoint.called(1)
    executors.services.remove(service)
    await service.stop()
    assert attempts(await executors.seen(execution_id, "running")) == [("call", 1, "started")]
    await executors.start()
    await executors.sweep()
    run = await executors.seen(execution_id, "completed")
    assert attempts(run) == [("call", 1, "unknown"), ("call", 2, "completed")]
    assert (await acme.fetch("SELECT epoch FROM executions"))[0]["epoch"] == 3


async def test_a_full_executor_stops_in_time_and_leaves_what_it_has_no_room_for_on_the_bus(
    executors: Executor, endpoint: Endpoint, acme: World
) -> None:
    endpoint.gate.clear()
    service = await executors.start(executor_slots=1, drain_seconds=0.5)
    first = await executors.begin([call(endpoint)])
    await endpoint.called(1)
    second = await executors.begin([log("a")])
    executors.services.remove(service)
    started = perf_counter()
    await service.stop()
    assert perf_counter() - started < 20
    assert (await executors.seen(second, "pending"))["actions"] == []
    endpoint.gate.set()
    await executors.start()
    await executors.seen(second, "completed")
    await executors.sweep()
    await executors.seen(first, "completed")


async def test_an_executor_that_stops_begins_nothing_when_room_comes_free(
    executors: Executor, endpoint: Endpoint, acme: World
) -> None:
    endpoint.gate.clear()
    service = await executors.start(executor_slots=1)
    first = await executors.begin([call(endpoint)])
    await endpoint.called(1)
    second = await executors.begin([call(endpoint, "next")])
    executors.services.remove(service)
    stopping = asyncio.ensure_future(service.stop())
    await asyncio.sleep(0.1)
    endpoint.gate.set()
    await stopping
    await executors.seen(first, "completed")
    assert (await executors.seen(second, "pending"))["actions"] == []
    assert (await acme.bus.depth(), len(endpoint.requests)) == (1, 1)
