"""Workflows with a concurrency limit, on a real executor: who runs, who queues and for whom, who is not run."""

from typing import Any

from tests.integration.executor.conftest import Endpoint, Executor
from tests.integration.executor.test_runs import call, log
from tests.waiting import until


async def limited(executor: Executor, actions: list[dict[str, Any]], **concurrency: Any) -> str:
    made = await executor.world.made({"name": "limited", "actions": actions, "concurrency": concurrency})
    return made["id"]


async def execute(executor: Executor, workflow_id: str, **data: Any) -> str:
    answer = await executor.world.call("POST", f"/workflows/{workflow_id}/execute", {"input": data})
    assert answer.status_code == 202, answer.text
    return answer.json()["execution_id"]


async def test_one_queues_until_the_one_before_has_ended(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.gate.clear()
    workflow = await limited(executor, [call(endpoint, "a")], key="{{ input.customer }}")
    first = await execute(executor, workflow, customer="Ada")
    await endpoint.called(1)
    second, other = await execute(executor, workflow, customer="Ada"), await execute(executor, workflow, customer="Bob")
    await endpoint.called(2)
    queued = await executor.seen(second, "waiting")
    assert queued["waiting_for"]["concurrency"] == {"key": "Ada", "limit": 1, "place": 1, "held_by": [first]}
    endpoint.gate.set()
    for execution_id in (first, second, other):
        assert (await executor.seen(execution_id, "completed", "failed"))["status"] == "completed"
    assert await executor.world.fetch("SELECT FROM concurrency_slots") == []


async def test_a_long_queue_is_worked_off_in_its_order(executor: Executor) -> None:
    workflow = await limited(executor, [log("n", "{{ input.n }}")], limit=2)
    begun = [await execute(executor, workflow, n=n) for n in range(25)]
    for execution_id in begun:
        assert (await executor.seen(execution_id, "completed", "failed"))["status"] == "completed"


async def test_one_is_skipped(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.gate.clear()
    workflow = await limited(executor, [call(endpoint, "a")], policy="skip")
    first = await execute(executor, workflow)
    await endpoint.called(1)
    second = await executor.seen(await execute(executor, workflow), "cancelled")
    assert (second["error"]["class"], second["actions"]) == ("concurrency_skipped", [])
    assert first in second["error"]["message"]
    endpoint.gate.set()
    assert (await executor.seen(first, "completed"))["status"] == "completed"


async def test_the_newest_takes_the_place_of_one_that_runs(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.hold(1)
    workflow = await limited(executor, [call(endpoint, "a")], policy="cancel_running")
    first = await execute(executor, workflow)
    await endpoint.called(1)
    second = await execute(executor, workflow)
    assert (await executor.seen(first, "cancelled"))["status"] == "cancelled"
    assert (await executor.seen(second, "completed"))["status"] == "completed"


async def test_a_place_is_kept_over_a_wait_and_given_back_by_cancelling(executor: Executor) -> None:
    workflow = await limited(executor, [{"key": "w", "type": "wait", "config": {"seconds": 600}}])
    first = await execute(executor, workflow)
    await executor.seen(first, "waiting")
    second = await execute(executor, workflow)
    assert (await executor.seen(second, "waiting"))["waiting_for"]["concurrency"]["held_by"] == [first]
    await executor.world.call("POST", f"/executions/{first}/cancel")
    await executor.sweep()

    async def has_begun() -> bool:
        run = (await executor.world.call("GET", f"/executions/{second}")).json()
        return run["status"] == "waiting" and run["waiting_for"] is None and len(run["actions"]) == 1

    await until(has_begun)


async def test_one_that_queues_is_out_of_time(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.gate.clear()
    made = await executor.world.made(
        {"name": "brief", "actions": [call(endpoint, "a")], "concurrency": {}, "timeout_seconds": 3}
    )
    await execute(executor, made["id"])
    await endpoint.called(1)
    second = await execute(executor, made["id"])

    async def has_ended() -> bool:
        await executor.sweep()
        return (await executor.world.call("GET", f"/executions/{second}")).json()["status"] == "timed_out"

    await until(has_ended)


async def test_a_key_that_cannot_be_said_fails_the_run(executor: Executor) -> None:
    workflow = await limited(executor, [log("a", "b")], key="{{ input.nobody }}")
    run = await executor.seen(await execute(executor, workflow), "failed")
    assert (run["error"]["class"], run["actions"]) == ("template_error", [])
