"""Calls as they come over a socket: bodies in pieces, too large as announced or as they come, callers that leave."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from libs.common.runtime import HttpServer, take_port, with_health
from services.webhooks.app import WebhooksService
from tests.integration.conftest import World
from tests.integration.webhooks.conftest import MAX_BODY_BYTES, made_trigger, open_trigger, outcomes
from tests.waiting import patience, until


@pytest.fixture
async def port(service: WebhooksService) -> AsyncIterator[int]:
    """Where the service listens, as in production."""
    server = HttpServer(with_health(service.app, service.checks), take_port("127.0.0.1", 0), drain_seconds=5)
    server.start()
    yield server.port
    await server.stop()


@asynccontextmanager
async def sent(port: int, *lines: str, body: bytes = b"") -> AsyncGenerator[asyncio.StreamReader]:
    """An answer to read, after these lines of a request and the beginning of its body were sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join([*lines, "Host: hooks.test", "", ""]).encode() + body)
    await writer.drain()
    yield reader
    writer.close()
    await writer.wait_closed()


async def status_of(reader: asyncio.StreamReader) -> int:
    async with patience():
        return int((await reader.readline()).split()[1])


async def test_a_body_announced_as_too_large_is_refused_before_it_is_sent(acme: World, port: int) -> None:
    trigger = await open_trigger(acme)
    head = (f"POST /webhooks/{trigger['id']} HTTP/1.1", "Content-Length: 900000000")
    async with sent(port, *head) as reader:
        assert await status_of(reader) == 413
    assert await outcomes(acme) == [("size", 413, False)]


async def test_a_body_in_pieces_is_refused_as_soon_as_it_is_too_large(acme: World, port: int) -> None:
    trigger = await open_trigger(acme)
    head = (f"POST /webhooks/{trigger['id']} HTTP/1.1", "Transfer-Encoding: chunked")
    piece = b"400\r\n" + b" " * 1024 + b"\r\n"
    async with sent(port, *head, body=piece * (MAX_BODY_BYTES // 1024 + 1)) as reader:
        assert await status_of(reader) == 413
    assert await outcomes(acme) == [("size", 413, False)]


async def test_a_body_in_pieces_is_put_together(acme: World, port: int) -> None:
    trigger = await open_trigger(acme)
    head = (f"POST /webhooks/{trigger['id']} HTTP/1.1", "Transfer-Encoding: chunked")
    async with sent(port, *head, body=b'5\r\n{"a":\r\n3\r\n 1}\r\n0\r\n\r\n') as reader:
        assert await status_of(reader) == 202
    (row,) = await acme.fetch("SELECT body FROM webhook_logs")
    assert row["body"] == b'{"a": 1}'


async def test_a_caller_who_leaves_in_the_middle_starts_nothing(acme: World, port: int) -> None:
    trigger = await open_trigger(acme)
    head = (f"POST /webhooks/{trigger['id']} HTTP/1.1", "Content-Length: 100")
    async with sent(port, *head, body=b'{"half": '):
        pass

    async def is_on_record() -> bool:
        return await outcomes(acme) == [("body", 400, False)]

    await until(is_on_record)
    assert await acme.count("executions") == 0


async def test_the_address_of_the_caller_is_on_record(acme: World, port: int) -> None:
    trigger = await made_trigger(acme)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.post(f"/webhooks/{trigger['id']}/{trigger['token']}")).status_code == 202
        assert (await client.get("/readyz")).json() == {"ready": True, "checks": {"database": True}}
        assert 'signalbox_webhook_calls_total{outcome="accepted"}' in (await client.get("/metrics")).text
    (row,) = await acme.fetch("SELECT ip, microseconds FROM webhook_logs")
    assert row["ip"] == "127.0.0.1"
    assert 0 < row["microseconds"] < 5_000_000
