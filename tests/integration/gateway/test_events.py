"""Raising events over HTTP: what is started and answered, sender's ids, bad bodies, and the log."""

import asyncio
from typing import Any

import pytest

from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow
from tests.integration.gateway.test_access import slug_of

NOWHERE = "00000000-0000-7000-8000-000000000000"
BIG = {"text": "x" * 262_144}


def listener(name: str, event: str, **more: Any) -> dict[str, Any]:
    """A workflow that this event starts."""
    return workflow(name, triggers=[{"key": "on", "type": "event", "config": {"event": event}, **more}])


def conditions(amount: int) -> list[dict[str, Any]]:
    return [{"field": "event.data.amount", "operator": "greater_than", "value": amount}]


async def raised(world: World, body: Any, **more: str) -> Any:
    answer = await world.call("POST", "/events", body, **more)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def faults(world: World, body: Any) -> list[str]:
    """The paths of the faults; nothing was stored."""
    answer = await world.call("POST", "/events", body)
    assert (answer.status_code, slug_of(answer)) == (422, "invalid-input")
    for table in ("events", "event_ids", "executions"):
        assert await world.count(table) == 0
    return [fault["path"] for fault in answer.json()["errors"]]


async def test_an_event_starts_what_fits(acme: World) -> None:
    flows = [await acme.made(listener(f"W{n}", event)) for n, event in enumerate(("deal.won", "deal.*", "deal.lost"))]
    answer = await acme.call(
        "POST", "/events", {"type": "deal.won", "data": {"amount": 3}}, X_User_ID="ada",
        traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
    )  # fmt: skip
    assert answer.status_code == 202
    body = answer.json()
    assert (answer.headers["location"], body["duplicate"]) == (f"/api/v1/events/{body['event_id']}", False)
    assert len(body["execution_ids"]) == 2
    for execution_id, flow in zip(body["execution_ids"], flows, strict=False):
        run = (await acme.call("GET", f"/executions/{execution_id}")).json()
        assert (run["workflow_id"], run["actor"], run["trace_id"]) == (flow["id"], "ada", "a" * 32)
        assert run["trigger"] == {"id": flow["triggers"][0]["id"], "type": "event"}
        assert (run["input"]["id"], run["input"]["data"]) == (body["event_id"], {"amount": 3})


async def test_an_event_that_nothing_fits_is_on_record(acme: World) -> None:
    await acme.made(listener("Other", "deal.*"))
    await acme.call("POST", "/workflows", listener("Theirs", "*"), slug="other")
    body = await raised(acme, {"type": "lead"})
    assert body["execution_ids"] == []
    shown = (await acme.call("GET", f"/events/{body['event_id']}", role="viewer")).json()
    assert (shown["type"], shown["data"], shown["started"], shown["outcomes"]) == ("lead", {}, 0, [])


async def test_the_log_says_what_became_of_it_and_why(acme: World) -> None:
    flow = await acme.made(listener("Big ones", "deal.*", conditions=conditions(100)))
    small = await raised(acme, {"type": "deal.won", "data": {"amount": 3}, "id": "evt_1"})
    shown = (await acme.call("GET", f"/events/{small['event_id']}")).json()
    assert (shown["source"], shown["depth"], shown["dedupe_id"], shown["told"]) == ("api", 0, "evt_1", 0)
    trigger = flow["triggers"][0]["id"]
    assert shown["outcomes"] == [
        {"outcome": "no_match", "trigger_id": trigger, "trigger_key": "on", "workflow_id": flow["id"],
         "reason": 'conditions[0]: {"field":"event.data.amount","operator":"greater_than","value":100}'},
    ]  # fmt: skip


@pytest.mark.parametrize("is_bare", [False, True])
async def test_many_at_once(acme: World, is_bare: bool) -> None:
    await acme.made(listener("All", "*"))
    sent = [{"type": "a", "data": {"n": 1}}, {"type": "b"}]
    body = await raised(acme, sent if is_bare else {"events": sent})
    assert [len(item["execution_ids"]) for item in body["items"]] == [1, 1]
    shown = [(await acme.call("GET", f"/events/{item['event_id']}")).json()["type"] for item in body["items"]]
    assert shown == ["a", "b"]


async def test_the_same_id_is_answered_the_same(acme: World) -> None:
    await acme.made(listener("All", "*"))
    sent = {"type": "deal", "data": {"n": 1}, "id": "evt 1/ü"}
    first = await acme.call("POST", "/events", sent)
    again = await acme.call("POST", "/events", sent)
    assert again.json() == {**first.json(), "duplicate": True}
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    many = await raised(acme, [{"type": "lead"}, sent])
    assert many["items"][1] == again.json()
    assert (await acme.count("events"), await acme.count("executions")) == (2, 2)
    theirs = await raised(acme, {**sent, "type": "other"}, slug="other")
    assert not theirs["duplicate"]


async def test_an_id_of_another_event_is_a_fault_and_nothing_is_raised(acme: World) -> None:
    await raised(acme, {"type": "deal", "data": {"n": 1}, "id": "evt_1"})
    again = await acme.call("POST", "/events", {"type": "deal", "data": {"n": 2}, "id": "evt_1"})
    assert (again.status_code, [fault["path"] for fault in again.json()["errors"]]) == (422, ["id"])
    fresh = {"type": "deal", "id": "evt_2"}
    batch = await acme.call("POST", "/events", {"events": [fresh, {"type": "lead", "id": "evt_1"}]})
    assert (batch.status_code, [fault["path"] for fault in batch.json()["errors"]]) == (422, ["events[1].id"])
    assert (await acme.count("events"), await acme.count("event_ids")) == (1, 1)
    assert not (await raised(acme, fresh))["duplicate"]


