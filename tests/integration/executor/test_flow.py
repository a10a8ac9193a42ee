"""Graphs on a real executor: branches side by side, loops, waits; cancelling and pausing what runs and what waits."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from services.executor.engine import Engine
from services.executor.held import Control
from tests.integration.conftest import World
from tests.integration.executor.conftest import Endpoint, Executor, attempts
from tests.integration.executor.test_runs import call, log
from tests.waiting import patience


def for_each(items: Any, *actions: dict[str, Any], key: str = "loop", **config: Any) -> dict[str, Any]:
    return {"key": key, "type": "for_each", "config": {"items": items, "actions": list(actions), **config}}


async def test_branches_run_side_by_side_and_are_joined(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.gate.clear()
    execution_id = await executor.begin(
        [call(endpoint, "a", needs=[]), call(endpoint, "b", needs=[]), log("both", needs=["a", "b"])]
    )
    await endpoint.called(2)
    endpoint.gate.set()
    run = await executor.seen(execution_id, "completed")
    assert sorted(attempts(run)) == [("a", 1, "completed"), ("b", 1, "completed"), ("both", 1, "completed")]


async def test_a_loop_records_each_item_and_gives_all_results(executor: Executor) -> None:
    run = await executor.run(
        [
            for_each("{{ input.names }}", log("greet", "{{ index }}: {{ item }}")),
            log("n", "{{ actions.loop.output.count }}"),
        ],
        {"names": ["Ada", "Bob"]},
    )
    assert run["status"] == "completed"
    assert [(a["key"], a["index"], a["status"]) for a in run["actions"]] == [
        ("loop", 0, "completed"), ("greet", 0, "completed"), ("greet", 1, "completed"), ("n", 0, "completed"),
    ]  # fmt: skip
    assert [result["message"] for result in run["actions"][0]["output"]["results"]] == ["0: Ada", "1: Bob"]
    assert run["actions"][3]["output"]["message"] == 2


@pytest.mark.parametrize(("on_error", "status", "greeted"), [("stop", "failed", 1), ("continue", "completed", 2)])
async def test_a_loop_stops_or_goes_on_after_an_item_that_failed(
    executor: Executor, on_error: str, status: str, greeted: int
) -> None:
    body = [
        {"key": "no", "type": "fail", "if": "{{ item == 2 }}", "config": {"message": "two"}},
        log("greet", "{{ item }}"),
    ]
    run = await executor.run([for_each([1, 2, 3], *body, on_error=on_error)])
    done = [a for a in run["actions"] if a["key"] == "greet" and a["status"] == "completed"]
    assert (run["status"], len(done)) == (status, greeted)


async def test_a_thousand_items_go_through_without_blocking_others(executor: Executor) -> None:
    execution_id = await executor.begin([for_each(list(range(1000)), log("l", "{{ item }}"))])
    assert (await executor.run([log("quick")]))["status"] == "completed"
    run = await executor.seen(execution_id, "completed")
    assert (run["executed_actions"], run["total_actions"]) == (1001, 1001)
    assert run["actions"][0]["output"]["count"] == 1000


async def test_a_long_wait_leaves_the_executor(executor: Executor, acme: World) -> None:
    execution_id = await executor.begin([{"key": "w", "type": "wait", "config": {"until": "+3 days"}}, log("after")])
    waiting = await executor.seen(execution_id, "waiting")
    assert (attempts(waiting), waiting["progress"]) == ([("w", 1, "waiting")], 0)
    await acme.fetch("UPDATE executions SET wake_at = now()")
    await acme.fetch("UPDATE action_executions SET wake_at = now()")
    await executor.sweep()
    run = await executor.seen(execution_id, "completed")
    assert attempts(run) == [("w", 1, "completed"), ("after", 1, "completed")]


async def test_a_running_call_is_cancelled_in_its_midst(executor: Executor, endpoint: Endpoint, acme: World) -> None:
    endpoint.gate.clear()
    execution_id = await executor.begin([call(endpoint), log("after")])
    await endpoint.called(1)
    answer = await acme.call("POST", f"/executions/{execution_id}/cancel")
    assert answer.status_code == 200
    run = await executor.seen(execution_id, "cancelled")
    assert attempts(run) == [("call", 1, "cancelled")]
    assert (await acme.call("POST", f"/executions/{execution_id}/cancel")).status_code == 409


async def test_what_waits_is_cancelled_at_once(executor: Executor, acme: World) -> None:
    execution_id = await executor.begin([log("late", delay_seconds=3600)])
    await executor.seen(execution_id, "waiting")
    answer = (await acme.call("POST", f"/executions/{execution_id}/cancel")).json()
    assert (answer["status"], answer["wake_at"]) == ("cancelled", None)
    assert attempts(await executor.seen(execution_id, "cancelled")) == [("late", 1, "cancelled")]


async def test_a_paused_run_ends_its_action_and_goes_on_when_resumed(
    executor: Executor, endpoint: Endpoint, acme: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    control, told = Engine.control, asyncio.Event()

    def control_and_tell(engine: Engine, execution_id: UUID, wish: Control) -> None:
        control(engine, execution_id, wish)
        told.set()

    monkeypatch.setattr(Engine, "control", control_and_tell)
    endpoint.gate.clear()
    execution_id = await executor.begin([call(endpoint), log("after")])
    await endpoint.called(1)
    assert (await acme.call("POST", f"/executions/{execution_id}/pause")).json()["paused"]
    assert (await acme.call("POST", f"/executions/{execution_id}/pause")).status_code == 409
    async with patience():
        await told.wait()
    endpoint.gate.set()
    paused = await executor.seen(execution_id, "waiting")
    assert (attempts(paused), paused["paused"], paused["wake_at"]) == ([("call", 1, "completed")], True, None)
    await executor.sweep()
    assert (await executor.seen(execution_id, "waiting", "completed"))["status"] == "waiting"
    assert (await acme.call("POST", f"/executions/{execution_id}/resume")).status_code == 200
    await executor.sweep()
    assert attempts(await executor.seen(execution_id, "completed")) == [
        ("call", 1, "completed"), ("after", 1, "completed"),
    ]  # fmt: skip
    assert len(endpoint.requests) == 1


async def test_a_delayed_run_can_be_paused_past_its_time(executor: Executor, acme: World) -> None:
    execution_id = await executor.begin([log("late", delay_seconds=3600)])
    await executor.seen(execution_id, "waiting")
    assert (await acme.call("POST", f"/executions/{execution_id}/pause")).json()["status"] == "waiting"
    await acme.fetch("UPDATE action_executions SET wake_at = now()")
    await executor.sweep()
    assert (await executor.seen(execution_id, "waiting"))["paused"]
    await acme.call("POST", f"/executions/{execution_id}/resume")
    await executor.sweep()
    assert (await executor.seen(execution_id, "completed"))["paused"] is False


async def test_what_has_ended_is_neither_paused_nor_resumed(executor: Executor, acme: World) -> None:
    run = await executor.run([log("a")])
    answers = [await acme.call("POST", f"/executions/{run['id']}/{what}") for what in ("pause", "resume", "cancel")]
    assert [answer.status_code for answer in answers] == [409, 409, 409]
    foreign = [await acme.call("POST", f"/executions/{run['id']}/{what}", slug="other") for what in ("pause", "cancel")]
    assert [answer.status_code for answer in foreign] == [404, 404]
