"""Answers of endpoints that mean harm or are broken: bounded in size and time, and always something to keep."""

import asyncio
import gzip
import tracemalloc
import zlib
from time import process_time

import aiohttp
import msgspec
import pytest

from libs.common.security.http_client import OutgoingResponse, send
from tests.integration.egress.conftest import Site, failure, raw_answer, raw_site, request, serving

JSON = b"Content-Type: application/json"
GZIP = b"Content-Encoding: gzip"


async def kept(session: aiohttp.ClientSession, *answer: bytes) -> OutgoingResponse:
    """The answer as it is kept. Also shows that it can be."""
    async with raw_site(*answer) as url:
        response = await send(session, request(url))
    msgspec.json.encode(msgspec.to_builtins(response))
    return response


@pytest.mark.parametrize(
    ("content_type", "raw", "body", "base64"),
    [
        (b"application/json", b'{"ok": true}', {"ok": True}, False),
        (b"application/problem+json; charset=utf-8", b"[1]", [1], False),
        (b"text/plain", b"caf\xc3\xa9", "café", False),
        (b"text/plain; charset=ISO-8859-1", b"caf\xe9", "café", False),
        (b'text/plain; charset="windows-1252"', b"\x80", "€", False),
        (b"text/plain; charset=utf-16", b"\xff\xfeh\0i\0", "hi", False),
        (b"application/octet-stream", b"\xff\xfe\x00", "//4A", True),
        (b"text/plain; charset=utf-16", b"\xff\xfe\x00\xd8", "//4A2A==", True),
        (b"nonsense", b"hello", "hello", False),
        (b"application/json", b"", None, False),
    ],
)
async def test_an_answer_is_read_by_its_type(
    session: aiohttp.ClientSession, content_type: bytes, raw: bytes, body: object, base64: bool
) -> None:
    answer = await kept(session, raw_answer(raw, b"Content-Type: " + content_type))
    assert (answer.status, answer.body, answer.base64) == (200, body, base64)


@pytest.mark.parametrize(
    "raw",
    [b"{", b'{"a": NaN}', b"1e999", b"9" * 5000, b'"\\ud800"', b"[" * 600 + b"]" * 600, b"[" * 100_000],
    ids=["cut off", "NaN", "infinite", "long number", "half a pair", "deep", "very deep"],
)
async def test_what_only_claims_to_be_json_is_text(session: aiohttp.ClientSession, raw: bytes) -> None:
    answer = await kept(session, raw_answer(raw, JSON))
    assert (answer.body, answer.base64) == (raw.decode(), False)


@pytest.mark.parametrize(
    "charset", [b"unicode_escape", b"raw_unicode_escape", b"undefined", b"rot13", b"hex", b"utf-7", b"iso-8859-12", b""]
)
async def test_a_charset_that_is_none_of_the_web_s_is_not_believed(
    session: aiohttp.ClientSession, charset: bytes
) -> None:
    answer = await kept(session, raw_answer(b"\\ud800", b"Content-Type: text/plain; charset=" + charset))
    assert (answer.body, answer.base64) == ("\\ud800", False)


async def test_a_charset_that_is_slow_to_read_does_not_hold_up_the_process(session: aiohttp.ClientSession) -> None:
    """Punycode takes time by the square of the length: minutes for a few megabytes."""
    raw = b"a" * 100_000 + b"-" + b"z9" * 100_000
    before = process_time()
    await kept(session, raw_answer(raw, b"Content-Type: text/plain; charset=punycode"))
    assert process_time() - before < 2


async def test_a_header_that_is_not_utf8_is_read_as_latin1(session: aiohttp.ClientSession) -> None:
    names = (b"X-Old: caf\xe9", b"X-New: caf\xc3\xa9", b"X-Twice: 1", b"x-twice: 2")
    headers = (await kept(session, raw_answer(b"", *names))).headers
    assert (headers["x-old"], headers["x-new"], headers["x-twice"]) == ("café", "café", "1, 2")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified", b"404 Not Found", b"500 Oh", b"599 x"])