async def test_an_idempotency_key_stands_for_ids_that_are_not_given(acme: World) -> None:
    batch = [{"type": "a"}, {"type": "a"}, {"type": "a", "id": "evt_1"}]
    first = await raised(acme, batch, Idempotency_Key="k")
    again = await raised(acme, batch, Idempotency_Key="k")
    assert [item["event_id"] for item in again["items"]] == [item["event_id"] for item in first["items"]]
    assert len({item["event_id"] for item in first["items"]}) == 3
    single = await raised(acme, {"type": "a"}, Idempotency_Key="k")
    assert not single["duplicate"]
    other = await acme.call("POST", "/events", {"type": "b"}, Idempotency_Key="k")
    assert (other.status_code, other.json()["errors"][0]["path"]) == (422, "headers.Idempotency-Key")
    assert await acme.count("events") == 4


async def test_what_many_raise_at_once_is_each_one_s_own(acme: World) -> None:
    """They share commits; one with a bad id is refused alone."""
    await acme.made(listener("All", "*"))
    await raised(acme, {"type": "first", "id": "taken"})
    sent = [{"type": f"e{n}", "id": "taken"} if n % 10 == 5 else {"type": f"e{n}"} for n in range(30)]
    answers = await asyncio.gather(*[acme.call("POST", "/events", one) for one in sent])
    assert [answer.status_code for answer in answers] == [422 if n % 10 == 5 else 202 for n in range(30)]
    for one, answer in zip(sent, answers, strict=True):
        if answer.status_code == 202:
            (execution_id,) = answer.json()["execution_ids"]
            assert (await acme.call("GET", f"/executions/{execution_id}")).json()["input"]["type"] == one["type"]
    assert await acme.count("executions") == 28


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({}, ["type"]),
        ({"type": "", "data": [], "id": "", "x": 1}, ["x", "type", "data", "id"]),
        ({"type": "deal.*"}, ["type"]),
        ({"type": "deal\n", "id": "a\n"}, ["type", "id"]),
        ({"type": "a" * 129, "id": "a" * 256}, ["type", "id"]),
        ({"type": "deal", "data": BIG}, ["data"]),
        ({"events": []}, ["events"]),
        ({"events": [{"type": "a"}] * 101}, ["events"]),
        ({"events": {"type": "a"}, "type": "b"}, ["type", "events"]),
        ({"events": [{"type": "a"}, {"type": "b", "data": 1}, 3]}, ["events[1].data", "events[2]"]),
        ([], [""]),
        ([{"type": "a"}, {"kind": "b"}], ["[1].kind", "[1].type"]),
    ],
)  # fmt: skip
async def test_bad_bodies_name_every_fault(acme: World, body: Any, paths: list[str]) -> None:
    await acme.made(listener("All", "*"))
    assert await faults(acme, body) == paths


@pytest.mark.parametrize("body", [b"", b"null", b"3", b'{"type": "a"', b'{"type": "a", "type": "b"}', b"\xff"])
async def test_unreadable_bodies(acme: World, body: bytes) -> None:
    headers = {**acme.headers("acme"), "Content-Type": "application/json"}
    answer = await acme.client.post("/api/v1/events", content=body, headers=headers)
    assert (answer.status_code, slug_of(answer)) == (400, "malformed-input")


async def test_data_is_kept_to_the_letter(acme: World) -> None:
    await acme.made(listener("All", "*"))
    data: dict[str, Any] = {"z": "a\0b", "a": 12345678901234567890123, "ü": [1.5, None, True, {}]}
    body = await raised(acme, {"type": "deal", "data": data, "id": "evt_1"})
    assert (await acme.call("GET", f"/events/{body['event_id']}")).json()["data"] == data
    run = (await acme.call("GET", f"/executions/{body['execution_ids'][0]}")).json()
    assert run["input"]["data"] == data


async def test_lists_by_name_and_time_in_pages(acme: World) -> None:
    for kind in ("deal.won", "lead", "deal.won"):
        await raised(acme, {"type": kind})
    listed = (await acme.call("GET", "/events", role="viewer")).json()["items"]
    assert [event["type"] for event in listed] == ["deal.won", "lead", "deal.won"]
    first = (await acme.call("GET", "/events?type=deal.won&limit=1")).json()
    second = (await acme.call("GET", f"/events?type=deal.won&limit=1&cursor={first['next_cursor']}")).json()
    assert [first["items"][0]["id"], second["items"][0]["id"]] == [listed[0]["id"], listed[2]["id"]]
    assert second["next_cursor"] is None
    assert (await acme.call("GET", "/events?to=2020-01-01T00:00:00Z")).json()["items"] == []
    assert len((await acme.call("GET", "/events?from=2020-01-01T00:00:00Z")).json()["items"]) == 3
    assert (await acme.call("GET", "/events?type=deal.*")).json()["errors"][0]["path"] == "type"


async def test_who_may(acme: World) -> None:
    assert (await acme.call("POST", "/events", {"type": "a"}, role="viewer")).status_code == 403
    mine = await raised(acme, {"type": "a"})
    assert (await acme.call("GET", f"/events/{mine['event_id']}", slug="other")).status_code == 404
    assert (await acme.call("GET", f"/events/{NOWHERE}")).status_code == 404
    assert (await acme.call("GET", "/events", slug="other")).json()["items"] == []


async def test_a_trigger_takes_names_and_beginnings_of_names(acme: World) -> None:
    for pattern in ("deal", "deal.*", "*"):
        await acme.made(listener(f"On {pattern}", pattern))
    for pattern in ("deal*", "*.won", ""):
        answer = await acme.call("POST", "/workflows", listener("Bad", pattern))
        assert [fault["path"] for fault in answer.json()["errors"]] == ["triggers[0].config.event"]
