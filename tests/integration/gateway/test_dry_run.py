"""Trying a workflow: everything resolved, nothing done, nothing stored."""

from datetime import datetime
from typing import Any

import pytest

from tests.integration.conftest import World
from tests.integration.gateway.definitions import LOG, workflow

CALL = {
    "key": "crm",
    "type": "http_request",
    "config": {
        "url": "https://crm.example.com",
        "body": {"n": "{{ input.n }}"},
        "auth": {"type": "bearer", "token": "t0p"},
    },
}


async def tried(world: World, definition: dict[str, Any], body: Any = None) -> dict[str, Any]:
    made = await world.made(definition)
    answer = await world.call("POST", f"/workflows/{made['id']}/test", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_inputs_are_resolved_and_effects_stubbed(acme: World) -> None:
    after = {"key": "after", "type": "log", "config": {"message": "{{ actions.crm.output.status }}"}}
    found = await tried(acme, workflow(actions=[CALL, after], output="{{ input.n }}"), {"input": {"n": 7}})
    assert (found["status"], found["output"], found["starts"]) == ("completed", 7, True)
    crm, said = found["actions"]
    assert (crm["input"]["body"], crm["stubbed"], crm["output"]["status"]) == ({"n": 7}, True, 200)
    assert (said["stubbed"], said["output"]["message"]) == (False, 200)
    assert "t0p" not in str(found)
    assert (await acme.count("executions"), await acme.count("action_executions")) == (0, 0)


async def test_a_record_that_would_be_written_is_there_for_what_follows(acme: World) -> None:
    save = {
        "key": "save", "type": "create_deal",
        "config": {"title": "Deal {{ input.n }}", "close_date": "2027-03-01", "tags": ["new"]},
    }  # fmt: skip
    change = {
        "key": "change", "type": "update_record",
        "config": {"collection": "deals", "id": "{{ actions.save.output.id }}", "data": {"stage": "won"}},
    }  # fmt: skip
    after = {
        "key": "after", "type": "log",
        "config": {"message": "{{ actions.save.output.data.title }} {{ actions.change.output.data.stage }}"},
    }  # fmt: skip
    found = await tried(acme, workflow(actions=[save, change, after]), {"input": {"n": 7}})
    assert (found["status"], found["actions"][2]["output"]["message"]) == ("completed", "Deal 7 won")
    assert found["actions"][0]["output"]["tags"] == ["new"]
    assert await acme.count("records") == 0


async def test_a_record_that_could_not_be_written_fails_the_trial(acme: World) -> None:
    save = {"key": "save", "type": "create_task", "config": {"title": "Call", "due_date": "{{ input.when }}"}}
    found = await tried(acme, workflow(actions=[save]), {"input": {"when": "some day"}})
    assert (found["status"], found["error"]["class"]) == ("failed", "invalid_config")


async def test_notifications_of_every_kind_are_stubbed(acme: World) -> None:
    slack = {"channel": "slack", "url": "https://hooks.example.com/1", "message": "Big one"}
    actions = [
        {"key": key, "type": "send_notification", "config": config}
        for key, config in (("slack", slack), ("in_app", {"channel": "in_app", "message": "Big one"}))
    ]
    found = await tried(acme, workflow(actions=actions))
    assert (found["status"], [action["stubbed"] for action in found["actions"]]) == ("completed", [True, True])


async def test_outputs_of_effects_can_be_given(acme: World) -> None:
    branch = {
        "type": "branch",
        "config": {"cases": [{"if": "{{ actions.crm.output.body.vip }}", "actions": [{**LOG, "key": "vip"}]}]},
    }
    body = {"input": {"n": 1}, "outputs": {"crm": {"body": {"vip": True}}}}
    found = await tried(acme, workflow(actions=[CALL, branch]), body)
    assert [action["key"] for action in found["actions"]] == ["crm", "action_1", "vip"]


async def test_waits_are_jumped_over_and_the_end_is_foretold(acme: World) -> None:
    wait = {"type": "wait", "config": {"until": "+3 days"}}
    found = await tried(acme, workflow(actions=[wait, LOG]), {"scheduled_for": "2027-03-01T09:00:00Z"})
    assert found["status"] == "completed"
    assert datetime.fromisoformat(found["finished_at"]) == datetime.fromisoformat("2027-03-04T09:00:00+00:00")


async def test_a_skip_says_why(acme: World) -> None:
    found = await tried(acme, workflow(actions=[{**LOG, "if": "{{ input.n > 1 }}"}]), {"input": {"n": 1}})
    assert found["actions"][0]["why"] == "if {{ input.n > 1 }} did not hold"


@pytest.mark.parametrize(("amount", "starts"), [(5, True), (-5, False)])
async def test_a_webhook_is_judged_by_the_trigger_s_conditions(acme: World, amount: int, starts: bool) -> None:
    condition = {"field": "webhook.body.amount", "operator": "greater_than", "value": 0}
    trigger: dict[str, Any] = {"type": "webhook", "config": {}, "conditions": [condition]}
    found = await tried(acme, workflow(triggers=[trigger]), {"webhook": {"body": {"amount": amount}}})
    assert found["starts"] is starts


async def test_a_draft_is_tried_in_place_of_what_is_stored(acme: World) -> None:
    made = await acme.made(workflow())
    draft = {"definition": {"name": "draft", "actions": [{"type": "log", "config": {"message": "from the draft"}}]}}
    found = (await acme.call("POST", f"/workflows/{made['id']}/test", draft)).json()
    assert found["actions"][0]["output"]["message"] == "from the draft"
    broken = await acme.call("POST", f"/workflows/{made['id']}/test", {"definition": {"name": "x", "actions": [{}]}})
    assert broken.status_code == 422
    assert "definition.actions[0].type" in {fault["path"] for fault in broken.json()["errors"]}


async def test_a_workflow_that_never_ends_is_cut_off(acme: World) -> None:
    loop = {"type": "for_each", "config": {"items": "{{ input.items }}", "actions": [LOG]}}
    found = await tried(acme, workflow(actions=[loop]), {"input": {"items": list(range(9_000))}})
    assert (found["status"], found["error"]["class"]) == ("failed", "dry_run")


async def test_foreign_and_contradictory_requests_are_refused(acme: World) -> None:
    made = await acme.made(workflow())
    foreign = await acme.call("POST", f"/workflows/{made['id']}/test", slug="other")
    both = await acme.call("POST", f"/workflows/{made['id']}/test", {"input": {}, "webhook": {}})
    unknown = await acme.call("POST", f"/workflows/{made['id']}/test", {"webhook_log_id": made["id"]})
    assert [answer.status_code for answer in (foreign, both, unknown)] == [404, 422, 422]


async def test_somebody_says_yes_and_events_come(acme: World) -> None:
    ask = {"key": "ask", "type": "wait", "config": {"approval": {"message": "Pay?"}}}
    event = {"key": "paid", "type": "wait", "config": {"event": "paid"}}
    said = {"key": "said", "type": "log", "config": {"message": "{{ actions.ask.output.approved }}"}}
    made = await acme.made({"name": "asks", "actions": [ask, event, said]})
    tried = (await acme.call("POST", f"/workflows/{made['id']}/test", {"input": {}})).json()
    assert tried["status"] == "completed"
    assert [action["stubbed"] for action in tried["actions"]] == [True, True, False]
    assert tried["actions"][2]["output"]["message"] is True
    assert await acme.fetch("SELECT FROM approvals") == []
