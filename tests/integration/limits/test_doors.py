"""Each limit at its door: what is at the limit is taken, what is above is refused and says which limit it was."""

from typing import Any

import httpx
import pytest

from tests.integration.conftest import World
from tests.integration.gateway.definitions import LOG, hourly, workflow
from tests.integration.gateway.test_scheduled_tasks import task
from tests.integration.limits.conftest import limit, refusal
from tests.waiting import patience


async def test_api_calls(acme: World) -> None:
    await limit(acme, api_rate="3/d")
    assert [(await acme.call("GET", "/workflows")).status_code for _ in range(3)] == [200] * 3
    refused = await acme.call("GET", "/workflows")
    assert refusal(refused) == (429, "api_rate", "3/d", 3)
    headers = refused.headers
    assert int(headers["retry-after"]) == pytest.approx(28_800, abs=5)
    assert (headers["ratelimit-limit"], headers["ratelimit-remaining"]) == ("3", "0")
    assert (await acme.call("GET", "/workflows", slug="other")).status_code == 200


async def test_webhook_calls(acme: World, hooks: httpx.AsyncClient, address: str) -> None:
    await limit(acme, webhook_rate="2/d")
    assert [(await hooks.post(address)).status_code for _ in range(2)] == [202] * 2
    assert refusal(await hooks.post(address)) == (429, "webhook_rate", "2/d", 2)
    rows = await acme.fetch("SELECT outcome FROM webhook_logs ORDER BY id")
    assert [row["outcome"] for row in rows] == ["accepted", "accepted", "rate"]


async def test_events(acme: World) -> None:
    await limit(acme, event_rate="3/d")
    one: dict[str, Any] = {"type": "deal", "data": {}}
    two = {"events": [one, one]}
    assert (await acme.call("POST", "/events", two)).status_code == 202
    assert refusal(await acme.call("POST", "/events", two)) == (429, "event_rate", "3/d", 2)
    assert (await acme.call("POST", "/events", one)).status_code == 202
    assert await acme.count("events") == 3


async def test_workflows(acme: World) -> None:
    await limit(acme, workflows=1)
    made = await acme.made(workflow("One"))
    assert refusal(await acme.call("POST", "/workflows", workflow("Two"))) == (402, "workflows", 1, 1)
    assert await acme.count("workflows") == 1
    await limit(acme, workflows=0)  # a smaller plan: what is there may still be changed, and given up
    assert (await acme.call("PUT", f"/workflows/{made['id']}", workflow("Other"))).status_code == 200
    assert (await acme.call("DELETE", f"/workflows/{made['id']}")).status_code == 204


async def test_schedules(acme: World) -> None:
    await limit(acme, schedules=1)
    made = await acme.made(workflow("One", triggers=[hourly()]))
    twice = workflow("One", triggers=[hourly(), hourly("again")])
    assert refusal(await acme.call("PUT", f"/workflows/{made['id']}", twice)) == (402, "schedules", 1, 1)
    refused = await acme.call("POST", "/scheduled-tasks", task())
    assert refusal(refused) == (402, "schedules", 1, 1), refused.text


async def test_actions_of_an_execution(acme: World) -> None:
    await limit(acme, actions_per_execution=2)
    actions = [{**LOG, "key": f"a{number}"} for number in range(3)]
    refused = await acme.call("POST", "/workflows", workflow("Three", actions=actions))
    assert refusal(refused) == (402, "actions_per_execution", 2, 3)
    await acme.made(workflow("Two", actions=actions[:2]))


async def test_payloads(acme: World, hooks: httpx.AsyncClient, address: str) -> None:
    made = await acme.made(workflow("Fed"))
    await limit(acme, payload_bytes=100)
    fits, large = {"input": {"text": "x" * 50}}, {"input": {"text": "x" * 100}}
    assert (await acme.call("POST", f"/workflows/{made['id']}/execute", fits)).status_code == 202
    refused = await acme.call("POST", f"/workflows/{made['id']}/execute", large)
    assert refusal(refused)[:3] == (413, "payload_bytes", 100)
    assert (await hooks.post(address, json=fits)).status_code == 202
    assert refusal(await hooks.post(address, json=large)) == (413, "payload_bytes", 100, None)


async def test_stored_bytes(acme: World, hooks: httpx.AsyncClient, address: str) -> None:
    made = await acme.made(workflow("Full"))
    await limit(acme, stored_bytes=1_000)
    await acme.fetch("UPDATE tenants SET stored_bytes = 999 WHERE slug = 'acme'")
    assert (await hooks.post(address)).status_code == 202
    await acme.fetch("UPDATE tenants SET stored_bytes = 1000 WHERE slug = 'acme'")
    acme.clock.move(2.0)
    full = (402, "stored_bytes", 1_000, 1_000)
    assert refusal(await hooks.post(address)) == full
    assert refusal(await acme.call("POST", f"/workflows/{made['id']}/execute")) == full
    assert refusal(await acme.call("POST", "/collections/notes/records", {"data": {}})) == full


async def test_executions_in_flight(acme: World, hooks: httpx.AsyncClient, address: str) -> None:
    made = await acme.made(workflow("Busy"))
    run = f"/workflows/{made['id']}/execute"
    await limit(acme, executions_in_flight=3)
    assert [(await hooks.post(address)).status_code for _ in range(2)] == [202] * 2
    assert (await acme.call("POST", run)).status_code == 202
    refused = await acme.call("POST", run)
    assert refusal(refused) == (429, "executions_in_flight", 3, 3)
    assert refused.headers["retry-after"] == "2"
    await acme.fetch("UPDATE executions SET status = 'waiting'")  # what waits holds no place
    async with patience():
        while (await acme.call("POST", run)).status_code == 429:  # the last count stands for some milliseconds
            continue
    assert [(await acme.call("POST", run)).status_code for _ in range(3)] == [202, 202, 429]
