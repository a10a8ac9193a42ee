"""The checks in their order: each by its name in the log, the status that the caller gets, and before which others."""

import gzip
from ipaddress import ip_network
from typing import Any

import httpx
import pytest

from libs.common.settings import Networks, Secret
from services.webhooks.app import WebhooksService
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow
from tests.integration.webhooks.conftest import BODY, JSON, made_trigger, outcomes

OPEN = {"auth": {"type": "none"}}
SCHEMA = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}}


async def trigger_of(world: World, **config: Any) -> str:
    """The address of a trigger with that config."""
    return f"/webhooks/{(await made_trigger(world, config={**OPEN, **config}))['id']}"


def caller(service: WebhooksService, ip: str) -> httpx.AsyncClient:
    """A caller that connects from there."""
    transport = httpx.ASGITransport(service.app, client=(ip, 1), raise_app_exceptions=False)  # pyright: ignore[reportArgumentType]
    return httpx.AsyncClient(transport=transport, base_url="http://hooks.test")


async def test_only_calls_from_the_networks_of_the_trigger_come_in(acme: World, service: WebhooksService) -> None:
    path = await trigger_of(acme, networks=["203.0.113.0/24", "2001:db8::/32", "198.51.100.7"])
    for ip, status in {
        "203.0.113.9": 202, "203.0.114.9": 403, "2001:db8::1": 202, "2001:db9::1": 403, "198.51.100.7": 202,
        "::ffff:203.0.113.9": 202, "unknown": 403,
    }.items():  # fmt: skip
        async with caller(service, ip) as client:
            answer = await client.post(path, content=BODY, headers={**JSON, "X-Forwarded-For": "203.0.113.1"})
            assert (ip, answer.status_code) == (ip, status)
    assert [outcome for outcome, *_ in await outcomes(acme)].count("address") == 3


async def test_forwarded_addresses_count_as_far_as_proxies_are_trusted(acme: World) -> None:
    service = WebhooksService(acme.service_parts(trusted_proxies=Networks([ip_network("10.0.0.0/8")])))
    path = await trigger_of(acme, networks=["203.0.113.0/24"])
    cases = [
        ("10.0.0.1", "203.0.113.9", 202, "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9:4711, 10.2.0.1", 202, "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.1", 403, "198.51.100.1"),
        ("10.0.0.1", "203.0.113.9, nonsense", 403, "10.0.0.1"),
        ("198.51.100.1", "203.0.113.9", 403, "198.51.100.1"),
    ]
    for ip, forwarded, status, _ in cases:
        async with caller(service, ip) as client:
            answer = await client.post(path, content=BODY, headers={**JSON, "X-Forwarded-For": forwarded})
            assert (forwarded, answer.status_code) == (forwarded, status)
    rows = await acme.fetch("SELECT ip FROM webhook_logs ORDER BY id")
    assert [row["ip"] for row in rows] == [address for *_, address in cases]


async def test_pages_of_other_origins_are_refused(acme: World, ingress: httpx.AsyncClient) -> None:
    path = await trigger_of(acme, origins=["https://app.example.com"])
    for origin, status in {"https://app.example.com": 202, "https://evil.example.com": 403, "null": 403}.items():
        answer = await ingress.post(path, content=BODY, headers={**JSON, "Origin": origin})
        assert (origin, answer.status_code) == (origin, status)
        assert answer.headers.get("access-control-allow-origin") == (origin if status == 202 else None)
    assert (await ingress.post(path, content=BODY, headers=JSON)).status_code == 202
    assert ("origin", 403, False) in await outcomes(acme)


async def test_content_types_that_are_not_taken_get_415(acme: World, ingress: httpx.AsyncClient) -> None:
    path, any_type = await trigger_of(acme, content_types=["application/json", "text/*"]), await trigger_of(acme)
    cases: list[tuple[str, dict[str, str], bytes, int]] = [
        (path, {"Content-Type": "application/json; charset=utf-8"}, BODY, 202),
        (path, {"Content-Type": "text/csv"}, b"a,b", 202),
        (path, {"Content-Type": "application/xml"}, b"<a/>", 415),
        (path, {}, b"", 202),
        (any_type, {"Content-Type": "multipart/form-data; boundary=x"}, b"--x--", 415),
        (any_type, {**JSON, "Content-Encoding": "br"}, b"x", 415),
        (any_type, {**JSON, "Content-Encoding": "gzip"}, gzip.compress(BODY), 202),
        (any_type, {**JSON, "Content-Encoding": "gzip"}, BODY, 400),
        (any_type, {**JSON, "Content-Encoding": "gzip"}, gzip.compress(b" " * 1_000_000), 413),
    ]
    for address, headers, body, status in cases:
        answer = await ingress.post(address, content=body, headers=headers)
        assert (headers, answer.status_code) == (headers, status)


@pytest.mark.parametrize("shared", [True, False])
async def test_more_calls_than_the_rate_get_429(acme: World, redis_url: str, shared: bool) -> None:
    """Over Redis two services share the number; without it each counts by itself."""
    url = Secret(redis_url if shared else "")
    services = [WebhooksService(acme.service_parts(redis_url=url)) for _ in range(2)]
    path, free = await trigger_of(acme, rate="3/h"), await trigger_of(acme)
    statuses: list[int] = []
    for service in (services[0], services[1]) * 3:
        async with caller(service, "203.0.113.1") as client:
            answer = await client.post(path, content=BODY, headers=JSON)
            statuses.append(answer.status_code)
            if answer.status_code == 429:
                assert 1000 < int(answer.headers["retry-after"]) <= 1200
            assert (await client.post(free, content=BODY, headers=JSON)).status_code == 202
    assert statuses == [202] * 3 + [429] * 3 if shared else statuses == [202] * 6
    for service in services:
        await service.stop()


