"""The log of calls as the tenant sees it: every call, refused ones too, with what was wrong; floods are counted."""

import json
from typing import Any
from uuid import uuid4

import httpx

from services.webhooks.app import WebhooksService
from tests.integration.conftest import World
from tests.integration.webhooks.conftest import BODY, JSON, made_trigger, open_trigger, signed


async def logs_of(world: World, trigger: dict[str, Any], query: str = "", **more: str) -> Any:
    answer = await world.call("GET", f"/triggers/{trigger['id']}/webhook-logs{query}", **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_call_is_shown_with_what_came_and_what_became_of_it(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = await made_trigger(acme, config={"auth": {"type": "hmac"}})
    path = f"/webhooks/{trigger['id']}?page=2&token=s3cr3t"
    headers = {**signed(trigger), "User-Agent": "Hookshot", "Authorization": "Bearer s3cr3t"}
    accepted = await ingress.post(path, content=BODY, headers=headers)
    assert (await ingress.post(path, content=BODY + b" ", headers=headers)).status_code == 401
    refused, good = (await logs_of(acme, trigger))["items"]
    assert (good["outcome"], good["status"], good["execution_id"]) == ("accepted", 202, accepted.json()["execution_id"])
    assert (refused["outcome"], refused["status"], refused["execution_id"]) == ("signature", 401, None)
    assert refused["detail"] == "The call is not authenticated."
    for one in (good, refused):
        assert (one["method"], one["ip"], one["user_agent"]) == ("POST", "127.0.0.1", "Hookshot")
        assert (one["query"], one["microseconds"] > 0, one["stands_for"]) == ("page=2&token=***", True, 1)
    shown = (await acme.call("GET", f"/webhook-logs/{good['id']}")).json()
    assert (shown["body"], shown["body_encoding"], shown["body_cut"]) == (BODY.decode(), "text", False)
    assert (shown["headers"]["authorization"], shown["headers"]["user-agent"]) == ("***", "Hookshot")
    assert {name: shown[name] for name in good} == good
    for path in (f"/webhook-logs/{good['id']}", f"/triggers/{trigger['id']}/webhook-logs"):
        assert (await acme.call("GET", path, slug="other")).status_code == 404
    assert (await acme.call("GET", f"/webhook-logs/{uuid4()}")).status_code == 404


async def test_a_log_is_filtered_and_paged(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = await open_trigger(acme)
    for number in range(7):
        body = b"{" if number % 3 == 0 else BODY
        await ingress.post(f"/webhooks/{trigger['id']}?n={number}", content=body, headers=JSON)

    def numbers(found: Any) -> list[str]:
        return [one["query"] for one in found["items"]]

    assert numbers(await logs_of(acme, trigger, "?outcome=body")) == ["n=6", "n=3", "n=0"]
    assert numbers(await logs_of(acme, trigger, "?status=202")) == ["n=5", "n=4", "n=2", "n=1"]
    first = await logs_of(acme, trigger, "?limit=4&status=202")
    assert (len(first["items"]), first["next_cursor"]) == (4, None)
    first = await logs_of(acme, trigger, "?limit=5")
    rest = await logs_of(acme, trigger, f"?limit=5&cursor={first['next_cursor']}")
    assert (numbers(first), numbers(rest), rest["next_cursor"]) == (
        [f"n={n}" for n in (6, 5, 4, 3, 2)], ["n=1", "n=0"], None,
    )  # fmt: skip
    assert numbers(await logs_of(acme, trigger, "?to=2020-01-01T00:00:00Z")) == []
    assert len(numbers(await logs_of(acme, trigger, "?from=2020-01-01T00:00:00Z"))) == 7


async def test_what_is_no_text_is_shown_as_base64_and_a_long_refused_body_is_cut(
    acme: World, ingress: httpx.AsyncClient
) -> None:
    trigger, large = await open_trigger(acme), await made_trigger(acme)
    service = WebhooksService(acme.service_parts())
    transport = httpx.ASGITransport(service.app)  # pyright: ignore[reportArgumentType]
    async with httpx.AsyncClient(transport=transport, base_url="http://hooks.test") as client:
        await client.post(f"/webhooks/{trigger['id']}", content=b"\xff\xfe", headers={"Content-Type": "image/png"})
        await client.post(f"/webhooks/{large['id']}", content=b" " * 10_000, headers=JSON)
    for one, expected in ((trigger, ("//4=", "base64", False, 2)), (large, (" " * 4_096, "text", True, 10_000))):
        (item,) = (await logs_of(acme, one))["items"]
        shown = (await acme.call("GET", f"/webhook-logs/{item['id']}")).json()
        assert (shown["body"], shown["body_encoding"], shown["body_cut"], shown["body_bytes"]) == expected


async def test_a_flood_of_refused_calls_is_sampled_and_counted(acme: World) -> None:
    trigger, other = await made_trigger(acme), await made_trigger(acme)
    service = WebhooksService(acme.service_parts())
    transport = httpx.ASGITransport(service.app)  # pyright: ignore[reportArgumentType]
    async with httpx.AsyncClient(transport=transport, base_url="http://hooks.test") as client:
        for _ in range(350):
            assert (await client.post(f"/webhooks/{trigger['id']}/wrong", content=BODY)).status_code == 401
        await client.post(f"/webhooks/{other['id']}/wrong", content=BODY)
        for _ in range(3):
            await client.post(f"/webhooks/{trigger['id']}/{trigger['token']}", content=BODY)
    await service.stop()
    rows = await acme.fetch("SELECT trigger_id, outcome, stands_for FROM webhook_logs")
    refused = [
        row["stands_for"] for row in rows if str(row["trigger_id"]) == trigger["id"] if row["outcome"] != "accepted"
    ]
    assert (sorted(refused), sum(refused)) == ([1] * 100 + [50, 100, 100], 350)
    assert len(rows) == 103 + 1 + 3


async def test_a_custom_answer_is_on_record(acme: World, ingress: httpx.AsyncClient) -> None:
    response = {"status": 201, "headers": {"X-Kind": "made"}, "body": {"got": "{{ webhook.body.amount }}"}}
    trigger = await made_trigger(acme, config={"auth": {"type": "none"}, "response": response})
    answer = await ingress.post(f"/webhooks/{trigger['id']}", content=BODY, headers=JSON)
    assert (answer.status_code, answer.headers["x-kind"], answer.json()) == (201, "made", {"got": 7})
    (item,) = (await logs_of(acme, trigger))["items"]
    shown = (await acme.call("GET", f"/webhook-logs/{item['id']}")).json()
    assert (item["status"], shown["answer"]["status"], json.loads(shown["answer"]["body"])) == (201, 201, {"got": 7})
