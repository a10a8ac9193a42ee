"""Ends of executions as events: what they say, whom they start and tell, and that nothing goes round."""

from typing import Any

from tests.integration.conftest import World
from tests.integration.executor.conftest import Executor
from tests.integration.gateway.definitions import LOG, workflow
from tests.integration.gateway.test_events import listener
from tests.waiting import until

SLOW = {"key": "slow", "type": "wait", "config": {"event": "never", "timeout_seconds": 600}}
FAIL = {"key": "boom", "type": "fail", "config": {"message": "no good"}}


async def ended(world: World, number: int, executors: Executor | None = None) -> list[dict[str, Any]]:
    """The events, oldest first, once there are so many and every execution has ended. `executors` sweep for it."""

    async def is_quiet() -> bool:
        if executors is not None:
            await executors.sweep()
        (row,) = await world.fetch("SELECT count(*) FILTER (WHERE finished_at IS NULL) AS open FROM executions")
        return row["open"] == 0 and await world.count("events") >= number

    await until(is_quiet)
    listed = (await world.call("GET", "/events")).json()["items"]
    return [(await world.call("GET", f"/events/{one['id']}")).json() for one in reversed(listed)]


async def test_a_completed_execution_starts_who_listens(executors: Executor, acme: World) -> None:
    told = {"type": "{{ event.type }}", "of": "{{ input.execution_id }}", "output": "{{ event.data.output }}"}
    await acme.made({**listener("After", "execution.completed"), "output": told})
    await executors.start()
    first = await executors.run([LOG], name="First", output={"n": 1})
    event, second = await ended(acme, 2)
    (outcome,) = event["outcomes"]
    after = await executors.seen(outcome["execution_id"], "completed")
    assert after["output"] == {"type": "execution.completed", "of": first["id"], "output": {"n": 1}}
    assert (event["source"], event["execution_id"], event["depth"]) == ("execution", first["id"], 1)
    data = event["data"]
    assert (data["status"], data["trigger"], data["workflow_id"]) == ("completed", "manual", first["workflow_id"])
    assert data["duration_seconds"] > 0
    assert [one["outcome"] for one in second["outcomes"]] == ["loop"]


async def test_failed_cancelled_and_timed_out(executors: Executor, acme: World) -> None:
    await acme.made(listener("Handler", "execution.*", conditions=[{"field": "status", "operator": "exists"}]))
    await executors.start()
    await executors.run([FAIL])
    parked = await executors.begin([SLOW])
    await executors.seen(parked, "waiting")
    assert (await acme.call("POST", f"/executions/{parked}/cancel")).status_code in (200, 202)
    late = await executors.begin([{"key": "slow", "type": "wait", "config": {"seconds": 1.5}}], timeout_seconds=0.2)
    await executors.seen(late, "timed_out")
    events = await ended(acme, 6, executors)  # what a cancellation starts is left to the sweep
    raised = {event["type"]: event for event in events if event["outcomes"][0]["outcome"] == "started"}
    assert raised.keys() == {"execution.failed", "execution.cancelled", "execution.timed_out"}
    assert raised["execution.failed"]["data"]["error"] == {"class": "failed", "message": "no good", "action": "boom"}
    assert raised["execution.cancelled"]["data"]["execution_id"] == parked


async def test_who_has_no_such_trigger_pays_and_hears_nothing(executors: Executor, acme: World) -> None:
    await acme.made(listener("Everything", "*"))
    await acme.call("POST", "/workflows", listener("Theirs", "execution.*"), slug="other")
    await executors.start()
    await executors.run([LOG])
    assert await acme.count("events") == 0


async def test_two_that_listen_to_one_another_come_to_an_end(executors: Executor, acme: World) -> None:
    for name in ("Ping", "Pong", "Self"):
        await acme.made(listener(name, "execution.completed"))
    await executors.start()
    await executors.run([LOG], name="First")
    events = await ended(acme, 16)
    # First starts three, each of these the two others, each of those the last one; nothing runs twice in its chain.
    assert (len(events), await acme.count("executions")) == (16, 16)
    outcomes = [one["outcome"] for event in events for one in event["outcomes"]]
    assert (outcomes.count("started"), set(outcomes)) == (15, {"started", "loop"})


async def test_a_run_that_waits_for_an_end_is_told(executors: Executor, acme: World) -> None:
    wait = {"key": "done", "type": "wait", "config": {"event": "execution.completed", "timeout_seconds": 60}}
    await acme.made(listener("Nobody", "execution.failed"))
    await executors.start()
    waiting = await executors.begin([wait], name="Waits", output={"of": "{{ actions.done.output.data.workflow_name }}"})
    await executors.seen(waiting, "waiting")
    await executors.run([LOG], name="Other")
    await executors.sweep()
    assert (await executors.seen(waiting, "completed"))["output"] == {"of": "Other"}


async def test_a_trigger_counts_from_the_next_look(executors: Executor, acme: World) -> None:
    await executors.start(cache_seconds=0.25)
    made = await acme.made(workflow("Runs"))
    await acme.made(listener("Late", "execution.completed"))

    async def is_heard() -> bool:
        await acme.call("POST", f"/workflows/{made['id']}/execute", {"input": {}})
        return await acme.count("events") > 0

    await until(is_heard)
