"""Every outcome of a call to a webhook: what the caller gets, what is on record, what starts."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from libs.common.db.pool import Database
from services.webhooks.app import WebhooksService
from tests.integration.conftest import World
from tests.integration.gateway.definitions import webhook, workflow

BODY = b'{"amount": 7, "note": "caf\xc3\xa9"}'
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def ingress(acme: World) -> AsyncIterator[httpx.AsyncClient]:
    service = WebhooksService(acme.service_parts(cache_seconds=0.0, max_body_bytes=2048, max_header_bytes=4096))
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)  # pyright: ignore[reportArgumentType]
    async with httpx.AsyncClient(transport=transport, base_url="http://hooks.test") as client:
        yield client


async def made_trigger(world: World, **more: Any) -> dict[str, Any]:
    trigger = {**webhook(), **more}
    return (await world.made(workflow(triggers=[trigger])))["triggers"][0]


def signed(trigger: dict[str, Any], body: bytes = BODY) -> dict[str, str]:
    digest = hmac.new(trigger["secret"].encode(), body, hashlib.sha256).hexdigest()
    return {**JSON, "X-Signature-256": digest}


async def outcomes(world: World) -> list[tuple[str, int, bool]]:
    rows = await world.fetch("SELECT outcome, status, execution_id FROM webhook_logs ORDER BY id")
    return [(row["outcome"], row["status"], row["execution_id"] is not None) for row in rows]


async def test_a_good_call_is_committed_with_its_execution(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = await made_trigger(acme, config={"auth": {"type": "hmac"}})
    answer = await ingress.post(
        f"/webhooks/{trigger['id']}?a=1&b=", content=BODY, headers={**signed(trigger), "User-Agent": "GitHub-Hookshot"}
    )
    assert (answer.status_code, answer.json()["success"]) == (202, True)
    execution_id = answer.json()["execution_id"]
    assert answer.headers["location"] == f"/api/v1/executions/{execution_id}"
    (row,) = await acme.fetch("SELECT * FROM executions")
    assert (str(row["id"]), row["status"], row["trigger_type"]) == (execution_id, "pending", "webhook")
    brought = json.loads(row["input"])
    assert (brought["method"], brought["query"], brought["body"]) == ("POST", {"a": "1", "b": ""}, json.loads(BODY))
    (log,) = await acme.fetch("SELECT * FROM webhook_logs")
    assert (log["outcome"], log["status"], str(log["execution_id"])) == ("accepted", 202, execution_id)
    assert (log["body"], log["user_agent"], log["query"]) == (BODY, "GitHub-Hookshot", "a=1&b=")


@pytest.mark.parametrize(
    ("auth", "headers", "path", "outcome"),
    [
        (None, {}, "", "missing_token"),
        (None, {"X-Webhook-Token": "wrong"}, "", "bad_token"),
        (None, {}, "/wrong", "bad_token"),
        ({"type": "none"}, {}, "/wrong", "bad_token"),
        ({"type": "bearer", "token": "right-token"}, {"Authorization": "Bearer wrong"}, "", "bad_token"),
        ({"type": "bearer", "token": "right-token"}, {"Authorization": "Basic right-token"}, "", "missing_token"),
        ({"type": "api_key", "token": "right-token"}, {"X-API-Key": "right-toke"}, "", "bad_token"),
        ({"type": "hmac"}, {}, "", "missing_signature"),
        ({"type": "hmac"}, {"X-Signature-256": "zz"}, "", "bad_signature"),
        ({"type": "hmac"}, {"X-Signature-256": "0" * 64}, "", "bad_signature"),
    ],
)
async def test_who_is_not_authenticated_gets_401_and_starts_nothing(
    acme: World, ingress: httpx.AsyncClient, auth: dict[str, str] | None, headers: dict[str, str], path: str,
    outcome: str,
) -> None:  # fmt: skip
    trigger = await made_trigger(acme, config={"auth": auth} if auth else {})
    answer = await ingress.post(f"/webhooks/{trigger['id']}{path}", content=BODY, headers={**JSON, **headers})
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert outcome not in answer.text
    assert await outcomes(acme) == [(outcome, 401, False)]
    assert await acme.count("executions") == 0


@pytest.mark.parametrize("way", ["path", "header", "bearer"])
async def test_the_token_of_the_address_opens_a_trigger_without_auth(
    acme: World, ingress: httpx.AsyncClient, way: str
) -> None:
    trigger = await made_trigger(acme)
    token = trigger["token"]
    headers = {"header": {"X-Webhook-Token": token}, "bearer": {"Authorization": f"Bearer {token}"}}.get(way, {})
    path = f"/{token}" if way == "path" else ""
    answer = await ingress.post(f"/webhooks/{trigger['id']}{path}", content=BODY, headers={**JSON, **headers})
    assert answer.status_code == 202
    assert token not in str(await acme.fetch("SELECT headers FROM webhook_logs"))
    assert token not in str(await acme.fetch("SELECT input FROM executions"))


async def test_an_unknown_and_a_malformed_id_answer_the_same_404(acme: World, ingress: httpx.AsyncClient) -> None:
    answers = [await ingress.post(f"/webhooks/{which}", content=BODY) for which in (uuid4(), "nonsense", "a/b/c")]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert len({answer.json()["detail"] for answer in answers}) == 1
    assert await acme.count("webhook_logs") == 0


async def test_a_disabled_workflow_and_a_suspended_tenant_answer_404(acme: World, ingress: httpx.AsyncClient) -> None:
    made = await acme.made(workflow(triggers=[webhook(type="none")]))
    path = f"/webhooks/{made['triggers'][0]['id']}"
    assert (await acme.call("PATCH", f"/workflows/{made['id']}/enable", {"enabled": False})).status_code == 200
    assert (await ingress.post(path, content=BODY)).status_code == 404
    assert await outcomes(acme) == [("disabled", 404, False)]


async def test_another_method_answers_405_with_allow(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = await made_trigger(acme, config={"auth": {"type": "none"}, "methods": ["POST", "PUT"]})
    answer = await ingress.get(f"/webhooks/{trigger['id']}")
    assert (answer.status_code, set(answer.headers["allow"].split(", "))) == (405, {"POST", "PUT"})
    assert await outcomes(acme) == [("method", 405, False)]


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        (b"x" * 2049, 413, "too-large"), (b'{"a": ', 400, "body"), (b'{"a": NaN}', 400, "body"),
        (b'"\xff"', 400, "body"), (b"[" * 500 + b"]" * 500, 400, "body"),
    ],
)  # fmt: skip
async def test_a_bad_body_is_refused_and_logged(
    acme: World, ingress: httpx.AsyncClient, body: bytes, status: int, outcome: str
) -> None:
    trigger = await made_trigger(acme, config={"auth": {"type": "none"}})
    answer = await ingress.post(f"/webhooks/{trigger['id']}", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert await outcomes(acme) == [(outcome, status, False)]
    assert await acme.count("executions") == 0


async def test_too_large_headers_answer_400(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = await made_trigger(acme, config={"auth": {"type": "none"}})
    answer = await ingress.post(f"/webhooks/{trigger['id']}", content=BODY, headers={"X-Large": "x" * 5000})
    assert answer.status_code == 400
    assert await acme.count("executions") == 0


@pytest.mark.parametrize(
    ("content_type", "body", "value"),
    [
        ("application/x-www-form-urlencoded", b"a=1&b=x+y", {"a": "1", "b": "x y"}),
        ("text/plain; charset=utf-8", b"hello", "hello"), ("application/xml", b"<a/>", "<a/>"),
        ("application/json", b"", None), ("application/cloudevents+json", b"[1, 2.50]", [1, 2.5]),
    ],
)  # fmt: skip
async def test_a_body_becomes_a_value_by_its_type(
    acme: World, ingress: httpx.AsyncClient, content_type: str, body: bytes, value: Any
) -> None:
    trigger = await made_trigger(acme, config={"auth": {"type": "none"}})
    answer = await ingress.post(f"/webhooks/{trigger['id']}", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 202
    (row,) = await acme.fetch("SELECT input FROM executions")
    assert json.loads(row["input"])["body"] == value


async def test_conditions_that_do_not_hold_start_nothing(acme: World, ingress: httpx.AsyncClient) -> None:
    condition = {"field": "webhook.body.amount", "operator": "greater_than", "value": 10}
    trigger = await made_trigger(acme, config={"auth": {"type": "none"}}, conditions=[condition])
    small = await ingress.post(f"/webhooks/{trigger['id']}", content=BODY, headers=JSON)
    large = await ingress.post(f"/webhooks/{trigger['id']}", content=b'{"amount": 11}', headers=JSON)
    assert (small.status_code, small.json()["execution_id"]) == (202, None)
    assert large.json()["execution_id"] is not None
    assert await outcomes(acme) == [("no_match", 202, False), ("accepted", 202, True)]


async def test_credentials_in_headers_are_not_stored(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = await made_trigger(acme, config={"auth": {"type": "bearer", "token": "s3cret-token-value"}})
    headers = {**JSON, "Authorization": "Bearer s3cret-token-value", "Cookie": "session=abc123", "X-Plain": "kept"}
    assert (await ingress.post(f"/webhooks/{trigger['id']}", content=BODY, headers=headers)).status_code == 202
    stored = str(await acme.fetch("SELECT headers FROM webhook_logs")) + str(
        await acme.fetch("SELECT input FROM executions")
    )
    assert "kept" in stored
    assert "s3cret-token-value" not in stored
    assert "abc123" not in stored


async def test_a_database_that_is_away_answers_503_and_stores_nothing(
    acme: World, ingress: httpx.AsyncClient, database_dsn: str
) -> None:
    trigger = await made_trigger(acme, config={"auth": {"type": "none"}})
    database: Database = acme.parts.database
    await database.close()
    answer = await ingress.post(f"/webhooks/{trigger['id']}", content=BODY, headers=JSON)
    assert (answer.status_code, answer.json()["status"]) == (503, 503)
    assert int(answer.headers["retry-after"]) > 0
    connection = await asyncpg.connect(database_dsn)
    assert await connection.fetchval("SELECT count(*) FROM executions") == 0
    await connection.close()


async def test_many_calls_at_once_are_each_answered_with_their_own_execution(
    acme: World, ingress: httpx.AsyncClient
) -> None:
    trigger = await made_trigger(acme, config={"auth": {"type": "none"}})
    calls = [ingress.post(f"/webhooks/{trigger['id']}", content=json.dumps({"n": n}), headers=JSON) for n in range(200)]
    answers = await asyncio.gather(*calls)
    ids = {answer.json()["execution_id"]: n for n, answer in enumerate(answers)}
    rows = await acme.fetch("SELECT id, input FROM executions")
    assert {str(row["id"]): json.loads(row["input"])["body"]["n"] for row in rows} == ids
