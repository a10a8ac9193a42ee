"""Every preset through the running service over HTTP: a vendor's own call starts a workflow, nothing else does."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Any
from uuid import uuid4

import httpx
import pytest

from libs.common.runtime import HttpServer, take_port, with_health
from libs.common.settings import Networks
from services.webhooks.app import WebhooksService
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow
from tests.integration.webhooks.conftest import outcomes
from tests.senders import OTHER_SECRET, SECRET, SENDERS, Sending

PUBLIC_URL = "https://hooks.example.com"


@pytest.fixture
async def caller(service: WebhooksService) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who calls the service where it listens, as in production."""
    server = HttpServer(with_health(service.app, service.checks), take_port("127.0.0.1", 0), drain_seconds=5)
    server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        yield client
    await server.stop()


class Vendor:
    """A vendor that was given the address of a trigger for it."""

    def __init__(self, world: World, caller: httpx.AsyncClient, name: str, trigger: dict[str, Any]) -> None:
        self.sender, self.path = SENDERS[name], trigger["url"].removeprefix(PUBLIC_URL)
        self._world, self._caller = world, caller

    def signed(self, body: bytes, secret: str, seconds_ago: int = 0) -> dict[str, str]:
        call = Sending(PUBLIC_URL + self.path, body, self._world.clock.now() - timedelta(seconds=seconds_ago))
        return self.sender.sign(call, secret)

    async def send(
        self, secret: str = SECRET, seconds_ago: int = 0, body: bytes | None = None, wrong: bytes = b""
    ) -> httpx.Response:
        when = self._world.clock.now() - timedelta(seconds=seconds_ago)
        content = self.sender.body(when) if body is None else body
        headers = {"Content-Type": self.sender.content_type, **self.signed(content, secret, seconds_ago)}
        return await self._caller.post(self.path, content=content + wrong, headers=headers)


async def vendor_of(world: World, caller: httpx.AsyncClient, name: str) -> Vendor:
    auth = SENDERS[name].auth_with(SENDERS[name].secret)
    trigger = {"key": "hook", "type": "webhook", "config": {"auth": auth}}
    made = await world.made(workflow(f"From {name} {uuid4()}", triggers=[trigger]))
    return Vendor(world, caller, name, made["triggers"][0])


@pytest.mark.parametrize("name", sorted(SENDERS))
async def test_a_preset_from_end_to_end(acme: World, caller: httpx.AsyncClient, name: str) -> None:
    vendor = await vendor_of(acme, caller, name)
    answer = await vendor.send()
    assert answer.status_code == 202, answer.text
    by_token = name == "gitlab"
    expected = [("accepted", 202, True), ("bad_token" if by_token else "signature", 401, False)]
    assert (await vendor.send(OTHER_SECRET)).status_code == 401
    if not by_token:  # which says nothing of the body
        assert (await vendor.send(wrong=b"&x=1")).status_code == 401
        expected.append(("signature", 401, False))
    if vendor.sender.timed:
        assert (await vendor.send(seconds_ago=400)).status_code == 401
        expected.append(("timestamp", 401, False))
    assert await outcomes(acme) == expected
    assert await acme.count("executions") == 1
    if vendor.sender.secret is not None:
        kept = json.dumps([dict(row) for row in await acme.fetch("SELECT * FROM webhook_logs")], default=repr)
        assert SECRET not in kept


@pytest.mark.parametrize(
    ("name", "question", "part"),
    [
        ("slack", {"type": "url_verification", "challenge": "3eZbrw1a"}, {"challenge": "3eZbrw1a"}),
        ("zoom", {"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8"}}, {"plainToken": "qgg8"}),
        ("discord", {"type": 1}, {"type": 1}),
    ],
)
async def test_a_vendor_that_tries_the_address_is_answered(
    acme: World, caller: httpx.AsyncClient, name: str, question: Any, part: dict[str, Any]
) -> None:
    vendor, body = await vendor_of(acme, caller, name), json.dumps(question).encode()
    answer = await vendor.send(body=body)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert part.items() <= answer.json().items()
    assert (await vendor.send(OTHER_SECRET, body=body)).status_code == 401
    assert await outcomes(acme) == [("challenge", 200, False), ("signature", 401, False)]
    assert await acme.count("executions") == 0


async def test_an_api_key_in_the_address_is_kept_nowhere(acme: World, caller: httpx.AsyncClient) -> None:
    auth = {"type": "api_key", "token": "key-0123456789", "query": "k"}
    trigger = {"key": "hook", "type": "webhook", "config": {"auth": auth}}
    made = await acme.made(workflow("By key", triggers=[trigger]))
    path = f"/webhooks/{made['triggers'][0]['id']}"
    answers = [await caller.post(f"{path}?a=1&k={key}", json={}) for key in ("key-0123456789", "key-012345678")]
    assert [answer.status_code for answer in answers] == [202, 401]
    rows = await acme.fetch("SELECT query FROM webhook_logs UNION ALL SELECT input::text FROM executions")
    text = json.dumps([dict(row) for row in rows])
    assert "a=1&k=***" in text
    assert "key-012345678" not in text


async def test_a_certificate_is_believed_from_a_trusted_proxy_only(acme: World, caller: httpx.AsyncClient) -> None:
    """Nobody is trusted here, and no `X-Forwarded-For` makes a caller one of the proxies."""
    auth = {"type": "mtls", "subjects": ["CN=partner"]}
    trigger = {"key": "hook", "type": "webhook", "config": {"auth": auth}}
    made = await acme.made(workflow("By certificate", triggers=[trigger]))
    headers = {"Client-Cert": "CN=partner", "X-Forwarded-For": "10.0.0.1"}
    answer = await caller.post(f"/webhooks/{made['triggers'][0]['id']}", json={}, headers=headers)
    assert answer.status_code == 401
    assert await outcomes(acme) == [("certificate", 401, False)]


async def test_the_proxy_that_is_trusted_is_believed(acme: World) -> None:
    trusting = WebhooksService(
        acme.service_parts(cache_seconds=0.0, trusted_proxies=Networks([ip_network("127.0.0.0/8")]))
    )
    auth = {"type": "mtls", "subjects": ["CN=partner"]}
    made = await acme.made(
        workflow("By certificate", triggers=[{"key": "hook", "type": "webhook", "config": {"auth": auth}}])
    )
    transport = httpx.ASGITransport(trusting.app)  # pyright: ignore[reportArgumentType]
    async with httpx.AsyncClient(transport=transport, base_url="http://hooks.test") as client:
        path = f"/webhooks/{made['triggers'][0]['id']}"
        answers = [await client.post(path, json={}, headers={"Client-Cert": f"CN={who}"}) for who in ("partner", "x")]
    assert [answer.status_code for answer in answers] == [202, 401]
