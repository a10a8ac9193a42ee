"""Requests that leave: guarded at every real connect, bounded in time and size, and silent about what they found."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from libs.common.security.egress import EgressPolicy, guarded_session
from libs.common.security.http_client import OutgoingRequest, OutgoingResponse, SendFailed, send
from tests.servers import free_port

BOMB = gzip.compress(b"\0" * 50_000_000)


@dataclass
class Site:
    """A local site; and another origin of it by another port."""

    port: int
    other_port: int
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list[tuple[str, str, dict[str, str]]])

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.path_qs, {k.lower(): v for k, v in request.headers.items()}))
        match request.path:
            case "/json":
                return web.json_response({"ok": True})
            case "/large":
                return web.Response(body=b"x" * 200_000)
            case "/bomb":
                return web.Response(body=BOMB, headers={"Content-Encoding": "gzip"})
            case "/slow":
                await asyncio.Event().wait()
            case "/to-metadata":
                raise web.HTTPFound("http://169.254.169.254/latest/meta-data/")
            case "/to-file":
                raise web.HTTPFound("file:///etc/passwd")
            case "/to-other":
                raise web.HTTPTemporaryRedirect(f"http://127.0.0.1:{self.other_port}/json")
            case "/to-self":
                raise web.HTTPTemporaryRedirect("/json")
            case "/for-ever":
                raise web.HTTPFound("/for-ever")
            case "/binary":
                return web.Response(body=b"\xff\xfe\x00", content_type="application/octet-stream")
            case _:
                pass
        return web.Response(text="hello")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site(free_port(), free_port())
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    for port in (made.port, made.other_port):
        await web.TCPSite(runner, "127.0.0.1", port).start()
    yield made
    await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """May call this very address, as when an operator opened it."""
    made = guarded_session(EgressPolicy([ip_network("127.0.0.1/32")]))
    yield made
    await made.close()


@pytest.fixture
async def strict() -> AsyncIterator[aiohttp.ClientSession]:
    made = guarded_session(EgressPolicy())
    yield made
    await made.close()


def request(url: str, method: str = "GET", **more: Any) -> OutgoingRequest:
    return OutgoingRequest(method, url, more.pop("headers", {}), more.pop("timeout_seconds", 5.0), **more)


async def failure(session: aiohttp.ClientSession, wanted: OutgoingRequest) -> SendFailed:
    with pytest.raises(SendFailed) as failed:
        await send(session, wanted)
    return failed.value


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "[::1]", "[::ffff:127.0.0.1]",
     "[::ffff:7f00:1]", "127.0.0.1.", "LOCALHOST", "①②⑦.0.0.1"],
)  # fmt: skip
async def test_no_spelling_of_loopback_is_reached(strict: aiohttp.ClientSession, site: Site, host: str) -> None:
    failed = await failure(strict, request(f"http://{host}:{site.port}/json"))
    assert failed.error_class in ("blocked", "connection", "invalid_request")
    assert site.seen == []


@pytest.mark.parametrize("path", ["/to-metadata", "/to-file"])
async def test_a_redirect_to_the_inside_is_not_followed(session: aiohttp.ClientSession, site: Site, path: str) -> None:
    failed = await failure(session, request(site.url(path), follow_redirects=True))
    assert failed.error_class in ("blocked", "invalid_request")
    assert "169.254" not in failed.detail


async def test_a_redirect_is_an_answer_unless_it_shall_be_followed(session: aiohttp.ClientSession, site: Site) -> None:
    assert (await send(session, request(site.url("/to-self")))).status == 307
    assert (await send(session, request(site.url("/to-self"), follow_redirects=True))).body == {"ok": True}


async def test_credentials_do_not_follow_to_another_origin(session: aiohttp.ClientSession, site: Site) -> None:
    headers = {
        "Authorization": "Bearer s", "X-Api-Key": "s", "X-Our-Own-Auth": "s", "Cookie": "s", "Idempotency-Key": "k",
    }  # fmt: skip
    wanted = request(site.url("/to-other"), "POST", headers=headers, body=b"secret body", follow_redirects=True)
    await send(session, wanted)
    (_, _, first), (method, _, second) = site.seen
    assert (first["x-our-own-auth"], method) == ("s", "GET")
    assert {"authorization", "x-api-key", "x-our-own-auth", "cookie"} & second.keys() == set()


async def test_credentials_stay_on_the_same_origin(session: aiohttp.ClientSession, site: Site) -> None:
    wanted = request(site.url("/to-self"), "POST", headers={"X-Our-Own-Auth": "s"}, body=b"b", follow_redirects=True)
    await send(session, wanted)
    assert [(method, headers["x-our-own-auth"]) for method, _, headers in site.seen] == [("POST", "s"), ("POST", "s")]


async def test_redirects_come_to_an_end(session: aiohttp.ClientSession, site: Site) -> None:
    assert (await send(session, request(site.url("/for-ever"), follow_redirects=True))).status == 302
    assert len(site.seen) == 6


@pytest.mark.parametrize("path", ["/large", "/bomb"])
async def test_a_large_answer_is_cut_off(session: aiohttp.ClientSession, site: Site, path: str) -> None:
    failed = await failure(session, request(site.url(path), max_response_bytes=100_000))
    assert failed.error_class == "too_large"


async def test_a_slow_answer_times_out(session: aiohttp.ClientSession, site: Site) -> None:
    assert (await failure(session, request(site.url("/slow"), timeout_seconds=0.2))).error_class == "timeout"


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("ftp://example.com/", {}), ("http://", {}), ("gopher://127.0.0.1/", {}), ("file:///etc/passwd", {}),
        ("http://user:pw@example.com/", {}), ("http://example.com/", {"X-A": "a\r\nX-B: b"}),
        ("http://example.com/", {"X-A\r\nX-B": "b"}), ("http://exa mple.com/", {}), ("http://[::1", {}),
    ],
)  # fmt: skip
async def test_what_is_no_request_is_not_sent(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str]
) -> None:
    assert (await failure(session, request(url, headers=headers))).error_class in ("invalid_request", "connection")


async def test_nobody_listening_is_a_connection_error_that_names_the_host_only(session: aiohttp.ClientSession) -> None:
    failed = await failure(session, request(f"http://127.0.0.1:{free_port()}/secret-path?q=1"))
    assert (failed.error_class, failed.detail) == ("connection", "cannot connect to 127.0.0.1")


@pytest.mark.parametrize(
    ("path", "body", "base64"), [("/json", {"ok": True}, False), ("/", "hello", False), ("/binary", "//4A", True)]
)
async def test_an_answer_is_read_by_its_type(
    session: aiohttp.ClientSession, site: Site, path: str, body: Any, base64: bool
) -> None:
    answer: OutgoingResponse = await send(session, request(site.url(path)))
    assert (answer.status, answer.body, answer.base64) == (200, body, base64)


async def test_proxies_of_the_environment_are_not_used(
    session: aiohttp.ClientSession, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    assert (await send(session, request(site.url("/json")))).status == 200
