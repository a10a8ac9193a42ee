"""What an executor makes of its messages: copies, batches, garbage, and what refers to nothing."""

from typing import Any

import pytest
from msgspec import structs

from libs.common.bus.memory import MemoryBus
from libs.common.bus.messages import Ready, ReadyBatch, encode
from libs.common.clock import new_id
from tests.integration.conftest import World
from tests.integration.executor.conftest import Endpoint, Executor, announced, attempts
from tests.integration.executor.test_runs import call, log
from tests.integration.scheduler.conftest import drained
from tests.waiting import until


@pytest.fixture
async def bus() -> MemoryBus:
    """A bus beside the world's, on which nothing is announced but by the test."""
    made = MemoryBus()
    await made.connect()
    return made


async def test_a_message_that_comes_twice_runs_once(executor: Executor, endpoint: Endpoint, acme: World) -> None:
    run = await executor.run([call(endpoint)])
    (row,) = await announced(acme)
    await acme.bus.publish([encode(ReadyBatch(items=(row,)))] * 3)
    other = await executor.run([log("later")])
    assert other["status"] == "completed"
    assert (len(endpoint.requests), attempts(run)) == (1, [("call", 1, "completed")])


@pytest.mark.parametrize("carried", [True, False], ids=["with the input", "input in the row"])
@pytest.mark.parametrize("together", [True, False], ids=["in one message", "in several"])
async def test_copies_that_come_at_one_moment_run_once(
    executors: Executor, endpoint: Endpoint, acme: World, bus: MemoryBus, together: bool, carried: bool
) -> None:
    await executors.start(bus)
    first = await executors.begin([call(endpoint), log("after")])
    await bus.publish([encode(ReadyBatch(items=tuple(await drained(acme.bus))))])
    path = f"/workflows/{(await executors.seen(first, 'completed'))['workflow_id']}/execute"
    ids = [(await acme.call("POST", path, {"input": {}})).json()["execution_id"] for _ in range(2)]
    ready = await drained(acme.bus)
    assert all(one.snapshot for one in ready)
    copies = [one if carried else structs.replace(one, snapshot=b"") for one in ready] * 3
    batches = [tuple(copies)] if together else [(copy,) for copy in copies]
    await bus.publish([encode(ReadyBatch(items=batch)) for batch in batches])
    runs = [await executors.seen(one, "completed", "failed") for one in ids]
    assert [attempts(run) for run in runs] == [[("call", 1, "completed"), ("after", 1, "completed")]] * 2
    keys = [headers["Idempotency-Key"] for _, headers, _ in endpoint.requests]
    assert sorted(keys) == sorted(f"{one}:call:0" for one in (first, *ids))
    assert await bus.dead_letters() == 0


async def test_a_copy_that_comes_while_it_runs_changes_nothing(
    executor: Executor, endpoint: Endpoint, acme: World
) -> None:
    endpoint.gate.clear()
    execution_id = await executor.begin([call(endpoint)])
    await endpoint.called(1)
    (ready,) = await announced(acme)
    await acme.bus.publish([encode(ReadyBatch(items=(structs.replace(ready, epoch=epoch),))) for epoch in (0, 1, 2)])
    other = await executor.run([log("meanwhile")])
    endpoint.gate.set()
    assert attempts(await executor.seen(execution_id, "completed")) == [("call", 1, "completed")]
    assert (other["status"], len(endpoint.requests)) == ("completed", 1)


async def test_what_nobody_can_read_goes_to_the_dead_letters_and_stops_nothing(executor: Executor, acme: World) -> None:
    await acme.bus.publish([b"not a message", b""])
    assert (await executor.run([log("a")]))["status"] == "completed"
    assert await acme.bus.dead_letters() == 2


async def test_a_message_with_a_broken_part_is_given_up_and_the_sweep_finds_its_executions(
    executors: Executor, acme: World, bus: MemoryBus
) -> None:
    execution_id = await executors.begin([log("a")])
    (ready,) = await announced(acme)
    broken = structs.replace(ready, snapshot=b"\xc1 no snapshot")
    await executors.start(bus)
    await bus.publish([encode(ReadyBatch(items=(broken,)))])

    async def is_given_up() -> bool:
        return await bus.dead_letters() == 1

    await until(is_given_up)
    await acme.fetch("UPDATE executions SET wake_at = now()")
    await executors.sweep(bus)
    assert (await executors.seen(execution_id, "completed"))["status"] == "completed"


async def test_executions_that_are_gone_are_passed_over(executor: Executor, acme: World) -> None:
    run = await executor.run([log("a")])
    (known,) = await announced(acme)
    ghosts = [
        Ready(new_id(), new_id(), 4, new_id(), 1),
        Ready(known.tenant_id, new_id(), 0, known.workflow_id, 1),
        Ready(new_id(), known.execution_id, 0, known.workflow_id, 1),
    ]
    await acme.bus.publish([encode(ReadyBatch(items=tuple(ghosts)))])
    assert (await executor.run([log("a")]))["status"] == "completed"
    assert (await acme.bus.depth(), await acme.bus.dead_letters()) == (0, 0)
    assert attempts(await executor.seen(run["id"], "completed")) == [("a", 1, "completed")]


async def test_an_execution_of_a_version_that_is_gone_ends_as_failed(
    executors: Executor, acme: World, bus: MemoryBus
) -> None:
    execution_id = await executors.begin([log("a")])
    (ready,) = await announced(acme)
    await executors.start(bus)
    await bus.publish([encode(ReadyBatch(items=(structs.replace(ready, version=7),)))])
    run = await executors.seen(execution_id, "failed")
    assert (run["error"]["class"], run["actions"]) == ("internal", [])


async def test_more_versions_than_are_kept_in_memory_run_all_the_same(
    executors: Executor, acme: World, bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.executor.programs._KEEP", 2)
    ids = [await executors.begin([log("a", f"workflow {number}")]) for number in range(5)]
    ready = await announced(acme)
    await executors.start(bus)
    await bus.publish([encode(ReadyBatch(items=tuple(ready[:3]))), encode(ReadyBatch(items=tuple(ready)))])
    runs = [await executors.seen(one, "completed", "failed") for one in ids]
    messages: list[Any] = [run["actions"][0]["output"]["message"] for run in runs if run["actions"]]
    assert messages == [f"workflow {number}" for number in range(5)]


@pytest.mark.parametrize("size", [100, 100_000])
async def test_an_input_comes_whole_whether_it_travels_with_the_message_or_not(executor: Executor, size: int) -> None:
    run = await executor.run([log("a", "{{ size(input.text) }}")], {"text": "é" * size})
    assert run["actions"][0]["output"]["message"] == size
