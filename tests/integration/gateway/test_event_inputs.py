"""What an event becomes for a workflow: the input that its trigger makes, and whether that fits the `input_schema`."""

import json
from typing import Any

from tests.integration.conftest import World
from tests.integration.gateway.test_events import listener, raised

SHAPE = {"sum": "{{ event.data.amount * 2 }}", "of": "{{ title }}"}
SCHEMA = {"type": "object", "required": ["sum"], "properties": {"sum": {"type": "number", "maximum": 20}}}


def shaped(name: str, **more: Any) -> dict[str, Any]:
    flow = listener(name, "deal.won")
    flow["triggers"][0]["config"]["transform"] = SHAPE
    return {**flow, **more}


async def outcomes(world: World, event_id: str) -> list[dict[str, Any]]:
    return (await world.call("GET", f"/events/{event_id}")).json()["outcomes"]


async def test_what_does_not_fit_is_refused_with_its_faults_and_the_others_run(acme: World) -> None:
    strict = await acme.made(shaped("Strict", input_schema=SCHEMA))
    plain = await acme.made(listener("Plain", "deal.won", conditions=[]))
    body = await raised(acme, {"type": "deal.won", "data": {"amount": 11, "title": "Big"}})
    refused, started = await outcomes(acme, body["event_id"])
    assert body["execution_ids"] == [started["execution_id"]]
    assert (started["outcome"], started["workflow_id"]) == ("started", plain["id"])
    assert (refused["outcome"], refused["workflow_id"]) == ("schema", strict["id"])
    assert [fault["path"] for fault in refused["faults"]] == ["input.sum"]
    assert await acme.count("executions") == 1


async def test_what_fits_runs_with_the_input_that_the_trigger_makes(acme: World) -> None:
    await acme.made(shaped("Strict", input_schema=SCHEMA))
    body = await raised(acme, {"type": "deal.won", "data": {"amount": 10, "title": "Big"}})
    (run,) = await acme.fetch("SELECT input FROM executions")
    brought = json.loads(run["input"])
    assert (brought["input"], brought["data"]) == ({"sum": 20, "of": "Big"}, {"amount": 10, "title": "Big"})
    assert (await outcomes(acme, body["event_id"]))[0]["outcome"] == "started"


async def test_a_transform_that_gives_nothing_refuses_too(acme: World) -> None:
    await acme.made(shaped("Shaped"))
    body = await raised(acme, {"type": "deal.won", "data": {"amount": 1}})
    (refused,) = await outcomes(acme, body["event_id"])
    assert (refused["outcome"], body["execution_ids"]) == ("transform", [])
    assert "title" in refused["reason"]


async def test_the_schema_alone_is_checked_against_the_data_and_only_for_what_matches(acme: World) -> None:
    conditions = [{"field": "event.data.kind", "operator": "equals", "value": "sum"}]
    await acme.made({**listener("Strict", "deal.*", conditions=conditions), "input_schema": SCHEMA})
    for data, outcome in (({"kind": "sum"}, "schema"), ({"kind": "other"}, "no_match"),
                          ({"kind": "sum", "sum": 3}, "started")):  # fmt: skip
        body = await raised(acme, {"type": "deal.won", "data": data})
        assert [one["outcome"] for one in await outcomes(acme, body["event_id"])] == [outcome]


async def test_the_schema_of_the_newest_version_counts(acme: World) -> None:
    flow = await acme.made({**listener("Strict", "deal.*"), "input_schema": False})
    first = await raised(acme, {"type": "deal.won"})
    assert (await acme.call("PATCH", f"/workflows/{flow['id']}", {"input_schema": None})).status_code == 200
    second = await raised(acme, {"type": "deal.won"})
    assert (first["execution_ids"], len(second["execution_ids"])) == ([], 1)


async def test_a_transform_is_checked_when_the_workflow_is_stored(acme: World) -> None:
    flow = shaped("Bad")
    flow["triggers"][0]["config"]["transform"] = {"key": "{{ secrets.KEY }}"}
    answer = await acme.call("POST", "/workflows", flow)
    assert (answer.status_code, [fault["path"] for fault in answer.json()["errors"]]) == (
        422, ["triggers[0].config.transform"],
    )  # fmt: skip
