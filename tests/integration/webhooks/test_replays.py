"""Calls once more: one or many, on the version they met or the latest, through the conditions or straight."""

import json
from typing import Any
from uuid import uuid4

import httpx

from tests.integration.conftest import World
from tests.integration.gateway.definitions import LOG, workflow
from tests.integration.webhooks.conftest import BODY, JSON, outcomes

OPEN = {"auth": {"type": "none"}}
LARGE = [{"field": "webhook.body.amount", "operator": "greater_than", "value": 10}]


async def made(world: World, **more: Any) -> dict[str, Any]:
    """A workflow with one open webhook trigger that has these fields."""
    return await world.made(workflow("Replayed", triggers=[{"key": "hook", "type": "webhook", "config": OPEN, **more}]))


async def called(world: World, ingress: httpx.AsyncClient, trigger: dict[str, Any], body: bytes = BODY) -> str:
    """The id in the log of a call that came in."""
    await ingress.post(f"/webhooks/{trigger['id']}?a=1", content=body, headers={**JSON, "X-Plain": "kept"})
    return (await world.fetch("SELECT id FROM webhook_logs ORDER BY id DESC LIMIT 1"))[0]["id"]


async def test_a_call_is_replayed_as_it_came_on_the_version_asked_for(acme: World, ingress: httpx.AsyncClient) -> None:
    stored = await made(acme)
    log_id = await called(acme, ingress, stored["triggers"][0])
    changed = {
        **workflow("Replayed", triggers=[{"key": "hook", "type": "webhook", "config": OPEN}]),
        "actions": [LOG, {**LOG, "key": "more"}],
    }
    assert (await acme.call("PUT", f"/workflows/{stored['id']}", changed)).status_code == 200
    for body, version in (({}, 2), ({"version": "original"}, 1)):
        answer = await acme.call("POST", f"/webhook-logs/{log_id}/replay", body)
        assert (answer.status_code, answer.json()["outcome"]) == (202, "replayed")
        execution_id = answer.json()["execution_id"]
        assert answer.headers["location"] == f"/api/v1/executions/{execution_id}"
        first, again = await acme.fetch(
            "SELECT version, input FROM executions e WHERE id = $1"
            " OR NOT EXISTS (SELECT FROM executions WHERE id < e.id) ORDER BY id",
            execution_id,
        )
        assert again["version"] == version
        assert json.loads(again["input"]) == json.loads(first["input"])
    rows = await acme.fetch("SELECT replay_of, outcome FROM webhook_logs WHERE replay_of IS NOT NULL")
    assert [(row["replay_of"], row["outcome"]) for row in rows] == [(log_id, "replayed")] * 2


async def test_a_replay_goes_through_the_conditions_or_straight(acme: World, ingress: httpx.AsyncClient) -> None:
    log_id = await called(acme, ingress, (await made(acme, conditions=LARGE))["triggers"][0])
    through = await acme.call("POST", f"/webhook-logs/{log_id}/replay")
    assert (through.status_code, through.json()["outcome"], through.json()["execution_id"]) == (202, "no_match", None)
    straight = await acme.call("POST", f"/webhook-logs/{log_id}/replay", {"conditions": False})
    assert straight.json()["outcome"] == "replayed"
    assert await outcomes(acme) == [("no_match", 202, False)] * 2 + [("replayed", 202, True)]


