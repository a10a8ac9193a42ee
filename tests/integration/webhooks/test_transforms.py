"""What a call becomes: the input that the trigger makes of it, and the event that it raises beside."""

import json
from typing import Any

import httpx

from tests.integration.conftest import World
from tests.integration.gateway.definitions import LOG, workflow
from tests.integration.webhooks.conftest import BODY, JSON, outcomes

SHAPE = {"sum": "{{ webhook.body.amount * 2 }}", "who": "{{ default(webhook.headers['x-who'], 'nobody') }}"}


async def path_of(world: World, config: dict[str, Any], **more: Any) -> str:
    config = {"auth": {"type": "none"}, **config}
    made = await world.made(workflow("Shaped", triggers=[{"key": "h", "type": "webhook", "config": config}], **more))
    return f"/webhooks/{made['triggers'][0]['id']}"


async def test_the_transform_makes_the_input_and_leaves_the_call(acme: World, ingress: httpx.AsyncClient) -> None:
    schema = {"type": "object", "properties": {"sum": {"maximum": 20}}}
    path = await path_of(acme, {"transform": SHAPE}, input_schema=schema)
    assert (await ingress.post(path, content=BODY, headers={**JSON, "X-Who": "ada"})).status_code == 202
    (run,) = await acme.fetch("SELECT input FROM executions")
    brought = json.loads(run["input"])
    assert (brought["input"], brought["body"]) == ({"sum": 14, "who": "ada"}, json.loads(BODY))
    too_much = await ingress.post(path, content=b'{"amount": 11}', headers=JSON)
    assert (too_much.status_code, too_much.json()["errors"][0]["path"]) == (422, "input.sum")
    missing = await ingress.post(path, content=b"{}", headers=JSON)
    assert (missing.status_code, missing.json()["errors"][0]["path"]) == (422, "config.transform")
    assert await outcomes(acme) == [("accepted", 202, True), ("schema", 422, False), ("transform", 422, False)]


async def test_the_workflow_sees_the_transformed_input(acme: World, ingress: httpx.AsyncClient) -> None:
    say = {**LOG, "config": {"message": "{{ input.sum }} of {{ webhook.body.amount }}"}}
    path = await path_of(acme, {"transform": SHAPE}, actions=[say])
    await ingress.post(path, content=BODY, headers=JSON)
    (row,) = await acme.fetch("SELECT workflow_id FROM triggers")
    (log,) = await acme.fetch("SELECT id FROM webhook_logs")
    tried = await acme.call("POST", f"/workflows/{row['workflow_id']}/test", {"webhook_log_id": str(log["id"])})
    assert tried.status_code == 200, tried.text
    assert tried.json()["actions"][0]["output"]["message"] == "14 of 7"


async def test_a_call_raises_the_event_that_the_trigger_names(acme: World, ingress: httpx.AsyncClient) -> None:
    await acme.made(workflow("Listens", triggers=[{"key": "e", "type": "event", "config": {"event": "order.*"}}]))
    path = await path_of(acme, {"event": "order.{{ webhook.body.kind }}", "transform": {"n": "{{ webhook.body.n }}"}})
    headers = {**JSON, "Idempotency-Key": "one"}
    for _ in range(2):
        assert (await ingress.post(path, json={"kind": "paid", "n": 1}, headers=headers)).status_code == 202
    (event,) = await acme.fetch("SELECT type, data, source, started FROM events")
    assert (event["type"], json.loads(event["data"]), event["source"]) == ("order.paid", {"n": 1}, "webhook")
    assert (event["started"], await acme.count("executions")) == (1, 2)
    for kind in ("not a name", "*", "x" * 200):
        refused = await ingress.post(path, json={"kind": kind, "n": 1})
        assert (kind, refused.status_code) == (kind, 422)
    assert (await acme.count("events"), await acme.count("executions")) == (1, 2)
