"""Bulk that is begun in pieces because another tenant is about: each execution runs once, and none is left behind."""

from typing import Any

import pytest

from libs.common.bus.memory import MemoryBus
from libs.common.bus.messages import Ready, ReadyBatch, encode
from libs.common.clock import new_id
from tests.integration.conftest import World
from tests.integration.executor.conftest import Endpoint, Executor
from tests.integration.executor.test_runs import call, log
from tests.integration.scheduler.conftest import drained
from tests.waiting import until

MANY = 27
_ENDED = "SELECT count(*) AS number FROM executions WHERE status = 'completed'"


@pytest.fixture
async def bus() -> MemoryBus:
    """A bus beside the world's, on which nothing is announced but by the test."""
    made = MemoryBus()
    await made.connect()
    return made


async def somebody_else(bus: MemoryBus) -> None:
    """Another tenant is about: something of it comes, though nothing is known of it."""
    other = Ready(new_id(), new_id(), 0, new_id(), 1)
    await bus.publish([encode(ReadyBatch(items=(other,)))])


async def begun(executors: Executor, acme: World, actions: list[dict[str, Any]]) -> list[Ready]:
    """So many executions of one workflow, as messages say that they are ready."""
    first = await executors.begin(actions)
    (row,) = await acme.fetch("SELECT workflow_id FROM executions WHERE id = $1", first)
    for _ in range(MANY - 1):
        await acme.call("POST", f"/workflows/{row['workflow_id']}/execute", {"input": {}})
    return await drained(acme.bus)


async def all_completed(acme: World) -> None:
    async def are_completed() -> bool:
        return (await acme.fetch(_ENDED))[0]["number"] == MANY

    await until(are_completed)


async def test_each_runs_once_also_when_the_message_comes_again(
    executors: Executor, endpoint: Endpoint, acme: World, bus: MemoryBus
) -> None:
    await executors.start(bus)
    items = await begun(executors, acme, [call(endpoint), log("after")])
    await somebody_else(bus)
    body = encode(ReadyBatch(items=tuple(items)))
    await bus.publish([encode(ReadyBatch(items=tuple(items[:1]))), body, body], bulk=True)
    await all_completed(acme)
    keys = [headers["Idempotency-Key"] for _, headers, _ in endpoint.requests]
    assert sorted(keys) == sorted(f"{item.execution_id}:call:0" for item in items)
    assert await bus.dead_letters() == 0


async def test_an_executor_that_stops_in_between_leaves_the_rest_to_another(
    executors: Executor, endpoint: Endpoint, acme: World, bus: MemoryBus
) -> None:
    first = await executors.start(bus, executor_slots=4, drain_seconds=0.2)
    items = await begun(executors, acme, [call(endpoint)])
    await somebody_else(bus)
    endpoint.gate.clear()
    await bus.publish([encode(ReadyBatch(items=tuple(items)))], bulk=True)
    await endpoint.called(4)
    assert len(endpoint.requests) < MANY, "it has no room for all of them"
    await first.stop()
    executors.services.remove(first)
    endpoint.gate.set()
    await executors.start(bus)
    await executors.sweep(bus)
    await all_completed(acme)


async def test_what_is_prompt_does_not_wait_for_bulk(
    executors: Executor, endpoint: Endpoint, acme: World, bus: MemoryBus
) -> None:
    """Bulk leaves room, however much of it there is."""
    await executors.start(bus, executor_slots=32)
    items = await begun(executors, acme, [call(endpoint)])
    await somebody_else(bus)
    endpoint.gate.clear()
    many, late, last = items[:24], items[24:-1], items[-1]
    await bus.publish([encode(ReadyBatch(items=tuple(many)))], bulk=True)
    await endpoint.called(24)
    await bus.publish([encode(ReadyBatch(items=tuple(late)))], bulk=True)
    await bus.publish([encode(ReadyBatch(items=(last,)))])
    await endpoint.called(25)
    assert endpoint.requests[-1][1]["Idempotency-Key"] == f"{last.execution_id}:call:0"
    endpoint.gate.set()
    await all_completed(acme)
