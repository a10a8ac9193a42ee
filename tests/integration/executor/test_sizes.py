"""What the actions of a run may give: each one, and all of them together."""

import pytest

import services.executor.engine as engine
from tests.integration.executor.conftest import Endpoint, Executor
from tests.integration.executor.test_runs import call, log


async def test_an_output_that_is_too_large_fails_its_action(
    executor: Executor, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MAX_OUTPUT_BYTES", 50)
    run = await executor.run([call(endpoint, "a", on_error="continue"), log("after", "{{ actions.a.error.class }}")])
    assert (run["status"], run["actions"][1]["output"]["message"]) == ("completed", "output_too_large")
    assert run["actions"][0]["output"] is None


async def test_a_run_whose_outputs_are_too_large_together_fails(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MAX_RUN_BYTES", 2_000)
    body = [log("say", "{{ item }} " + "x" * 200), {"key": "pause", "type": "wait", "config": {"seconds": 0.01}}]
    loop = {"items": list(range(100)), "actions": body}
    run = await executor.run([{"key": "loop", "type": "for_each", "config": loop}])
    assert (run["status"], run["error"]["class"]) == ("failed", "run_too_large")
    assert {action["status"] for action in run["actions"]} <= {"completed", "cancelled"}
    assert 5 < len([action for action in run["actions"] if action["key"] == "say"]) < 20
