"""Waits that end when somebody says something: an event that comes, a decision, in time or not."""

from typing import Any

import pytest

from tests.integration.executor.conftest import Endpoint, Executor, attempts
from tests.integration.executor.test_runs import call, log
from tests.waiting import until


def wait(key: str = "w", **config: Any) -> dict[str, Any]:
    return {"key": key, "type": "wait", "config": config}


def ask(**config: Any) -> dict[str, Any]:
    return wait("ask", approval={"message": "Pay {{ input.amount }}?"}, **config)


async def approval(executor: Executor) -> dict[str, Any]:
    """The one that nobody has decided."""
    found: list[dict[str, Any]] = []

    async def is_there() -> bool:
        found[:] = (await executor.world.call("GET", "/approvals?status=pending")).json()["items"]
        return len(found) == 1

    await until(is_there)
    return found[0]


async def decide(executor: Executor, decision: str, **more: Any) -> None:
    """And what waited for it is put on the bus, that of the heir if an executor was given up."""
    asked = await approval(executor)
    answer = await executor.world.call("POST", f"/approvals/{asked['id']}", {"decision": decision, **more})
    assert answer.status_code == 200, answer.text
    await executor.sweep(executor.others[0] if executor.others else None)


async def test_an_approval_is_asked_for_and_given(executor: Executor) -> None:
    execution_id = await executor.begin([ask(), log("after", "{{ actions.ask.output.comment }}")], {"amount": 7})
    assert (await approval(executor))["message"] == "Pay 7?"
    waiting = await executor.seen(execution_id, "waiting")
    assert (waiting["wake_at"], attempts(waiting)) == (None, [("ask", 1, "waiting")])
    await decide(executor, "approve", comment="go on")
    run = await executor.seen(execution_id, "completed", "failed")
    assert run["actions"][0]["output"]["approved"] is True
    assert run["actions"][1]["output"]["message"] == "go on"


@pytest.mark.parametrize(("on_reject", "status"), [("fail", "failed"), ("continue", "completed")])
async def test_a_no_fails_the_action_or_is_an_output(executor: Executor, on_reject: str, status: str) -> None:
    action = wait("ask", approval={"message": "?", "on_reject": on_reject})
    execution_id = await executor.begin([action])
    await executor.seen(execution_id, "waiting")
    await decide(executor, "reject", comment="too much")
    run = await executor.seen(execution_id, "completed", "failed")
    assert run["status"] == status
    if on_reject == "fail":
        assert (run["error"]["class"], run["error"]["message"]) == ("rejected", "too much")
    else:
        assert run["actions"][0]["output"]["approved"] is False


async def test_an_approval_that_nobody_gives_in_time_fails(executor: Executor) -> None:
    run = await executor.run([ask(timeout_seconds=0.2)], {"amount": 1})
    assert (run["status"], run["error"]["class"]) == ("failed", "timeout")


async def test_who_decides_after_the_run_went_on_is_told_so(executor: Executor) -> None:
    """By the database's clock there is time: the executor's is ahead."""
    executor.world.clock.move(3_600)
    actions = [ask(timeout_seconds=0.5) | {"on_error": "continue"}, wait(seconds=60)]
    execution_id = await executor.begin(actions, {"amount": 1})
    asked = await approval(executor)

    async def has_gone_on() -> bool:
        run = (await executor.world.call("GET", f"/executions/{execution_id}")).json()
        return attempts(run) == [("ask", 1, "failed"), ("w", 1, "waiting")]

    await until(has_gone_on)
    answer = await executor.world.call("POST", f"/approvals/{asked['id']}", {"decision": "approve"})
    assert (answer.status_code, "goes on without it" in answer.json()["detail"]) == (409, True)
    (decided,) = await executor.world.fetch("SELECT decided_at FROM approvals")
    assert decided["decided_at"] is None


async def test_a_wait_of_days_is_due_when_it_is_in_vain(executor: Executor) -> None:
    execution_id = await executor.begin([ask(timeout_seconds=259_200)], {"amount": 1})
    waiting = await executor.seen(execution_id, "waiting")
    (row,) = await executor.world.fetch("SELECT extract(epoch FROM wake_at - now())::int AS left FROM executions")
    assert waiting["wake_at"] is not None
    assert 259_000 < row["left"] <= 259_201


async def test_a_run_that_was_asked_ends_on_another_executor(executors: Executor) -> None:
    """Nothing of the wait is in anybody's memory."""
    first = await executors.start()
    execution_id = await executors.begin([ask(), log("after", "done")], {"amount": 7})
    await executors.seen(execution_id, "waiting")
    await first.stop()
    executors.services.remove(first)
    await executors.start()
    await decide(executors, "approve")
    assert attempts(await executors.seen(execution_id, "completed")) == [
        ("ask", 1, "completed"),
        ("after", 1, "completed"),
    ]


