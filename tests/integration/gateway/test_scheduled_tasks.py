"""Scheduled tasks over HTTP: stored, shown, changed and deleted; every fault by its path; what is hidden of them."""

from datetime import datetime
from typing import Any

import pytest

from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow

HOURLY: dict[str, Any] = {"type": "interval", "hours": 1}
NEVER = {"from": "2026-01-01", "to": "9000-01-01"}
URL = "https://crm.example.com/sync"
TASKS: dict[str, dict[str, Any]] = {
    "workflow": {"workflow": "First", "input": {"due": "{{ input.scheduled_for }}"}},
    "action": {"type": "http_request", "config": {"url": URL, "headers": {"X-Key": "{{ secrets.CRM }}"}}},
    "report": {"period_days": 1, "deliver": {"type": "send_email", "config": {"to": "ada@example.com"}}},
    "cleanup": {"older_than_days": 30, "what": ["executions"]},
}


def task(type_name: str = "action", **more: Any) -> dict[str, Any]:
    return {"name": "Nightly", "type": type_name, "schedule": HOURLY, "config": TASKS[type_name], **more}


async def made(world: World, draft: dict[str, Any], **more: str) -> dict[str, Any]:
    answer = await world.call("POST", "/scheduled-tasks", draft, **more)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def faults(world: World, draft: Any) -> dict[str, str]:
    answer = await world.call("POST", "/scheduled-tasks", draft)
    assert answer.status_code == 422, answer.text
    return {fault["path"]: fault["message"] for fault in answer.json()["errors"]}


@pytest.mark.parametrize("type_name", TASKS)
async def test_a_task_of_each_type_is_stored_and_shown_as_it_was_sent(acme: World, type_name: str) -> None:
    await acme.made(workflow())
    draft = task(type_name, description="Every hour", max_retries=3, timeout_seconds=900)
    answer = await acme.call("POST", "/scheduled-tasks", draft, X_User_ID="ada")
    shown = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/api/v1/scheduled-tasks/{shown['id']}")
    assert {name: shown[name] for name in draft} == draft
    assert (shown["version"], shown["created_by"], shown["updated_by"]) == (1, "ada", "ada")
    assert (shown["enabled"], shown["paused"], shown["runs"]) == (True, False, 0)
    assert datetime.fromisoformat(shown["next_run_at"]) > acme.clock.now()
    again = await acme.call("GET", f"/scheduled-tasks/{shown['id']}", role="viewer")
    assert (again.json(), again.headers["etag"]) == (shown, '"1"')


async def test_lists_have_pages_a_part_of_the_name_and_a_type(acme: World) -> None:
    await made(acme, task(name="Send it"))
    await made(acme, task("cleanup", name="Sweep"))
    await made(acme, task("report", name="Send the report"))

    async def names(query: str) -> list[str]:
        return [one["name"] for one in (await acme.call("GET", f"/scheduled-tasks?{query}")).json()["items"]]

    assert await names("") == ["Send the report", "Sweep", "Send it"]
    assert await names("name=SEND") == ["Send the report", "Send it"]
    assert await names("type=cleanup") == ["Sweep"]
    first = (await acme.call("GET", "/scheduled-tasks?limit=2")).json()
    assert await names(f"cursor={first['next_cursor']}") == ["Send it"]
    assert (await acme.call("GET", "/scheduled-tasks?type=unknown")).status_code in (400, 422)