async def test_the_default_rate_is_a_setting(acme: World) -> None:
    service = WebhooksService(acme.service_parts(webhook_rate="1/d"))
    plain, own = await trigger_of(acme), await trigger_of(acme, rate="100/s")
    async with caller(service, "203.0.113.1") as client:
        assert [(await client.post(plain)).status_code for _ in range(2)] == [202, 429]
        assert [(await client.post(own)).status_code for _ in range(2)] == [202, 202]
    await service.stop()


async def test_a_call_that_does_not_fit_the_schema_gets_422_with_every_fault(
    acme: World, ingress: httpx.AsyncClient
) -> None:
    made = await acme.made(
        workflow("Checked", triggers=[{"key": "h", "type": "webhook", "config": OPEN}], input_schema=SCHEMA)
    )
    path = f"/webhooks/{made['triggers'][0]['id']}"
    assert (await ingress.post(path, content=BODY, headers=JSON)).status_code == 202
    answer = await ingress.post(path, content=b'{"amount": "7"}', headers=JSON)
    assert (answer.status_code, [fault["path"] for fault in answer.json()["errors"]]) == (422, ["input.amount"])
    assert (await ingress.post(path, content=b"null", headers=JSON)).status_code == 422
    assert await outcomes(acme) == [("accepted", 202, True), ("schema", 422, False), ("schema", 422, False)]


async def test_of_several_faults_the_first_check_in_the_order_names_the_refusal(acme: World) -> None:
    """A call with everything wrong; what is found wrong is then mended, one after the other."""
    service = WebhooksService(acme.service_parts(cache_seconds=0.0, max_body_bytes=2048))
    config = {
        "auth": {"type": "bearer", "token": "a-long-token"}, "networks": ["203.0.113.0/24"], "rate": "1000/s",
        "origins": ["https://a.example"], "content_types": ["application/json"], "max_bytes": 100,
    }  # fmt: skip
    made = await acme.made(
        workflow("All", triggers=[{"key": "h", "type": "webhook", "config": config}], input_schema=SCHEMA)
    )
    path = f"/webhooks/{made['triggers'][0]['id']}"
    call: dict[str, Any] = {
        "method": "PUT", "ip": "192.0.2.1", "Origin": "https://b.example", "Content-Type": "text/plain",
        "body": b"{" * 200,
    }  # fmt: skip
    mending: list[tuple[dict[str, Any], str, int]] = [
        ({}, "method", 405),
        ({"method": "POST"}, "address", 403),
        ({"ip": "203.0.113.1"}, "origin", 403),
        ({"Origin": "https://a.example"}, "size", 413),
        ({"body": b"{"}, "type", 415),
        ({"Content-Type": "application/json"}, "missing_token", 401),
        ({"Authorization": "Bearer a-long-token"}, "body", 400),
        ({"body": b"{}"}, "schema", 422),
        ({"body": b'{"amount": 1}'}, "accepted", 202),
    ]
    for mend, outcome, status in mending:
        call |= mend
        headers = {name: value for name, value in call.items() if name[0].isupper()}
        async with caller(service, call["ip"]) as client:
            answer = await client.request(call["method"], path, content=call["body"], headers=headers)
            assert (outcome, answer.status_code) == (outcome, status)
    assert await outcomes(acme) == [(outcome, status, outcome == "accepted") for _, outcome, status in mending]
    await service.stop()


async def test_pages_are_told_nothing_by_a_trigger_without_origins(acme: World, ingress: httpx.AsyncClient) -> None:
    path, page = await trigger_of(acme), {"Origin": "https://app.example.com"}
    asked = await ingress.options(path, headers={**page, "Access-Control-Request-Method": "POST"})
    answer = await ingress.post(path, content=BODY, headers={**JSON, **page})
    assert (asked.status_code, answer.status_code) == (204, 202)
    assert not [name for one in (asked, answer) for name in one.headers if name.startswith("access-control-")]


async def test_options_tells_browsers_what_pages_may_do(acme: World, ingress: httpx.AsyncClient) -> None:
    path = await trigger_of(acme, origins=["https://app.example.com"], methods=["POST", "PUT"])
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-signature-256"}
    allowed = await ingress.options(path, headers={**asked, "Origin": "https://app.example.com"})
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (204, "https://app.example.com")
    assert allowed.headers["access-control-allow-methods"] == "POST, PUT, OPTIONS"
    assert allowed.headers["access-control-allow-headers"] == "x-signature-256"
    other = await ingress.options(path, headers={**asked, "Origin": "https://evil.example.com"})
    plain = await ingress.options(path)
    assert [answer.headers["allow"] for answer in (other, plain)] == ["POST, PUT, OPTIONS"] * 2
    assert not {"access-control-allow-origin", "access-control-allow-methods"} & {*other.headers, *plain.headers}
    assert await outcomes(acme) == [("preflight", 204, False)] * 3
    assert await acme.count("executions") == 0