async def test_a_decision_is_heard_while_a_call_is_under_way(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.hold(1)
    beside: dict[str, Any] = ask() | {"needs": []}
    execution_id = await executor.begin(
        [call(endpoint, "slow", needs=[]), beside, log("next", "on") | {"needs": ["ask"]}], {"amount": 1}
    )
    await decide(executor, "approve")

    async def has_gone_on() -> bool:
        run = (await executor.world.call("GET", f"/executions/{execution_id}")).json()
        return ("next", 1, "completed") in attempts(run)

    await until(has_gone_on)
    endpoint.release(1)
    assert (await executor.seen(execution_id, "completed"))["status"] == "completed"


async def test_an_attempt_in_doubt_is_asked_about(executors: Executor, endpoint: Endpoint) -> None:
    first = await executors.start()
    endpoint.hold(1)
    execution_id = await executors.begin([call(endpoint, "pay") | {"on_unknown": "ask"}])
    await endpoint.called(1)
    await executors.give_up(first)
    assert "not known" in (await approval(executors))["message"]
    assert len(endpoint.requests) == 1
    await decide(executors, "approve")
    run = await executors.seen(execution_id, "completed", "failed")
    assert attempts(run) == [("pay", 1, "unknown"), ("pay", 2, "completed")]
    keys = {headers["Idempotency-Key"] for _, headers, _ in endpoint.requests}
    assert (len(endpoint.requests), len(keys)) == (2, 1)


async def test_a_no_to_an_attempt_in_doubt_fails_the_action(executors: Executor, endpoint: Endpoint) -> None:
    first = await executors.start()
    endpoint.hold(1)
    execution_id = await executors.begin([call(endpoint, "pay") | {"on_unknown": "ask"}])
    await endpoint.called(1)
    await executors.give_up(first)
    await decide(executors, "reject")
    run = await executors.seen(execution_id, "failed")
    assert (run["error"]["class"], len(endpoint.requests)) == ("rejected", 1)


async def test_an_event_ends_a_wait_that_it_matches(executor: Executor) -> None:
    match = "{{ event.data.order == input.order }}"
    execution_id = await executor.begin(
        [wait(event="payment.*", match=match), log("after", "{{ actions.w.output.data.amount }}")], {"order": 5}
    )
    await executor.seen(execution_id, "waiting")
    for order in (4, 5):
        answer = await executor.world.call(
            "POST", "/events", {"type": "payment.in", "data": {"order": order, "amount": 9}}
        )
        assert answer.status_code == 202, answer.text
    await executor.sweep()
    run = await executor.seen(execution_id, "completed", "failed")
    assert run["actions"][0]["output"]["data"] == {"order": 5, "amount": 9}
    assert run["actions"][1]["output"]["message"] == 9


async def test_an_event_that_a_run_emits_ends_the_wait_of_another(executor: Executor) -> None:
    execution_id = await executor.begin([wait(event="paid", timeout_seconds=60)])
    await executor.seen(execution_id, "waiting")
    emit = {"key": "emit", "type": "emit_event", "config": {"event": "paid", "data": {"n": "{{ input.n }}"}}}
    run = await executor.run([emit], {"n": 3})
    assert (run["status"], run["actions"][0]["output"]["execution_ids"]) == ("completed", [])
    await executor.sweep()
    assert (await executor.seen(execution_id, "completed"))["actions"][0]["output"]["data"] == {"n": 3}


async def test_an_emitted_event_starts_workflows_up_to_a_depth(executor: Executor) -> None:
    """A workflow whose event starts itself comes to an end."""
    emit = {"key": "emit", "type": "emit_event", "config": {"event": "again"}}
    trigger = {"key": "again", "type": "event", "config": {"event": "again"}}
    await executor.world.made({"name": "loop", "actions": [emit], "triggers": [trigger]})
    await executor.run([emit])

    async def has_ended() -> bool:
        runs = (await executor.world.call("GET", "/executions?trigger_type=event")).json()["items"]
        return len(runs) == 3 and all(run["status"] == "completed" for run in runs)

    await until(has_ended)
    events = (await executor.world.call("GET", "/events")).json()["items"]
    assert len(events) == 4


async def test_a_response_is_kept(executor: Executor) -> None:
    run = await executor.run(
        [{"key": "r", "type": "respond", "config": {"status": 201, "body": {"id": "{{ input.n }}"}}}], {"n": 1}
    )
    assert run["actions"][0]["output"] == {"status": 201, "headers": {}, "body": {"id": 1}}
    run = await executor.run([{"key": "r", "type": "respond", "config": {"status": "{{ input.n }}"}}], {"n": 1})
    assert (run["status"], run["error"]["class"]) == ("failed", "invalid_config")
