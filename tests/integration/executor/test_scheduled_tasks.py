"""Scheduled tasks of every type, run to their output by an executor, by hand and by the clock."""

from datetime import datetime
from typing import Any

import msgspec

from services.scheduler.firing import Firing
from tests.integration.actions.mail_server import serving_mail
from tests.integration.executor.conftest import Endpoint, Executor, attempts
from tests.integration.gateway.definitions import workflow
from tests.waiting import until

ENDS = ("completed", "failed", "cancelled", "timed_out")
GREET = {"key": "say", "type": "log", "config": {"message": "{{ input.name }}"}}


async def stored(executor: Executor, type_name: str, config: dict[str, Any], **more: Any) -> str:
    """The path of a new task."""
    schedule = {"type": "interval", "hours": 1}
    draft = {"name": f"A {type_name}", "type": type_name, "schedule": schedule, "config": config, **more}
    answer = await executor.world.call("POST", "/scheduled-tasks", draft)
    assert answer.status_code == 201, answer.text
    return f"/scheduled-tasks/{answer.json()['id']}"


async def ran(executor: Executor, path: str, **given: Any) -> dict[str, Any]:
    """The task was run by hand: its execution, and what the task's own list says of it is the same."""
    answer = await executor.world.call("POST", f"{path}/run", {"input": given} if given else None)
    assert answer.status_code == 202, answer.text
    run = await executor.seen(answer.json()["execution_id"], *ENDS)
    newest = (await executor.world.call("GET", f"{path}/executions?limit=1")).json()["items"][0]
    assert newest == {name: run[name] for name in newest}
    assert newest["duration_ms"] is not None
    return run


async def test_a_workflow_is_run_and_its_output_is_the_task_s(executor: Executor) -> None:
    child = await executor.world.made(workflow("Greet", actions=[GREET], output="{{ actions.say.output.message }}"))
    path = await stored(executor, "workflow", {"workflow": "Greet", "input": {"name": "{{ input.scheduled_for }}"}})
    run = await ran(executor, path)
    told = run["output"]
    assert (run["status"], told["status"], run["input"]["scheduled_for"]) == ("completed", "completed", told["output"])
    made = (await executor.world.call("GET", f"/executions/{told['execution_id']}")).json()
    assert (made["workflow_id"], made["parent_id"]) == (child["id"], run["id"])


async def test_a_workflow_that_fails_is_run_again_as_often_as_said(executor: Executor) -> None:
    await executor.world.made(workflow("Sad", actions=[{"key": "no", "type": "fail"}]))
    run = await ran(executor, await stored(executor, "workflow", {"workflow": "Sad"}, max_retries=1))
    assert (run["status"], run["error"]["class"]) == ("failed", "child_failed")
    assert attempts(run) == [("run", 1, "failed"), ("run", 2, "failed")]
    assert await executor.world.count("executions") == 3