async def test_every_status_is_an_answer(session: aiohttp.ClientSession, status: bytes) -> None:
    assert (await kept(session, raw_answer(b"", status=status))).status == int(status[:3])


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.0\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        raw_answer(b"not gzip", GZIP),
        raw_answer(b"x", b"Content-Encoding: br"),
        raw_answer(b"", *(b"X-%d: 1" % number for number in range(50_000))),
        raw_answer(b"", b"X-Long: " + b"x" * 1_000_000),
        raw_answer(b"", b"Transfer-Encoding: chunked") + b"zz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    ],
    ids=["ssh", "status", "no gzip", "brotli", "many headers", "long header", "chunks", "half a body"],
)
async def test_what_is_no_answer_fails_and_shows_nothing_of_it(session: aiohttp.ClientSession, answer: bytes) -> None:
    async with raw_site(answer) as url:
        failed = await failure(session, request(url))
    assert failed.error_class in ("protocol", "connection")
    assert failed.detail in (
        "the connection broke", "the answer cannot be read: ClientResponseError",
        "the answer cannot be read: ClientPayloadError",
    )  # fmt: skip


async def test_an_answer_is_as_large_as_allowed_and_no_byte_larger(session: aiohttp.ClientSession) -> None:
    async with raw_site(raw_answer(b"x" * 100_000)) as url:
        assert len((await send(session, request(url, max_response_bytes=100_000))).body) == 100_000
        failed = await failure(session, request(url, max_response_bytes=99_999))
    assert (failed.error_class, failed.detail) == ("too_large", "the answer is larger than 99999 bytes")


@pytest.mark.parametrize("length", [b"Content-Length: 1000000000000", b"Transfer-Encoding: chunked"])
async def test_a_body_without_end_is_cut_off(session: aiohttp.ClientSession, length: bytes) -> None:
    piece = b"x" * 65_536 if length.startswith(b"C") else b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    async with raw_site(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n", *[piece] * 100, then_wait=True) as url:
        failed = await failure(session, request(url, max_response_bytes=1_000_000, timeout_seconds=5))
    assert failed.error_class == "too_large"


async def test_a_compressed_bomb_takes_no_memory(session: aiohttp.ClientSession) -> None:
    """64 megabytes in as many kilobytes."""
    packing = zlib.compressobj(1, zlib.DEFLATED, 31)
    bomb = b"".join(packing.compress(bytes(1 << 20)) for _ in range(64)) + packing.flush()
    async with raw_site(raw_answer(bomb, GZIP)) as url:
        tracemalloc.start()
        try:
            failed = await failure(session, request(url, max_response_bytes=1_000_000))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert failed.error_class == "too_large"
    assert peak < 15_000_000


async def test_packed_twice_is_unpacked_by_nobody(session: aiohttp.ClientSession) -> None:
    twice = gzip.compress(gzip.compress(bytes(1_000_000)))
    answer = await kept(session, raw_answer(twice, b"Content-Encoding: gzip, gzip"))
    assert (answer.base64, len(answer.body) < 2000) == (True, True)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
async def test_an_answer_that_stops_times_out(session: aiohttp.ClientSession, head: bytes) -> None:
    async with raw_site(head, then_wait=True) as url:
        failed = await failure(session, request(url, timeout_seconds=0.2))
    assert (failed.error_class, failed.detail) == ("timeout", "no answer within 0.2 seconds")


async def test_an_answer_that_drips_times_out(session: aiohttp.ClientSession) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with serving(drip) as url:
        failed = await failure(session, request(url, timeout_seconds=0.3))
    assert failed.error_class == "timeout"


async def test_after_a_bad_answer_the_session_goes_on(session: aiohttp.ClientSession, site: Site) -> None:
    async with raw_site(raw_answer(b"x" * 1000)) as url:
        await failure(session, request(url, max_response_bytes=10))
    assert (await send(session, request(site.url("/json")))).body == {"ok": True}