async def test_changes_make_versions_and_who_was_slower_is_told(acme: World) -> None:
    old = await made(acme, task(), X_User_ID="ada")
    path = f"/scheduled-tasks/{old['id']}"
    answer = await acme.call("PATCH", path, {"max_retries": 2, "config": {"timeout_seconds": 5}}, X_User_ID="bob")
    new = answer.json()
    assert (answer.status_code, answer.headers["etag"], new["version"]) == (200, '"2"', 2)
    assert (new["max_retries"], new["config"]["timeout_seconds"], new["config"]["type"]) == (2, 5, "http_request")
    assert (new["created_by"], new["updated_by"]) == ("ada", "bob")
    assert (new["trigger_id"], new["next_run_at"]) == (old["trigger_id"], old["next_run_at"])
    for method in ("PUT", "PATCH", "DELETE"):
        stale = await acme.call(method, path, {**old, "name": "Late"}, If_Match='"1"')
        assert stale.status_code == 412, method
    replaced = await acme.call(
        "PUT", path, {**new, "type": "cleanup", "config": {"older_than_days": 9}}, If_Match='"2"'
    )
    assert (replaced.status_code, replaced.json()["config"]) == (200, {"older_than_days": 9})
    off = (await acme.call("PATCH", path, {"enabled": False})).json()
    assert (off["enabled"], off["next_run_at"], off["version"]) == (False, None, 4)


async def test_every_fault_by_its_path(acme: World) -> None:
    draft = {
        "name": "", "type": "action", "schedule": {"type": "cron", "expression": "61 * * * *"}, "colour": "red",
        "config": {"type": "http_request", "config": {"url": "ftp://x", "verb": "GET"}, "key": "mine"},
        "max_retries": 21, "timeout_seconds": 0, "enabled": "yes",
    }  # fmt: skip
    assert (await faults(acme, draft)).keys() == {
        "name", "schedule.expression", "colour", "config.config.verb", "config.key", "max_retries",
        "timeout_seconds", "enabled",
    }  # fmt: skip
    assert (await faults(acme, {})).keys() == {"name", "type", "schedule"}
    expected: list[tuple[dict[str, Any], set[str]]] = [
        (task(config=None), {"config"}),
        (task(config={}), {"config.type"}),
        (task(config={"type": "no_such"}), {"config.type"}),
        (task(config={"type": "log", "config": {"message": "{{ nobody.x }}"}}), {"config.config.message"}),
        (task("cleanup", config={}), {"config.older_than_days"}),
        (task("cleanup", config={"older_than_days": 0, "what": ["tenants"]}),
         {"config.older_than_days", "config.what[0]"}),
        (task("report", config={"period_days": 0, "deliver": {"type": "log"}}),
         {"config.period_days", "config.deliver.type"}),
        (task("report", config={"deliver": {"type": "send_email", "config": {"to": "nobody"}}}),
         {"config.deliver.config.to"}),
        (task("workflow", config={"workflow": "Missing", "inputs": {}}), {"config.workflow", "config.inputs"}),
        (task(schedule={"type": "cron", "expression": "0 0 30 2 *"}), {"schedule.expression"}),
        (task(schedule=[]), {"schedule"}),
        (task(type="sing"), {"type"}),
        (task(type=["action"]), {"type"}),
        (task(name="a\0b"), {"name"}),
        (task(schedule={"type": "cron", "expression": "0 9 * * *", "exclude": [NEVER]}), {"schedule"}),
    ]  # fmt: skip
    for bad, paths in expected:
        assert (await faults(acme, bad)).keys() == paths, bad
    assert await acme.count("workflows") == 0


async def test_names_are_taken_by_tasks_only_and_freed_by_deletion(acme: World) -> None:
    first = await made(acme, task(name="First"))
    assert (await acme.call("POST", "/scheduled-tasks", task(name="First"))).status_code == 409
    await acme.made(workflow("First"))
    other = await made(acme, task("workflow", name="Other", config={"workflow": "First"}))
    assert (await acme.call("PATCH", f"/scheduled-tasks/{other['id']}", {"name": "First"})).status_code == 409
    assert (await acme.call("DELETE", f"/scheduled-tasks/{first['id']}")).status_code == 204
    assert await acme.fetch("SELECT FROM triggers WHERE workflow_id = $1", first["id"]) == []
    assert (await acme.call("GET", f"/scheduled-tasks/{first['id']}")).status_code == 404
    assert (await acme.call("PATCH", f"/scheduled-tasks/{other['id']}", {"name": "First"})).status_code == 200


