"""Running again from the action that failed: what was done stays done, and the endpoint knows the call by its key."""

from typing import Any

from libs.common.announce import Announcer
from services.scheduler.jobs import Jobs
from tests.integration.conftest import World
from tests.integration.executor.conftest import Endpoint, Executor, attempts
from tests.integration.executor.test_flow import for_each
from tests.integration.executor.test_runs import call, log
from tests.waiting import until


async def again(world: World, execution_id: str, body: Any = None) -> dict[str, Any]:
    answer = await world.call("POST", f"/executions/{execution_id}/retry", body)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def test_a_retry_repeats_only_what_failed(executor: Executor, endpoint: Endpoint, acme: World) -> None:
    endpoint.script = [200, 500, 200]
    first = await executor.run([call(endpoint, "one"), call(endpoint, "two"), log("end")])
    assert (first["status"], attempts(first)) == ("failed", [("one", 1, "completed"), ("two", 1, "failed")])
    answer = await again(acme, first["id"])
    assert answer["effects_done"] == [{"key": "one", "type": "http_request", "index": 0}]
    second = await executor.seen(answer["execution_id"], "completed")
    assert attempts(second) == [("one", 1, "completed"), ("two", 1, "completed"), ("end", 1, "completed")]
    assert second["retry_of"] == first["id"]
    keys = [headers["Idempotency-Key"] for _, headers, _ in endpoint.requests]
    assert keys == [f"{first['id']}:{key}:0" for key in ("one", "two", "two")]


async def test_a_retry_of_a_retry_is_known_by_the_first_run(
    executor: Executor, endpoint: Endpoint, acme: World
) -> None:
    endpoint.script = [500, 500, 200]
    run = await executor.run([call(endpoint)])
    second = await executor.seen((await again(acme, run["id"]))["execution_id"], "failed")
    third = await executor.seen((await again(acme, second["id"]))["execution_id"], "completed")
    assert third["retry_of"] == second["id"]
    assert {headers["Idempotency-Key"] for _, headers, _ in endpoint.requests} == {f"{run['id']}:call:0"}


async def test_the_input_can_be_edited(executor: Executor, acme: World) -> None:
    run = await executor.run([log("a", "{{ input.n }}"), log("b", "{{ input.name }}")], {"n": 1})
    assert (run["status"], run["error"]["action"]) == ("failed", "b")
    answer = await again(acme, run["id"], {"input": {"n": 2, "name": "Ada"}})
    second = await executor.seen(answer["execution_id"], "completed")
    assert [action["output"]["message"] for action in second["actions"]] == [1, "Ada"]


async def test_a_retry_on_the_latest_version_keeps_what_is_still_there(executor: Executor, acme: World) -> None:
    run = await executor.run([log("a", "old"), log("b", "{{ input.missing }}")])
    mended = {"name": "mended", "actions": [log("a", "new"), log("b", "mended")]}
    assert (await acme.call("PUT", f"/workflows/{run['workflow_id']}", mended)).status_code == 200
    answer = await again(acme, run["id"], {"version": "latest"})
    second = await executor.seen(answer["execution_id"], "completed")
    assert (second["version"], [action["output"]["message"] for action in second["actions"]]) == (2, ["old", "mended"])


async def test_a_loop_goes_on_with_the_items_that_failed(executor: Executor, endpoint: Endpoint, acme: World) -> None:
    endpoint.script = [200, 500, 200, 200]
    run = await executor.run([for_each([1, 2, 3], call(endpoint), key="loop")])
    assert run["status"] == "failed"
    second = await executor.seen((await again(acme, run["id"]))["execution_id"], "completed")
    assert second["actions"][0]["output"]["count"] == 3
    keys = [headers["Idempotency-Key"].rsplit(":", 1)[1] for _, headers, _ in endpoint.requests]
    assert keys == ["0", "1", "1", "2"]


async def test_only_what_ended_badly_is_run_again(executor: Executor, acme: World) -> None:
    done = await executor.run([log("a")])
    assert (await acme.call("POST", f"/executions/{done['id']}/retry")).status_code == 409
    failed = await executor.run([{"key": "f", "type": "fail"}])
    assert (await acme.call("POST", f"/executions/{failed['id']}/retry", slug="other")).status_code == 404
    wrong = await acme.call("POST", f"/executions/{failed['id']}/retry", {"version": "next"})
    assert (wrong.status_code, wrong.json()["errors"][0]["path"]) == (422, "version")


async def test_an_edited_input_has_to_fit_the_schema(executor: Executor, acme: World) -> None:
    schema = {"type": "object", "required": ["n"]}
    run = await executor.run([{"key": "f", "type": "fail"}], {"n": 1}, input_schema=schema)
    wrong = await acme.call("POST", f"/executions/{run['id']}/retry", {"input": {}})
    assert wrong.status_code == 422
    assert await acme.count("executions") == 1


async def worked_off(world: World, job_id: str) -> dict[str, Any]:
    """The job, after a scheduler has had its turns."""
    announcer = Announcer(world.bus)
    while await Jobs(world.parts.database, announcer).work():
        pass
    await announcer.close()
    return (await world.call("GET", f"/jobs/{job_id}")).json()


async def test_many_are_run_again_by_a_job(executor: Executor, endpoint: Endpoint, acme: World) -> None:
    endpoint.script = [500, 500, 500]
    failed = [await executor.run([call(endpoint)]) for _ in range(3)]
    await executor.run([log("fine")])
    answer = await acme.call("POST", "/executions/retry", {"workflow_id": failed[0]["workflow_id"]})
    one = await worked_off(acme, answer.json()["job_id"])
    assert (answer.status_code, one["done"], one["finished_at"] is not None) == (202, 1, True)
    rest = await worked_off(acme, (await acme.call("POST", "/executions/retry", {})).json()["job_id"])
    assert rest["done"] == 3

    async def all_ended() -> bool:
        rows = await acme.fetch("SELECT status FROM executions WHERE retry_of IS NOT NULL")
        return [row["status"] for row in rows] == ["completed"] * 4

    await until(all_ended)
    assert (await acme.call("GET", f"/jobs/{one['id']}", slug="other")).status_code == 404


async def test_many_are_cancelled_by_a_job_of_their_tenant_only(executor: Executor, acme: World) -> None:
    mine = [await executor.begin([log("late", delay_seconds=3600)]) for _ in range(3)]
    for execution_id in mine:
        await executor.seen(execution_id, "waiting")
    theirs = (await acme.call("POST", "/executions/cancel", {}, slug="other")).json()["job_id"]
    assert (await acme.call("GET", f"/jobs/{theirs}")).status_code == 404
    await worked_off(acme, theirs)
    assert (await executor.seen(mine[0], "waiting"))["status"] == "waiting"
    job = await worked_off(acme, (await acme.call("POST", "/executions/cancel", {})).json()["job_id"])
    assert (job["kind"], job["done"], job["passed_over"]) == ("cancel", 3, 0)
    for execution_id in mine:
        await executor.seen(execution_id, "cancelled")
    wrong = await acme.call("POST", "/executions/cancel", {"status": ["completed"]})
    assert wrong.status_code == 422