async def test_a_refused_call_may_be_replayed_if_its_body_is_there(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = (await made(acme))["triggers"][0]
    await ingress.post(f"/webhooks/{trigger['id']}/wrong", content=BODY, headers=JSON)
    await ingress.put(f"/webhooks/{trigger['id']}", content=BODY, headers=JSON)
    wrong_token, wrong_method = await acme.fetch("SELECT id FROM webhook_logs ORDER BY id")
    assert (await acme.call("POST", f"/webhook-logs/{wrong_token['id']}/replay")).status_code == 202
    assert (await acme.call("POST", f"/webhook-logs/{wrong_method['id']}/replay")).status_code == 409


async def test_what_is_gone_or_another_s_is_not_replayed(acme: World, ingress: httpx.AsyncClient) -> None:
    stored = await made(acme)
    log_id = await called(acme, ingress, stored["triggers"][0])
    path, before = f"/webhook-logs/{log_id}/replay", await acme.count("executions")
    assert (await acme.call("POST", path, slug="other")).status_code == 404
    assert (await acme.call("POST", path, role="viewer")).status_code == 403
    assert (await acme.call("POST", f"/webhook-logs/{uuid4()}/replay")).status_code == 404
    await acme.call("PATCH", f"/workflows/{stored['id']}/enable", {"enabled": False})
    assert (await acme.call("POST", path)).status_code == 409
    await acme.call("DELETE", f"/workflows/{stored['id']}")
    assert (await acme.call("POST", path)).status_code == 409
    assert await acme.count("executions") == before


async def test_many_are_replayed_by_filter_oldest_first_each_with_its_answer(
    acme: World, ingress: httpx.AsyncClient
) -> None:
    trigger = (await made(acme))["triggers"][0]
    ids = [await called(acme, ingress, trigger, body) for body in (b'{"n": 1}', b"{", b'{"n": 2}', b'{"n": 3}')]
    path = f"/triggers/{trigger['id']}/webhook-logs/replay"
    first = (await acme.call("POST", path, {"limit": 3})).json()
    assert [(one["id"], one["outcome"]) for one in first["items"]] == [
        (str(ids[0]), "replayed"), (str(ids[1]), "malformed-input"), (str(ids[2]), "replayed"),
    ]  # fmt: skip
    rest = (await acme.call("POST", path, {"limit": 3, "after": first["after"]})).json()
    assert ([one["id"] for one in rest["items"]], rest["after"]) == ([str(ids[3])], None)
    only = (await acme.call("POST", path, {"outcome": "body"})).json()
    assert [one["id"] for one in only["items"]] == [str(ids[1])]
    named = (await acme.call("POST", path, {"ids": [str(ids[3])]})).json()
    assert [one["outcome"] for one in named["items"]] == ["replayed"]
    unknown = await acme.call("POST", path, {"ids": [str(ids[0]), str(uuid4())]})
    assert (unknown.status_code, unknown.json()["errors"][0]["path"]) == (422, "ids[1]")
    assert (await acme.call("POST", path, {"ids": [str(ids[0])]}, slug="other")).status_code == 404


async def test_a_trigger_is_tried_with_samples_and_starts_something_only_when_told(acme: World) -> None:
    config = {**OPEN, "transform": {"kind": "{{ webhook.body.type }}"}, "event": "stripe.{{ webhook.body.type }}"}
    trigger = (await made(acme, config=config))["triggers"][0]
    path = f"/triggers/{trigger['id']}/test"
    tried = (await acme.call("POST", path, {"sample": "stripe"})).json()
    assert tried == {
        "outcome": "accepted", "input": {"kind": "payment_intent.succeeded"},
        "event": "stripe.payment_intent.succeeded", "execution_id": None,
    }  # fmt: skip
    default = (await acme.call("POST", path)).json()
    assert default["event"] == "stripe.order.paid"
    wrong = await acme.call("POST", path, {"body": {}})
    assert (wrong.status_code, wrong.json()["errors"][0]["path"]) == (422, "config.transform")
    assert (await acme.call("POST", path, {"sample": "nobody"})).status_code == 422
    assert await acme.count("executions") == await acme.count("webhook_logs") == 0
    done = (await acme.call("POST", path, {"body": {"type": "a"}, "execute": True})).json()
    (run,) = await acme.fetch("SELECT id, input FROM executions")
    assert (done["execution_id"], json.loads(run["input"])["input"]) == (str(run["id"]), {"kind": "a"})
    assert await outcomes(acme) == [("tested", 202, True)]
    samples = (await acme.call("GET", "/webhook-samples")).json()["items"]
    assert {"github", "stripe", "slack", "generic"} <= samples.keys()


async def test_every_sample_can_be_tried(acme: World) -> None:
    trigger = (await made(acme))["triggers"][0]
    samples = (await acme.call("GET", "/webhook-samples")).json()["items"]
    for name, sample in samples.items():
        tried = (await acme.call("POST", f"/triggers/{trigger['id']}/test", {"sample": name})).json()
        assert (name, tried["outcome"], tried["input"]) == (name, "accepted", sample["body"])