async def test_a_task_is_no_workflow(acme: World) -> None:
    hidden = await made(acme, task())
    path = f"/workflows/{hidden['id']}"
    assert (await acme.call("GET", "/workflows")).json()["items"] == []
    for method, way in (
        ("GET", ""), ("PUT", ""), ("PATCH", ""), ("DELETE", ""), ("PATCH", "/enable"), ("POST", "/execute"),
        ("GET", "/versions"), ("GET", "/executions"), ("GET", "/triggers"),
    ):  # fmt: skip
        body = {"enabled": True} if way == "/enable" else None if way else workflow()
        refused = await acme.call(method, path + way, None if method in ("GET", "DELETE") else body)
        assert refused.status_code == 404, (method, way)
    for reference in (hidden["id"], hidden["name"]):
        assert "config.workflow" in await faults(acme, task("workflow", name="x", config={"workflow": reference}))
        refused = await acme.call("POST", "/workflows", workflow(on_failure=reference))
        assert refused.json()["errors"][0]["path"] == "on_failure"
    real = await acme.made(workflow())
    assert (await acme.call("PATCH", f"/scheduled-tasks/{real['id']}", {"name": "Mine"})).status_code == 404


async def test_another_tenant_s_task_is_not_there_and_viewers_only_look(acme: World) -> None:
    theirs = await made(acme, task(), slug="other")
    path = f"/scheduled-tasks/{theirs['id']}"
    calls: list[tuple[str, str, Any]] = [
        ("GET", path, None), ("PUT", path, task()), ("PATCH", path, {}), ("DELETE", path, None),
        ("GET", f"{path}/executions", None), ("POST", f"{path}/run", None), ("POST", f"{path}/pause", None),
        ("POST", f"{path}/resume", None),
    ]  # fmt: skip
    for method, where, body in calls:
        assert (await acme.call(method, where, body)).status_code == 404, (method, where)
        if method != "GET":
            assert (await acme.call(method, where, body, slug="other", role="viewer")).status_code == 403
    assert (await acme.call("GET", "/scheduled-tasks")).json()["items"] == []
    assert (await acme.call("GET", path, slug="other")).json() == theirs


async def test_pausing_resuming_and_running_now(acme: World) -> None:
    one = await made(acme, task(schedule={**HOURLY, "overlap": "skip"}))
    path = f"/scheduled-tasks/{one['id']}"
    paused = await acme.call("POST", f"{path}/pause", {"note": "moving"}, X_User_ID="ada")
    assert (paused.status_code, paused.json()["paused_note"]) == (200, "moving")
    shown = (await acme.call("GET", path)).json()
    assert (shown["paused"], shown["paused_note"], shown["paused_by"]) == (True, "moving", "ada")
    assert (await acme.call("POST", f"{path}/resume")).json()["paused"] is False
    assert (await acme.call("POST", f"{path}/resume")).status_code == 409
    run = await acme.call("POST", f"{path}/run", Idempotency_Key="k", X_User_ID="ada")
    again = await acme.call("POST", f"{path}/run", Idempotency_Key="k")
    assert (run.status_code, again.json(), again.headers["idempotent-replayed"]) == (202, run.json(), "true")
    assert (await acme.call("POST", f"{path}/run")).status_code == 409
    items = (await acme.call("GET", f"{path}/executions", role="viewer")).json()["items"]
    assert [(item["id"], item["status"], item["actor"]) for item in items] == [
        (run.json()["execution_id"], "pending", "ada")
    ]
    ledger = (await acme.call("GET", f"/triggers/{one['trigger_id']}/firings")).json()["items"]
    assert [(row["kind"], row["outcome"]) for row in ledger] == [("manual", "fired")]
    assert (await acme.call("GET", f"{path}/executions?status=completed")).json()["items"] == []
    (schedule,) = (await acme.call("GET", "/schedules")).json()["items"]
    assert (schedule["trigger_id"], schedule["workflow_name"]) == (one["trigger_id"], "Nightly")
