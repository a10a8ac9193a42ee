"""Runs on a real executor: what every type of action does, and what is on record of it."""

from typing import Any

import pytest

from libs.common.settings import Networks
from tests.integration.conftest import World
from tests.integration.executor.conftest import Endpoint, Executor, attempts


def log(key: str, message: Any = "hello", **more: Any) -> dict[str, Any]:
    return {"key": key, "type": "log", "config": {"message": message}, **more}


def call(endpoint: Endpoint, key: str = "call", **more: Any) -> dict[str, Any]:
    config = {"url": f"{endpoint.url}/hook", "body": {"n": 1}, **more.pop("config", {})}
    return {"key": key, "type": "http_request", "config": config, **more}


async def test_every_action_is_recorded_with_its_rendered_input_and_output(executor: Executor) -> None:
    run = await executor.run(
        [
            {"key": "v", "type": "set_variables", "config": {"values": {"twice": "{{ input.n * 2 }}"}}},
            {
                "key": "b",
                "type": "branch",
                "config": {
                    "cases": [{"if": "{{ vars.twice > 5 }}", "actions": [log("big", "{{ vars.twice }} is big")]}]
                },
            },
            log("never", **{"if": "{{ vars.twice < 0 }}"}),
        ],
        {"n": 4},
        output={"twice": "{{ vars.twice }}"},
    )
    assert (run["status"], run["output"], run["progress"]) == ("completed", {"twice": 8}, 100)
    assert attempts(run) == [
        ("v", 1, "completed"), ("b", 1, "completed"), ("big", 1, "completed"), ("never", 1, "skipped"),
    ]  # fmt: skip
    variables, _, big, never = run["actions"]
    assert (variables["input"], variables["output"]) == ({"values": {"twice": 8}}, {"twice": 8})
    assert (big["input"], big["output"]) == ({"message": "8 is big"}, {"level": "info", "message": "8 is big"})
    assert never["started_at"] is not None


