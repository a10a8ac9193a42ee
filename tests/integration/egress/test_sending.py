"""One request that leaves: its answer, its bounds, the redirects it follows, and what it takes along."""

import asyncio
import datetime
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from libs.common.security.http_client import SendFailed, send
from libs.common.security.last_moment import asking
from tests.integration.egress.conftest import Site, failure, request, serving
from tests.servers import free_port

CREDENTIALS = {"Authorization": "Bearer s", "X-Api-Key": "s", "X-Our-Own-Auth": "s", "Cookie": "s"}
HARMLESS = {"Accept": "text/plain", "User-Agent": "ours"}


def redirect(site: Site, to: str, status: int = 302) -> str:
    return site.url(f"/redirect?status={status}&to={quote(to)}")


async def test_a_redirect_is_an_answer_unless_it_shall_be_followed(session: aiohttp.ClientSession, site: Site) -> None:
    answer = await send(session, request(redirect(site, "/json")))
    assert (answer.status, answer.headers["location"]) == (302, "/json")
    assert (await send(session, request(redirect(site, "/json"), follow_redirects=True))).body == {"ok": True}


@pytest.mark.parametrize(
    ("to", "error_class"),
    [
        ("http://169.254.169.254/latest/meta-data/", "blocked"), ("http://10.0.0.1/", "blocked"),
        ("http://[::ffff:169.254.169.254]/", "blocked"), ("//127.0.0.2/", "blocked"), ("http://0x7f.2/", "blocked"),
        ("file:///etc/passwd", "invalid_request"), ("ftp://127.0.0.1/", "invalid_request"),
        ("http://user@127.0.0.1/", "invalid_request"), ("http://:pw@127.0.0.1/", "invalid_request"),
        ("http://[::1/", "invalid_request"), ("http://127.0.0.1:99999/", "invalid_request"),
    ],
)  # fmt: skip
async def test_a_redirect_to_the_inside_is_not_followed(
    session: aiohttp.ClientSession, site: Site, to: str, error_class: str
) -> None:
    failed = await failure(session, request(redirect(site, to), follow_redirects=True))
    assert failed.error_class == error_class
    assert "169.254" not in failed.detail
    assert len(site.seen) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_nothing_but_harmless_headers_goes_to_another_origin(
    session: aiohttp.ClientSession, site: Site, status: int
) -> None:
    headers = {**CREDENTIALS, **HARMLESS, "Idempotency-Key": "k", "Content-Type": "text/plain"}
    url = redirect(site, "{other}/json", status)
    await send(session, request(url, "POST", headers=headers, body=b"secret body", follow_redirects=True))
    first, second = site.seen
    assert (first.method, first.body, first.headers["x-our-own-auth"]) == ("POST", b"secret body", "s")
    assert (second.method, second.body) == ("GET", b"")
    assert second.headers["host"].endswith(str(site.other_port))
    assert second.headers.keys() - {"host", "accept-encoding"} == {name.lower() for name in HARMLESS}


async def test_the_way_back_does_not_bring_the_credentials_back(session: aiohttp.ClientSession, site: Site) -> None:
    back = redirect(site, f"{{other}}/redirect?to={quote(site.url('/json'))}")
    await send(session, request(back, headers=CREDENTIALS, follow_redirects=True))
    assert [("authorization" in seen.headers) for seen in site.seen] == [True, False, False]


@pytest.mark.parametrize(
    ("status", "method", "body"), [(307, "POST", b"b"), (308, "POST", b"b"), (302, "GET", b""), (303, "GET", b"")]
)
async def test_on_the_same_origin_the_status_says_what_is_sent_again(
    session: aiohttp.ClientSession, site: Site, status: int, method: str, body: bytes
) -> None:
    headers = {**CREDENTIALS, "Content-Type": "text/plain"}
    url = redirect(site, "/json", status)
    await send(session, request(url, "POST", headers=headers, body=b"b", follow_redirects=True))
    second = site.seen[1]
    assert (second.method, second.body, second.headers["x-our-own-auth"]) == (method, body, "s")
    assert ("content-type" in second.headers) == (body != b"")


async def test_redirects_without_end_are_no_answer(session: aiohttp.ClientSession, site: Site) -> None:
    failed = await failure(session, request(site.url("/for-ever"), follow_redirects=True))
    assert (failed.error_class, failed.detail) == ("protocol", "more than 5 redirects")
    assert len(site.seen) == 6


async def test_the_time_is_for_the_whole_way(session: aiohttp.ClientSession, site: Site) -> None:
    """Not once more for every redirect."""
    hop = "/silent"
    for _ in range(3):
        hop = f"/redirect?to={quote(hop)}"
    failed = await failure(session, request(site.url(hop), timeout_seconds=0.3, follow_redirects=True))
    assert (failed.error_class, failed.detail) == ("timeout", "no answer within 0.3 seconds")