async def test_an_action_is_done_without_a_workflow_and_tried_again(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.script = [400, 500]
    config = {"type": "http_request", "config": {"url": f"{endpoint.url}/sync?for={{{{ input.who }}}}"}}
    run = await ran(executor, await stored(executor, "action", config, max_retries=2), who="ada")
    assert (run["status"], run["output"]["body"]) == ("completed", {"n": 3})
    assert attempts(run) == [("action", 1, "failed"), ("action", 2, "failed"), ("action", 3, "completed")]
    assert {path for path, _, _ in endpoint.requests} == {"/sync?for=ada"}
    endpoint.script = [400]
    assert (await ran(executor, await stored(executor, "action", config, name="Once"), who="ada"))["status"] == "failed"


async def test_a_report_is_posted_and_counts_what_was(executor: Executor, endpoint: Endpoint) -> None:
    await executor.run([GREET], {"name": "ada"})
    await executor.run([{"key": "no", "type": "fail"}])
    path = await stored(
        executor, "report", {"period_days": 1, "deliver": {"type": "http_request", "config": {"url": endpoint.url}}}
    )
    run = await ran(executor, path)
    assert run["status"] == "completed", run["error"]
    report = run["output"]
    assert msgspec.json.decode(endpoint.requests[0][2]) == report
    counted = report["executions"]
    assert (counted["total"], counted["completed"], counted["failed"], counted["unfinished"]) == (3, 1, 1, 1)
    assert counted["duration_ms"]["max"] >= counted["duration_ms"]["p50"] >= 0
    assert {(one["name"], one["completed"], one["failed"]) for one in report["workflows"]} == {
        ("w0", 1, 0), ("w1", 0, 1), ("A report", 0, 0),
    }  # fmt: skip
    assert (report["firings"], report["webhook_calls"]) == ({"fired": 1}, {})
    period = datetime.fromisoformat(report["to"]) - datetime.fromisoformat(report["from"])
    assert period.days == 1
    assert "Executions: 3 (1 completed, 1 failed, 1 not finished)" in report["text"]


async def test_a_report_is_mailed_and_given_as_a_notification(executor: Executor) -> None:
    async with serving_mail() as box:
        server = {"host": "127.0.0.1", "port": box.port, "security": "none"}
        mail = {"to": "ada@example.com", "from": "box@example.com", "server": server}
        path = await stored(executor, "report", {"deliver": {"type": "send_email", "config": mail}}, name="Weekly")
        run = await ran(executor, path)
        message = box.the_mail().message
    assert (run["status"], str(message["Subject"])) == ("completed", "Weekly")
    assert message.get_content().splitlines() == run["output"]["text"].splitlines()
    path = await stored(
        executor, "report", {"deliver": {"type": "send_notification", "config": {"user": "ada"}}}, name="For Ada"
    )
    run = await ran(executor, path)
    (told,) = (await executor.world.call("GET", "/notifications")).json()["items"]
    assert (told["title"], told["message"], told["user"]) == ("For Ada", run["output"]["text"], "ada")
    silent = await ran(executor, await stored(executor, "report", {}, name="Kept"))
    assert (attempts(silent), silent["output"]["executions"]["total"]) == ([("report", 1, "completed")], 3)


async def test_a_clean_up_deletes_what_has_ended_long_ago(executor: Executor) -> None:
    old = await executor.run([GREET], {"name": "ada"})
    waiting = await executor.begin([{"key": "wait", "type": "wait", "config": {"approval": {"message": "?"}}}])
    await executor.seen(waiting, "waiting")
    assert (await executor.world.call("POST", "/events", {"type": "deal.won", "data": {}})).status_code == 202
    executor.world.clock.move(2 * 86_400)
    young = await executor.run([GREET], {"name": "bob"})
    run = await ran(executor, await stored(executor, "cleanup", {"older_than_days": 1}))
    assert run["status"] == "completed", run["error"]
    expected = {"executions": 1, "webhook_calls": 0, "events": 1, "notifications": 0, "complete": True}
    assert {name: run["output"][name] for name in expected} == expected
    assert (await executor.world.call("GET", f"/executions/{old['id']}")).status_code == 404
    left = await executor.world.fetch("SELECT DISTINCT execution_id FROM action_executions")
    assert {str(row["execution_id"]) for row in left} == {waiting, young["id"], run["id"]}
    assert (await executor.seen(waiting, "waiting"))["actions"] != []


async def test_a_slot_runs_the_task_by_the_clock(executor: Executor) -> None:
    config = {"type": "set_variables", "config": {"values": {"slot": "{{ input.scheduled_for }}"}}}
    path = await stored(executor, "action", config, schedule={"type": "interval", "seconds": 1, "max_runs": 1})
    duty, world = Firing(executor.world.parts.database, executor.world.parts.acceptor), executor.world
    runs: list[dict[str, Any]] = []

    async def has_run() -> bool:
        await duty.work()
        runs[:] = (await world.call("GET", f"{path}/executions?status=completed")).json()["items"]
        return len(runs) == 1

    await until(has_run)
    task = (await world.call("GET", path)).json()
    firings = (await world.call("GET", f"/triggers/{task['trigger_id']}/firings")).json()["items"]
    assert [(row["outcome"], row["execution_id"]) for row in firings] == [("fired", runs[0]["id"])]
    assert (runs[0]["trigger"], task["runs"]) == ({"id": task["trigger_id"], "type": "schedule"}, 1)
    assert datetime.fromisoformat(runs[0]["output"]["slot"]) == datetime.fromisoformat(firings[0]["planned_at"])


async def test_a_workflow_cannot_run_a_task(executor: Executor) -> None:
    path = await stored(executor, "action", {"type": "log", "config": {"message": "x"}})
    for reference in (path.rpartition("/")[2], "A action"):
        run = await executor.run([{"key": "run", "type": "run_workflow", "config": {"workflow": reference}}])
        assert (run["status"], run["error"]["class"]) == ("failed", "not_found")
