"""Executions that executions start: waited for or not, their failures, their end with their parents', and how deep."""

from typing import Any

import pytest

from tests.integration.executor.conftest import Endpoint, Executor, attempts
from tests.integration.executor.test_runs import call, log
from tests.waiting import until


def run_workflow(name: str, key: str = "sub", **config: Any) -> dict[str, Any]:
    return {"key": key, "type": "run_workflow", "config": {"workflow": name, **config}}


async def child(executor: Executor, *actions: dict[str, Any], name: str = "child", **more: Any) -> dict[str, Any]:
    return await executor.world.made({"name": name, "actions": list(actions), **more})


async def children_of(executor: Executor, parent_id: str) -> list[dict[str, Any]]:
    rows = await executor.world.fetch(
        "SELECT id FROM executions WHERE parent_id = $1::text::uuid ORDER BY id", parent_id
    )
    return [(await executor.world.call("GET", f"/executions/{row['id']}")).json() for row in rows]


async def test_a_workflow_runs_another_and_goes_on_with_its_output(executor: Executor) -> None:
    await child(executor, log("greet", "Hello {{ name }}"), output={"said": "{{ actions.greet.output.message }}"})
    run = await executor.run(
        [
            run_workflow("child", input={"name": "{{ input.who }}"}),
            log("after", "{{ actions.sub.output.output.said }}"),
        ],
        {"who": "Ada"},
    )
    assert (run["status"], run["actions"][1]["output"]["message"]) == ("completed", "Hello Ada")
    assert attempts(run) == [("sub", 1, "completed"), ("after", 1, "completed")]
    (made,) = await children_of(executor, run["id"])
    assert (made["status"], made["trigger"]["type"], made["parent_id"]) == ("completed", "workflow", run["id"])
    assert run["actions"][0]["output"]["execution_id"] == made["id"]


