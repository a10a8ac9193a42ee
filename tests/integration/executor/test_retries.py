"""Attempts that fail and are made again: at once, after a pause inside the executor, or parked until their time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.conftest import World
from tests.integration.executor.conftest import Endpoint, Executor, attempts
from tests.integration.executor.test_runs import call, log


def retry(attempts: int = 3, seconds: float = 0.05, **more: Any) -> dict[str, Any]:
    """A policy without chance in it."""
    return {"max_attempts": attempts, "backoff": "fixed", "initial_seconds": seconds, "jitter": False, **more}


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_every_attempt_has_its_record(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.script = [500, 503, 200]
    before = datetime.now(UTC)
    config = {"url": f"{endpoint.url}/{{{{ input.path }}}}", "method": "PUT", "body": {"sum": "{{ input.n + 1 }}"}}
    run = await executor.run([call(endpoint, retry=retry(), config=config)], {"path": "orders", "n": 6})
    assert attempts(run) == [("call", 1, "failed"), ("call", 2, "failed"), ("call", 3, "completed")]
    for record, status in zip(run["actions"], (500, 503, None), strict=True):
        assert (record["input"]["url"], record["input"]["body"]) == (f"{endpoint.url}/orders", {"sum": 7})
        assert (record["output"] is None) is (status is not None)
        assert status is None or record["error"]["http_status"] == status
        assert before <= instant(record["started_at"]) <= instant(record["finished_at"]) <= datetime.now(UTC)
    first, second, third = run["actions"]
    assert first["error"] == {"class": "http_status", "message": "the endpoint answered 500", "http_status": 500}
    for one, following in ((first, second), (second, third)):
        assert instant(following["started_at"]) >= instant(one["wake_at"]) > instant(one["finished_at"])
    assert third["wake_at"] is None
    assert {(path, body) for path, _, body in endpoint.requests} == {("/orders", b'{"sum":7}')}


async def test_when_all_attempts_are_used_up_the_action_fails(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.script = [503] * 9
    run = await executor.run([call(endpoint, retry=retry(2), on_error="continue"), log("after")])
    assert attempts(run) == [("call", 1, "failed"), ("call", 2, "failed"), ("after", 1, "completed")]
    assert (run["status"], run["failed_actions"], run["executed_actions"]) == ("completed", 1, 2)
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize(
    ("statuses", "policy", "tries"),
    [
        ([404, 200], {}, 1), ([429, 200], {}, 2), ([404, 200], {"retry_on": [404]}, 2),
        ([503, 200], {"retry_on": ["timeout"]}, 1), ([400, 502, 200], {"retry_on": ["4xx", "5xx"]}, 3),
    ],
)  # fmt: skip
async def test_the_policy_says_what_is_worth_another_attempt(
    executor: Executor, endpoint: Endpoint, statuses: list[int], policy: dict[str, Any], tries: int
) -> None:
    endpoint.script = statuses[:]
    run = await executor.run([call(endpoint, retry=retry(**policy))])
    assert (len(endpoint.requests), run["status"]) == (tries, "completed" if tries == len(statuses) else "failed")


async def test_an_attempt_that_took_too_long_is_made_again(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.hold(1)
    run = await executor.run([call(endpoint, timeout_seconds=1, retry=retry())])
    assert attempts(run) == [("call", 1, "failed"), ("call", 2, "completed")]
    assert run["actions"][0]["error"]["class"] == "timeout"


@pytest.mark.parametrize(("policy", "header", "seconds"), [
    (retry(seconds=30), "", 30), (retry(seconds=1), "90", 90),
    (retry(seconds=30), "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 30),
])  # fmt: skip
async def test_a_long_pause_leaves_the_executor_and_comes_back(
    executors: Executor, endpoint: Endpoint, acme: World, policy: dict[str, Any], header: str, seconds: int
) -> None:
    await executors.start(executor_slots=1)
    endpoint.script, endpoint.headers = [503], {"Retry-After": header}
    execution_id = await executors.begin([call(endpoint, retry=policy), log("after")])
    parked = await executors.seen(execution_id, "waiting")
    assert attempts(parked) == [("call", 1, "failed")]
    pause = instant(parked["wake_at"]) - instant(parked["actions"][0]["finished_at"])
    assert pause == timedelta(seconds=seconds)
    assert (await acme.fetch("SELECT worker FROM executions"))[0]["worker"] is None
    assert (await executors.run([log("meanwhile")]))["status"] == "completed"
    await executors.sweep()
    assert (await executors.seen(execution_id, "waiting"))["wake_at"] == parked["wake_at"]
    acme.clock.move(seconds)
    await acme.fetch("UPDATE executions SET wake_at = now() WHERE status = 'waiting'")
    await executors.sweep()
    run = await executors.seen(execution_id, "completed")
    assert attempts(run) == [("call", 1, "failed"), ("call", 2, "completed"), ("after", 1, "completed")]
    assert {headers["Idempotency-Key"] for _, headers, _ in endpoint.requests} == {f"{execution_id}:call:0"}


async def test_a_delay_is_kept_once_and_no_attempt_of_its_own(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.script = [503, 200]
    run = await executor.run([call(endpoint, delay_seconds=0.3, retry=retry())])
    assert attempts(run) == [("call", 1, "failed"), ("call", 2, "completed")]
    first, second = run["actions"]
    assert instant(first["started_at"]) - instant(run["started_at"]) >= timedelta(seconds=0.3)
    assert instant(second["started_at"]) - instant(first["finished_at"]) < timedelta(seconds=0.3)