async def test_a_failed_call_is_retried_with_the_same_key(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.script = [503, 200]
    retry = {"max_attempts": 3, "backoff": "fixed", "initial_seconds": 0.05, "jitter": False}
    run = await executor.run([call(endpoint, retry=retry)])
    assert (run["status"], attempts(run)) == ("completed", [("call", 1, "failed"), ("call", 2, "completed")])
    failed, done = run["actions"]
    assert (failed["error"]["class"], failed["error"]["http_status"]) == ("http_status", 503)
    assert (done["output"]["status"], done["output"]["body"]) == (200, {"n": 2})
    keys = {headers["Idempotency-Key"] for _, headers, _ in endpoint.requests}
    assert keys == {f"{run['id']}:call:0"}
    assert all(run["trace_id"] in headers["traceparent"] for _, headers, _ in endpoint.requests)


async def test_an_error_that_will_not_pass_is_not_retried(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.script = [404]
    run = await executor.run([call(endpoint, retry={"max_attempts": 5})])
    assert (run["status"], attempts(run)) == ("failed", [("call", 1, "failed")])
    assert (run["error"]["class"], run["error"]["action"]) == ("http_status", "call")


@pytest.mark.parametrize(
    ("on_error", "status", "keys"),
    [("stop", "failed", ["f"]), ("continue", "completed", ["f", "b", "c"]), ("goto:c", "completed", ["f", "c"])],
)
async def test_on_error_decides_what_follows(executor: Executor, on_error: str, status: str, keys: list[str]) -> None:
    fail = {"key": "f", "type": "fail", "config": {"message": "no {{ input.why }}"}, "on_error": on_error}
    run = await executor.run([fail, log("b"), log("c")], {"why": "reason"})
    assert (run["status"], [key for key, _, _ in attempts(run)]) == (status, keys)
    assert run["actions"][0]["error"]["message"] == "no reason"


async def test_an_action_that_takes_too_long_fails(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.gate.clear()
    run = await executor.run([call(endpoint, timeout_seconds=0.2)])
    assert (run["status"], run["error"]["class"]) == ("failed", "timeout")


async def test_a_template_error_names_the_expression(executor: Executor) -> None:
    run = await executor.run([log("a", "{{ input.missing.deep }}")])
    assert (run["status"], run["error"]["class"]) == ("failed", "template_error")
    assert "input.missing" in run["error"]["expression"]


async def test_a_delay_leaves_the_executor_and_comes_back(executor: Executor, acme: World) -> None:
    execution_id = await executor.begin([log("before"), log("late", delay_seconds=3600), log("after")])
    waiting = await executor.seen(execution_id, "waiting")
    assert waiting["wake_at"] is not None
    assert attempts(waiting) == [("before", 1, "completed"), ("late", 1, "waiting")]
    await acme.fetch("UPDATE executions SET wake_at = now()")
    await acme.fetch("UPDATE action_executions SET wake_at = now() WHERE status = 'waiting'")
    await executor.sweep()
    run = await executor.seen(execution_id, "completed")
    assert attempts(run) == [("before", 1, "completed"), ("late", 1, "completed"), ("after", 1, "completed")]


async def test_private_addresses_are_refused_unless_allowed(acme: World, endpoint: Endpoint) -> None:
    strict = Executor(acme, allowed=Networks())
    service = await strict.start()
    run = await strict.run([call(endpoint)])
    assert (run["status"], run["error"]["class"]) == ("failed", "blocked")
    assert endpoint.requests == []
    await service.stop()


async def test_credentials_of_a_call_are_not_on_record(executor: Executor, endpoint: Endpoint) -> None:
    config = {
        "auth": {"type": "bearer", "token": "s3cret-token-value"},
        "headers": {"X-Api-Key": "s3cret-token-value", "X-Plain": "kept"},
    }
    run = await executor.run([call(endpoint, config=config)])
    (_, headers, _), record = endpoint.requests[0], str(run)
    assert headers["Authorization"] == "Bearer s3cret-token-value"
    assert ("s3cret-token-value" in record, "kept" in record) == (False, True)


async def test_an_output_that_breaks_its_schema_fails_the_run(executor: Executor) -> None:
    run = await executor.run([log("a")], output={"n": "text"}, output_schema={"properties": {"n": {"type": "integer"}}})
    assert (run["status"], run["error"]["class"]) == ("failed", "output_schema")
    assert "output.n" in run["error"]["message"]


async def test_a_workflow_that_takes_too_long_is_timed_out(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.gate.clear()
    run = await executor.run([log("first"), call(endpoint)], timeout_seconds=0.5)
    assert (run["status"], run["error"]["class"]) == ("timed_out", "timeout")
    assert attempts(run) == [("first", 1, "completed"), ("call", 1, "cancelled")]


async def test_a_delay_longer_than_the_workflow_may_take_ends_with_it(executor: Executor) -> None:
    run = await executor.run([log("late", delay_seconds=3600)], timeout_seconds=0.5)
    assert (run["status"], attempts(run)) == ("timed_out", [("late", 1, "cancelled")])


async def test_the_log_tells_what_happened_when(executor: Executor, endpoint: Endpoint, acme: World) -> None:
    endpoint.script = [503]
    retry = {"max_attempts": 2, "backoff": "fixed", "initial_seconds": 0.05, "jitter": False}
    run = await executor.run([call(endpoint, retry=retry), log("no", **{"if": False}), log("yes")])
    lines = (await acme.call("GET", f"/executions/{run['id']}/logs")).json()["items"]
    assert [(line["event"], line["action"], line["attempt"]) for line in lines] == [
        ("accepted", None, None), ("started", None, None),
        ("action.started", "call", 1), ("action.failed", "call", 1),
        ("action.started", "call", 2), ("action.completed", "call", 2),
        ("action.skipped", "no", 1), ("action.started", "yes", 1), ("action.completed", "yes", 1),
        ("completed", None, None),
    ]  # fmt: skip
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    assert "the endpoint answered 503 (http_status)" in lines[3]["message"]
    assert (await acme.call("GET", f"/executions/{run['id']}/logs", slug="other")).status_code == 404
