"""Sockets of which nothing, or too little, is read: they are told and dropped, and hold up nobody."""

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from libs.common import runtime
from services.gateway import sockets, tenant_feed
from services.gateway.routes import live_socket
from tests.integration.conftest import World
from tests.integration.gateway.following import Gateway, gateway
from tests.integration.gateway.sockets import Runs, connected
from tests.integration.gateway.test_live_socket_door import none_open, open_sockets
from tests.waiting import PATIENCE_SECONDS, until

WRONG = json.dumps({f"{number:064}": 1 for number in range(20)})
"""A message of which the answer is larger."""


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_feed, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(tenant_feed, "_LONGEST_LOOK_SECONDS", 0.05)


@asynccontextmanager
async def unread(served: Gateway) -> AsyncGenerator[tuple[StreamReader, StreamWriter]]:
    """A socket of which nothing is read unless the test does; it has asked for more than waits for anybody."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1)
    handshake = [
        "GET /api/v1/executions/ws HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        *(f"{name}: {value}" for name, value in served.world.headers("acme").items()), "", "",
    ]  # fmt: skip
    try:
        writer.write("\r\n".join(handshake).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await reader.read(1)
        writer.writelines([frame(WRONG)] * 6000)
        yield reader, writer
    finally:
        writer.transport.abort()


def frame(text: str) -> bytes:
    """A message of a client; the mask is zero."""
    return b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4) + text.encode()


async def test_whoever_reads_too_slowly_is_told_and_dropped(acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_FAREWELL_SECONDS", PATIENCE_SECONDS)
    dropped, said = asyncio.Event(), b""

    async def say_goodbye(socket: sockets.AnySocket, ending: sockets.Ending) -> None:
        dropped.set()
        await sockets.say_goodbye(socket, ending)

    monkeypatch.setattr(live_socket, "say_goodbye", say_goodbye)
    async with gateway(acme) as served, unread(served) as (reader, _):
        await dropped.wait()
        while b'"type":"closing"' not in said:
            said = said[-64:] + await reader.read(65_536)
            assert not reader.at_eof()
    assert b'"code":4429' in said


async def test_whoever_does_not_read_at_all_is_not_waited_for(acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_FAREWELL_SECONDS", 0.1)
    monkeypatch.setattr(runtime, "_UNREAD_SECONDS", 1)
    runs = Runs(acme)
    async with gateway(acme) as served, unread(served) as (_, writer):
        await until(is_open)
        await until(none_open)
        async with connected(served) as client:
            await client.subscribe()
            execution_id = await runs.begin()
            assert await client.next_event() == (execution_id, "pending")
        with pytest.raises(ConnectionError):
            await until(lambda: still_takes(writer))


async def is_open() -> bool:
    return open_sockets() == 1


async def still_takes(writer: StreamWriter) -> bool:
    """Never; raises when the other side has given the connection up."""
    writer.write(b" ")
    await writer.drain()
    return False