async def test_the_query_is_added_to_that_of_the_address(session: aiohttp.ClientSession, site: Site) -> None:
    await send(session, request(site.url("/a?x=1"), query={"y": "a&b=\r\nX: 1#"}))
    assert site.seen[0].target == "/a?x=1&y=a%26b%3D%0D%0AX:+1%23"


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("ftp://127.0.0.1/", {}), ("http://", {}), ("gopher://127.0.0.1/", {}), ("file:///etc/passwd", {}),
        ("//127.0.0.1/", {}), ("", {}), ("http://user:pw@127.0.0.1/", {}), ("http://:pw@127.0.0.1/", {}),
        ("http://[::1", {}), ("http://127.0.0.1:99999/", {}), ("http://a..b/", {}),
        ("{site}", {"headers": {"X-A": "a\r\nX-B: b"}}), ("{site}", {"headers": {"X-A": "a\nb"}}),
        ("{site}", {"headers": {"X-A": "a\0b"}}), ("{site}", {"headers": {"X-A": "a\x1bb"}}),
        ("{site}", {"headers": {"X-A\r\nX-B": "b"}}), ("{site}", {"headers": {"X A": "b"}}),
        ("{site}", {"headers": {"": "b"}}), ("{site}", {"headers": {"Host: b\tX": "b"}}),
        ("{site}", {"headers": {"X-\u00e9": "b"}}),
        ("{site}", {"method": "GET / HTTP/1.1\r\nX: y\r\n\r\nGET"}), ("{site}", {"method": "GE T"}),
        ("{site}", {"method": ""}), ("{site}", {"method": "CONNECT"}), ("{site}", {"method": "TRACE"}),
    ],
)  # fmt: skip
async def test_what_is_no_request_is_not_sent(
    session: aiohttp.ClientSession, site: Site, url: str, more: dict[str, Any]
) -> None:
    failed = await failure(session, request(url.replace("{site}", site.url("/")), **more))
    assert failed.error_class == "invalid_request"
    assert site.seen == []


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Upgrade", "Trailer"])
async def test_where_a_message_ends_is_not_for_a_tenant_to_say(
    session: aiohttp.ClientSession, site: Site, name: str
) -> None:
    """Connections are shared: a second request hidden in a body would take the answer to somebody else's."""
    hidden = b"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
    wanted = request(site.url("/"), "POST", headers={name: "chunked" if "r" in name else "0"}, body=hidden)
    failed = await failure(session, wanted)
    assert (failed.error_class, name in failed.detail) == ("invalid_request", True)
    assert site.seen == []


async def test_nobody_listening_is_a_connection_error_that_names_the_host_only(session: aiohttp.ClientSession) -> None:
    failed = await failure(session, request(f"http://127.0.0.1:{free_port()}/secret-path?q=1"))
    assert (failed.error_class, failed.detail) == ("connection", "cannot connect to 127.0.0.1")


async def test_a_certificate_that_nobody_vouches_for_is_refused(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    came: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        came.append(request.path)
        return web.Response()

    app, port = web.Application(), free_port()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=self_signed(tmp_path)).start()
    failed = await failure(session, request(f"https://127.0.0.1:{port}/", headers=CREDENTIALS))
    assert (failed.error_class, failed.detail) == ("connection", "127.0.0.1 has no certificate that can be trusted")
    assert came == []
    await runner.cleanup()


def self_signed(folder: Path) -> ssl.SSLContext:
    """The server side of a TLS whose certificate names 127.0.0.1 and is signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), today - day, today + day)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "both.pem").write_bytes(private + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context


async def test_proxies_and_passwords_of_the_environment_are_not_used(
    session: aiohttp.ClientSession, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert (await send(session, request(site.url("/json")))).status == 200
    assert "authorization" not in site.seen[0].headers


async def test_cookies_are_not_kept_for_the_next_one(session: aiohttp.ClientSession) -> None:
    cookies: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie", ""))
        return web.Response(headers={"Set-Cookie": "session=of-one-tenant; Path=/"})

    app, port = web.Application(), free_port()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    for _ in range(2):
        await send(session, request(f"http://127.0.0.1:{port}/"))
    assert cookies == ["", ""]
    await runner.cleanup()


async def test_what_may_not_be_sent_any_more_when_its_connection_is_there(
    session: aiohttp.ClientSession, site: Site
) -> None:
    """Each hop of a redirect is asked for. The connection that was meant for it is closed, and others are none the
    worse.
    """
    left = 1

    async def may_go() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise SendFailed("lost", "too late")

    with asking(may_go):
        failed = await failure(session, request(redirect(site, "/json"), follow_redirects=True))
        assert failed.error_class == "lost"
    assert [seen.target.partition("?")[0] for seen in site.seen] == ["/redirect"]
    assert (await send(session, request(site.url("/json")))).status == 200


async def test_what_was_given_up_is_not_delivered_later(session: aiohttp.ClientSession) -> None:
    """The endpoint reads nothing until its caller has lost patience, and then all that there is."""
    body, lost_patience, got = b"x" * 900_000, asyncio.Event(), bytearray()

    async def read_late(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await lost_patience.wait()
        with suppress(ConnectionError):
            while piece := await reader.read(1_000_000):
                got.extend(piece)

    async with serving(read_late, buffer_bytes=4_096) as url:
        with asking(may_always_go), pytest.raises(SendFailed) as failed:
            await send(session, request(url, "POST", body=body, timeout_seconds=0.5))
        lost_patience.set()
    assert failed.value.error_class == "timeout"
    assert len(got) < len(body)


async def may_always_go() -> None:
    return
