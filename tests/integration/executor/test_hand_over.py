"""What becomes of an execution whose executor dies, or is given up while it still works: nothing is done twice that is
known to be done, what is in doubt says so, and whoever was given up changes nothing any more.
"""

import pytest

from tests.integration.conftest import World
from tests.integration.executor.conftest import Endpoint, Executor, attempts
from tests.integration.executor.test_runs import call, log
from tests.waiting import until

_STORED = (
    "SELECT row_to_json(e)::text AS row FROM executions e UNION ALL"
    " SELECT row_to_json(a)::text FROM action_executions a ORDER BY 1"
)


async def stored(world: World) -> list[str]:
    """Everything that is on record of executions."""
    return [row["row"] for row in await world.fetch(_STORED)]


async def test_a_call_that_was_cut_off_is_unknown_and_made_again_with_the_same_key(
    executor: Executor, endpoint: Endpoint, acme: World
) -> None:
    endpoint.hold(1)
    execution_id = await executor.begin([call(endpoint)])
    await endpoint.called(1)
    await executor.give_up(executor.services[0])
    run = await executor.seen(execution_id, "completed")
    assert attempts(run) == [("call", 1, "unknown"), ("call", 2, "completed")]
    doubt, done = run["actions"]
    assert (doubt["error"]["class"], doubt["output"], doubt["input"]) == ("unknown", None, done["input"])
    assert done["started_at"] >= doubt["finished_at"] >= doubt["started_at"]
    assert [headers["Idempotency-Key"] for _, headers, _ in endpoint.requests] == [f"{execution_id}:call:0"] * 2
    (row,) = await acme.fetch("SELECT epoch, worker FROM executions")
    assert (row["epoch"], row["worker"]) == (3, None)


async def test_a_call_that_must_not_be_made_twice_is_not_made_again(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.hold(1)
    execution_id = await executor.begin([call(endpoint, on_unknown="fail"), log("after")])
    await endpoint.called(1)
    await executor.give_up(executor.services[0])
    run = await executor.seen(execution_id, "failed")
    assert attempts(run) == [("call", 1, "unknown"), ("call", 2, "failed")]
    assert (run["error"]["class"], run["error"]["action"], len(endpoint.requests)) == ("unknown", "call", 1)


async def test_what_is_on_record_is_not_done_again_and_is_there_for_what_follows(
    executor: Executor, endpoint: Endpoint
) -> None:
    endpoint.hold(2)
    way = {"cases": [{"if": "{{ input.name == 'Ada' }}", "actions": [call(endpoint, "second")]}]}
    execution_id = await executor.begin(
        [
            {"key": "v", "type": "set_variables", "config": {"values": {"name": "{{ input.name }}"}}},
            call(endpoint, "first"),
            {"key": "way", "type": "branch", "config": way},
            log("end", "{{ vars.name }} {{ actions.first.output.body.n }} {{ actions.second.output.body.n }}"),
        ],
        {"name": "Ada"},
    )
    await endpoint.called(2)
    before = await executor.seen(execution_id, "running")
    await executor.give_up(executor.services[0])
    run = await executor.seen(execution_id, "completed")
    assert attempts(run)[3:] == [("second", 1, "unknown"), ("second", 2, "completed"), ("end", 1, "completed")]
    assert (run["actions"][:3], run["started_at"]) == (before["actions"][:3], before["started_at"])
    assert run["actions"][-1]["output"]["message"] == "Ada 1 3"
    assert len(endpoint.requests) == 3


async def test_a_pause_between_two_attempts_goes_on_elsewhere(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.script = [503]
    retry = {"max_attempts": 2, "backoff": "fixed", "initial_seconds": 1, "jitter": False}
    execution_id = await executor.begin([call(endpoint, retry=retry)])

    async def has_failed_once() -> bool:
        return attempts(await executor.seen(execution_id, "running")) == [("call", 1, "failed")]

    await until(has_failed_once)
    await executor.give_up(executor.services[0])
    run = await executor.seen(execution_id, "completed")
    assert attempts(run) == [("call", 1, "failed"), ("call", 2, "completed")]
    assert run["actions"][1]["started_at"] >= run["actions"][0]["wake_at"]
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize("heir_has_ended", [True, False])
async def test_whoever_was_given_up_changes_nothing_when_its_call_is_answered(
    executor: Executor, endpoint: Endpoint, acme: World, heir_has_ended: bool
) -> None:
    endpoint.hold(1, 2)
    execution_id = await executor.begin([call(endpoint), log("after")])
    await endpoint.called(1)
    await executor.give_up(executor.services[0])
    await endpoint.called(2)
    if heir_has_ended:
        endpoint.release(2)
        await executor.seen(execution_id, "completed")
    before = await stored(acme)
    endpoint.release(1)
    await executor.services.pop(0).stop()
    assert await stored(acme) == before
    endpoint.release(2)
    run = await executor.seen(execution_id, "completed")
    assert attempts(run) == [("call", 1, "unknown"), ("call", 2, "completed"), ("after", 1, "completed")]
    assert run["actions"][1]["output"]["body"] == {"n": 2}
