"""Every outcome of a call to a webhook: what the caller gets, what is on record, what starts."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from libs.common.telemetry.registry import REGISTRY
from services.webhooks.app import WebhooksService
from tests.integration.conftest import World
from tests.integration.gateway.definitions import hourly, workflow
from tests.integration.webhooks.conftest import BODY, JSON, made_trigger, open_trigger, outcomes, signed
from tests.waiting import until


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


async def test_who_is_not_authenticated_gets_401_and_starts_nothing(acme: World, ingress: httpx.AsyncClient) -> None:
    bearer = {"type": "bearer", "token": "right-token"}
    api_key = {"type": "api_key", "token": "right-token"}
    cases: list[tuple[dict[str, str] | None, dict[str, str], str, str]] = [
        (None, {}, "", "missing_token"),
        (None, {"X-Webhook-Token": "wrong"}, "", "bad_token"),
        (None, {}, "/wrong", "bad_token"),
        ({"type": "none"}, {}, "/wrong", "bad_token"),
        (bearer, {"Authorization": "Bearer wrong"}, "", "bad_token"),
        (bearer, {"Authorization": "Basic right-token"}, "", "missing_token"),
        (bearer, {}, "/right-token", "bad_token"),
        (api_key, {"X-API-Key": "right-toke"}, "", "bad_token"),
        (api_key, {"Authorization": "Bearer right-token"}, "", "missing_token"),
        ({"type": "hmac"}, {}, "", "signature"),
        ({"type": "hmac"}, {"X-Signature-256": "zz"}, "", "signature"),
        ({"type": "hmac"}, {"X-Signature-256": "0" * 64}, "", "signature"),
    ]
    for auth, headers, path, outcome in cases:
        trigger = await made_trigger(acme, config={"auth": auth} if auth else {})
        answer = await ingress.post(f"/webhooks/{trigger['id']}{path}", content=BODY, headers={**JSON, **headers})
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
        assert outcome not in answer.text
    assert await outcomes(acme) == [(outcome, 401, False) for *_, outcome in cases]
    assert await acme.count("executions") == 0


async def test_what_is_not_there_whyever_answers_the_same_404(acme: World, ingress: httpx.AsyncClient) -> None:
    gone = await open_trigger(acme)
    other = await acme.made(workflow("Other", triggers=[hourly()]))
    assert (await acme.call("DELETE", f"/workflows/{gone['workflow_id']}")).status_code == 204
    ids = (uuid4(), gone["id"], other["id"], other["triggers"][0]["id"], "nonsense", "%00", "a/b/c", "")
    answers = [await ingress.post(f"/webhooks/{which}", content=BODY) for which in ids]
    assert {answer.status_code for answer in answers} == {404}
    documents = [{**answer.json(), "request_id": None} for answer in answers]
    assert documents == [documents[0]] * len(ids)
    assert len({frozenset(answer.headers) for answer in answers}) == 1
    assert await acme.count("webhook_logs") == 0


async def test_other_addresses_answer_404_with_a_problem(ingress: httpx.AsyncClient) -> None:
    answer = await ingress.get("/elsewhere")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["type"] == "urn:signalbox:problem:not-found"


@pytest.mark.parametrize("what", ["trigger", "workflow"])
async def test_what_is_switched_off_answers_as_if_it_were_not_there(
    acme: World, ingress: httpx.AsyncClient, what: str
) -> None:
    trigger = await open_trigger(acme, enabled=what != "trigger")
    if what == "workflow":
        await acme.call("PATCH", f"/workflows/{trigger['workflow_id']}/enable", {"enabled": False})
    answer, unknown = [await ingress.post(f"/webhooks/{which}", content=BODY) for which in (trigger["id"], uuid4())]
    assert answer.status_code == 404
    assert {**answer.json(), "request_id": None} == {**unknown.json(), "request_id": None}
    assert await outcomes(acme) == [("disabled", 404, False)]


async def test_calls_of_a_suspended_tenant_answer_403(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = await open_trigger(acme)
    await acme.fetch("UPDATE tenants SET status = 'suspended' WHERE slug = 'acme'")
    answer = await ingress.post(f"/webhooks/{trigger['id']}", content=BODY)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:signalbox:problem:tenant-suspended")
    assert (await ingress.options(f"/webhooks/{trigger['id']}")).status_code == 403
    assert await outcomes(acme) == [("suspended", 403, False)] * 2


async def test_calls_of_a_tenant_that_is_erased_find_nothing(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = await open_trigger(acme)
    await acme.fetch("UPDATE tenants SET status = 'erasing' WHERE slug = 'acme'")
    assert (await ingress.post(f"/webhooks/{trigger['id']}", content=BODY)).status_code == 404
    assert await outcomes(acme) == []


async def test_another_method_answers_405_with_allow(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = await made_trigger(acme, config={"auth": {"type": "none"}, "methods": ["POST", "PUT"]})
    answer = await ingress.get(f"/webhooks/{trigger['id']}")
    assert (answer.status_code, set(answer.headers["allow"].split(", "))) == (405, {"POST", "PUT"})
    assert await outcomes(acme) == [("method", 405, False)]


async def test_a_bad_body_is_refused_and_logged(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = await open_trigger(acme)
    bad = (
        b'{"a": ',
        b'{"a": NaN}',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b"1e400",
        b"[" * 65 + b"]" * 65,
        b'{"a": 1, "b": [{"c": 1, "c": 2}]}',
    )
    for body in bad:
        answer = await ingress.post(f"/webhooks/{trigger['id']}", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:signalbox:problem:malformed-input"), body
    too_large = await ingress.post(f"/webhooks/{trigger['id']}", content=b"x" * 2049, headers=JSON)
    assert (too_large.status_code, too_large.json()["status"]) == (413, 413)
    assert await outcomes(acme) == [("body", 400, False)] * len(bad) + [("size", 413, False)]
    assert await acme.count("executions") == 0


async def test_the_trigger_may_take_less_than_the_installation(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = await made_trigger(acme, config={"auth": {"type": "none"}, "max_bytes": 10})
    answers = [await ingress.post(f"/webhooks/{trigger['id']}", content=b"1" * size) for size in (10, 11)]
    assert [answer.status_code for answer in answers] == [202, 413]


async def test_too_large_headers_answer_400(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = await open_trigger(acme)
    answer = await ingress.post(f"/webhooks/{trigger['id']}", content=BODY, headers={"X-Large": "x" * 5000})
    assert answer.status_code == 400
    assert await acme.count("executions") == 0


async def test_a_body_becomes_a_value_by_its_type(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = await open_trigger(acme)
    cases: list[tuple[str, bytes, Any]] = [
        ("application/x-www-form-urlencoded", b"a=1&b=x+y&c=%00", {"a": "1", "b": "x y", "c": "\0"}),
        ("text/plain; charset=utf-8", b"hello\0", "hello\0"),
        ("application/x-www-form-urlencoded", b"a=1&b=2&a=3&a=4", {"a": ["1", "3", "4"], "b": "2"}),
        ("application/xml", b"<a/>", {"a": None}),
        ("application/soap+xml", b'<a n="1"><b>x</b><b/>t</a>', {"a": {"@n": "1", "b": ["x", None], "#text": "t"}}),
        ("application/pdf", b"%PDF\xff", "JVBERv8="),
        ("application/json", b"", None),
        ("application/cloudevents+json", b"[1, 2.50]", [1, 2.5]),
        ("application/json", b'"\\u0000"', "\0"),
        ("application/json", b"1" * 30, int("1" * 30)),
        ("application/json", b"[" * 64 + b"]" * 64, json.loads("[" * 64 + "]" * 64)),
        ("", b'{"a": 1}', {"a": 1}),
    ]
    for content_type, body, value in cases:
        headers = {"Content-Type": content_type}
        answer = await ingress.post(f"/webhooks/{trigger['id']}?x=%00", content=body, headers=headers)
        assert answer.status_code == 202, body
        execution_id = answer.json()["execution_id"]
        (row,) = await acme.fetch("SELECT input FROM executions WHERE id = $1", execution_id)
        assert json.loads(row["input"])["body"] == value
        assert json.loads(row["input"])["query"] == {"x": "\0"}
    logged = await acme.fetch("SELECT body FROM webhook_logs ORDER BY id")
    assert [row["body"] for row in logged] == [body for _, body, _ in cases]


async def test_conditions_that_do_not_hold_start_nothing(acme: World, ingress: httpx.AsyncClient) -> None:
    condition = {"field": "webhook.body.amount", "operator": "greater_than", "value": 10}
    trigger = await open_trigger(acme, conditions=[condition])
    small = await ingress.post(f"/webhooks/{trigger['id']}", content=BODY, headers=JSON)
    large = await ingress.post(f"/webhooks/{trigger['id']}", content=b'{"amount": 11}', headers=JSON)
    assert (small.status_code, small.json()["execution_id"]) == (202, None)
    assert large.json()["execution_id"] is not None
    assert await outcomes(acme) == [("no_match", 202, False), ("accepted", 202, True)]


async def test_a_condition_that_the_call_lets_nobody_evaluate_does_not_hold(
    acme: World, ingress: httpx.AsyncClient
) -> None:
    condition = {"field": "webhook.body.amount", "operator": "greater_than", "value": "{{ webhook.body.limit }}"}
    trigger = await open_trigger(acme, conditions=[condition])
    without = await ingress.post(f"/webhooks/{trigger['id']}", content=BODY, headers=JSON)
    with_limit = await ingress.post(f"/webhooks/{trigger['id']}", content=b'{"amount": 7, "limit": 5}', headers=JSON)
    assert (without.status_code, without.json()["execution_id"]) == (202, None)
    assert with_limit.json()["execution_id"] is not None
    assert await outcomes(acme) == [("condition_error", 202, False), ("accepted", 202, True)]


async def test_a_change_is_seen_once_the_remembered_trigger_is_too_old(acme: World) -> None:
    service = WebhooksService(acme.service_parts(cache_seconds=0.3))
    trigger = await open_trigger(acme)
    transport = httpx.ASGITransport(service.app)  # pyright: ignore[reportArgumentType]
    async with httpx.AsyncClient(transport=transport, base_url="http://hooks.test") as client:
        assert (await client.post(f"/webhooks/{trigger['id']}")).status_code == 202
        await acme.call("PATCH", f"/workflows/{trigger['workflow_id']}/enable", {"enabled": False})

        async def is_refused() -> bool:
            return (await client.post(f"/webhooks/{trigger['id']}")).status_code == 404

        await until(is_refused)


async def test_a_method_that_the_trigger_takes_starts_it(acme: World, ingress: httpx.AsyncClient) -> None:
    methods = ["GET", "HEAD", "PUT", "PATCH", "DELETE"]
    trigger = await made_trigger(acme, config={"auth": {"type": "none"}, "methods": methods})
    answers = [await ingress.request(method, f"/webhooks/{trigger['id']}?a=1") for method in methods]
    assert [answer.status_code for answer in answers] == [202] * len(methods)
    brought = [json.loads(row["input"]) for row in await acme.fetch("SELECT input FROM executions ORDER BY id")]
    assert [(one["method"], one["query"], one["body"]) for one in brought] == [
        (method, {"a": "1"}, None) for method in methods
    ]


async def test_request_and_trace_ids_go_through(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = await open_trigger(acme)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"X-Request-ID": "call-17", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    answers = [await ingress.post(f"/webhooks/{which}", headers=headers) for which in (trigger["id"], uuid4())]
    assert [answer.headers["x-request-id"] for answer in answers] == ["call-17", "call-17"]
    assert answers[1].json()["request_id"] == "call-17"
    odd = [await ingress.post(f"/webhooks/{uuid4()}", headers={b"X-Request-ID": one}) for one in (b"x" * 129, b"\xe9")]
    assert [UUID(answer.headers["x-request-id"]).version for answer in odd] == [7, 7]
    (row,) = await acme.fetch("SELECT traceparent FROM executions")
    assert row["traceparent"].split("-")[1] == trace


async def test_every_call_is_counted_by_its_outcome(acme: World, ingress: httpx.AsyncClient) -> None:
    def counted() -> list[float]:
        name = "signalbox_webhook_calls_total"
        return [REGISTRY.get_sample_value(name, {"outcome": one}) or 0 for one in ("accepted", "bad_token", "unknown")]

    trigger, before = await open_trigger(acme), counted()
    for path in ("", "/wrong", "/wrong"):
        await ingress.post(f"/webhooks/{trigger['id']}{path}")
    await ingress.post(f"/webhooks/{uuid4()}")
    assert [after - start for after, start in zip(counted(), before, strict=True)] == [1, 2, 1]


async def test_many_calls_at_once_are_each_answered_with_their_own_execution(
    acme: World, ingress: httpx.AsyncClient
) -> None:
    trigger = await open_trigger(acme)
    calls = [ingress.post(f"/webhooks/{trigger['id']}", content=json.dumps({"n": n}), headers=JSON) for n in range(200)]
    answers = await asyncio.gather(*calls)
    ids = {answer.json()["execution_id"]: n for n, answer in enumerate(answers)}
    rows = await acme.fetch("SELECT id, input FROM executions")
    assert {str(row["id"]): json.loads(row["input"])["body"]["n"] for row in rows} == ids