async def test_it_may_be_named_by_id_and_not_waited_for(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.gate.clear()
    made = await child(executor, call(endpoint, "slow"))
    run = await executor.run([run_workflow(made["id"], wait=False), log("after", "{{ actions.sub.output.status }}")])
    assert (run["status"], run["actions"][1]["output"]["message"]) == ("completed", "pending")
    endpoint.gate.set()
    (started,) = await children_of(executor, run["id"])
    assert (await executor.seen(started["id"], "completed"))["executed_actions"] == 1


async def test_its_failure_is_the_action_s(executor: Executor) -> None:
    await child(executor, {"key": "no", "type": "fail", "config": {"message": "out of stock"}})
    run = await executor.run([run_workflow("child")])
    assert (run["status"], run["error"]["class"], run["error"]["action"]) == ("failed", "child_failed", "sub")
    assert "out of stock" in run["error"]["message"]


async def test_it_is_run_again_by_a_retry(executor: Executor) -> None:
    await child(executor, {"key": "no", "type": "fail"})
    retry = {"max_attempts": 2, "initial_seconds": 0, "backoff": "fixed", "retry_on": ["child_failed"]}
    run = await executor.run([run_workflow("child") | {"retry": retry}])
    assert attempts(run) == [("sub", 1, "failed"), ("sub", 2, "failed")]
    assert len(await children_of(executor, run["id"])) == 2


@pytest.mark.parametrize(
    ("name", "config", "error_class"),
    [("nobody", {}, "not_found"), ("off", {}, "disabled"), ("strict", {"input": {"n": "one"}}, "invalid_input")],
)
async def test_what_cannot_be_started_fails_the_action(
    executor: Executor, name: str, config: dict[str, Any], error_class: str
) -> None:
    await child(executor, log("a", "x"), name="off", enabled=False)
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    await child(executor, log("a", "x"), name="strict", input_schema=schema)
    run = await executor.run([run_workflow(name, **config)])
    assert (run["status"], run["error"]["class"]) == ("failed", error_class)
    assert await children_of(executor, run["id"]) == []


async def test_a_workflow_that_runs_itself_comes_to_an_end(executor: Executor) -> None:
    run = await executor.run([run_workflow("w0")])
    assert (run["status"], run["error"]["class"]) == ("failed", "child_failed")
    rows = await executor.world.fetch("SELECT status, error::text FROM executions")
    assert len(rows) == 17
    assert {row["status"] for row in rows} == {"failed"}
    assert sum('"too_deep"' in row["error"] for row in rows) == 1


async def test_cancelling_the_parent_cancels_what_it_waits_for(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.gate.clear()
    await child(executor, call(endpoint, "slow"), name="grandchild")
    await child(executor, run_workflow("grandchild"))
    parent = await executor.begin([run_workflow("child")])
    await endpoint.called(1)
    await executor.seen(parent, "waiting")
    assert (await executor.world.call("POST", f"/executions/{parent}/cancel")).status_code == 200
    (middle,) = await children_of(executor, parent)
    (inner,) = await children_of(executor, middle["id"])
    for one in (middle, inner):  # what had not been parked yet hears of it within a second
        assert (await executor.seen(one["id"], "cancelled"))["status"] == "cancelled"


async def test_a_parent_that_is_out_of_time_cancels_what_it_waits_for(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.gate.clear()
    await child(executor, call(endpoint, "slow"))
    parent = await executor.begin([run_workflow("child")], timeout_seconds=0.5)

    async def has_ended() -> bool:
        await executor.sweep()
        return (await executor.world.call("GET", f"/executions/{parent}")).json()["status"] == "timed_out"

    await until(has_ended)
    (made,) = await children_of(executor, parent)
    assert (await executor.seen(made["id"], "cancelled"))["status"] == "cancelled"


async def test_a_wait_for_a_child_may_have_an_end(executor: Executor, endpoint: Endpoint) -> None:
    """The child runs on."""
    endpoint.gate.clear()
    await child(executor, call(endpoint, "slow"))
    run = await executor.run([run_workflow("child", timeout_seconds=0.2)])
    assert (run["status"], run["error"]["class"]) == ("failed", "timeout")


async def test_branches_go_on_while_one_waits_for_a_child(executor: Executor, endpoint: Endpoint) -> None:
    """The parent is never parked: its worker hears of the child's end while a call is under way."""
    endpoint.hold(1)
    await child(executor, log("a", "x"))
    parent = await executor.begin(
        [
            call(endpoint, "slow", needs=[]),
            run_workflow("child") | {"needs": []},
            log("next", "on") | {"needs": ["sub"]},
        ]
    )

    async def has_gone_on() -> bool:
        run = (await executor.world.call("GET", f"/executions/{parent}")).json()
        return ("next", 1, "completed") in attempts(run)

    await until(has_gone_on)
    endpoint.release(1)
    assert (await executor.seen(parent, "completed", "failed"))["status"] == "completed"


async def test_many_children_of_a_loop_end_and_wake_their_parent_once_for_all(executor: Executor) -> None:
    await child(executor, log("a", "{{ n }}"), output="{{ n }}")
    body = run_workflow("child", input={"n": "{{ item }}"})
    loop = {"items": "{{ input.all }}", "actions": [body], "concurrency": 10}
    run = await executor.run([{"key": "loop", "type": "for_each", "config": loop}], {"all": list(range(30))})
    assert run["status"] == "completed"
    assert [one["output"] for one in run["actions"][0]["output"]["results"]] == list(range(30))
    assert len(await children_of(executor, run["id"])) == 30


async def test_what_failed_runs_the_workflow_for_that(executor: Executor) -> None:
    await child(executor, log("why", "{{ error.class }} in {{ workflow.name }}: {{ error.message }}"), name="alarm")
    run = await executor.run([{"key": "no", "type": "fail", "config": {"message": "broken"}}], on_failure="alarm")
    (made,) = await children_of(executor, run["id"])
    alarm = await executor.seen(made["id"], "completed", "failed")
    assert (alarm["status"], alarm["trigger"]["type"]) == ("completed", "failure")
    assert alarm["actions"][0]["output"]["message"] == "failed in alarm: broken"


async def test_what_runs_because_of_a_failure_and_fails_ends_there(executor: Executor) -> None:
    await child(executor, log("x", "y"), name="last")
    await child(executor, {"key": "no", "type": "fail"}, name="alarm", on_failure="last")
    run = await executor.run([{"key": "no", "type": "fail"}], on_failure="alarm")
    (alarm,) = await children_of(executor, run["id"])
    assert (await executor.seen(alarm["id"], "failed"))["status"] == "failed"
    assert await children_of(executor, alarm["id"]) == []


async def test_what_completes_or_is_cancelled_runs_nothing(executor: Executor) -> None:
    await child(executor, log("x", "y"), name="alarm")
    fine = await executor.run([log("a", "b")], on_failure="alarm")
    waiting = await executor.begin([{"key": "w", "type": "wait", "config": {"seconds": 60}}], on_failure="alarm")
    await executor.seen(waiting, "waiting")
    await executor.world.call("POST", f"/executions/{waiting}/cancel")
    assert await children_of(executor, fine["id"]) + await children_of(executor, waiting) == []
