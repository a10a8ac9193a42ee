"""Connections that send too much or too slowly, at a real server: they end, and hold up nobody."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from libs.common import connections
from libs.common.connections import MOST_HEAD_BYTES
from libs.common.runtime import HttpServer, take_port
from tests.waiting import patience

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Of a server that answers with what it was sent."""

    async def echo(_: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        length = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": body})

    server = HttpServer(echo, take_port("127.0.0.1", 0), 1.0)
    server.start()
    yield server.port
    await server.stop()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, 0.3)


def hurry(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", seconds)
    monkeypatch.setattr(connections, "BODY_SECONDS", seconds)


class Caller:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> "Caller":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def answer(self) -> bytes:
        """Head and body of the next one."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head + await self.reader.readexactly(length)

    async def dribble(self, piece: bytes, pause: float = 0.02) -> bytes:
        """Sends pieces until the other side has enough; what it said."""

        async def send() -> None:
            while True:
                self.writer.write(piece)
                await self.writer.drain()
                await asyncio.sleep(pause)

        sending = asyncio.create_task(send())
        try:
            async with patience():
                return await self.reader.read()
        except ConnectionError:
            return b""
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await self.close()

    async def close(self) -> None:
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\nX"])
async def test_a_head_that_does_not_end_is_refused_when_it_is_too_large(port: int, start: bytes) -> None:
    caller = await Caller.connect(port)
    caller.writer.write(start)
    said = await caller.dribble(b"a" * 16_384, 0.0)
    assert said == b"" or said.startswith(b"HTTP/1.1 400")  # nothing, when the rest of the flood met a closed door


async def test_many_headers_are_a_large_head(port: int) -> None:
    caller = await Caller.connect(port)
    caller.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-Y: z\r\n" * (MOST_HEAD_BYTES // 8 + 1))
    assert b"too large" in await caller.reader.read()
    await caller.close()


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nX: ", POST.replace(b"4", b"400")])
async def test_who_is_too_slow_is_cut_off(port: int, start: bytes) -> None:
    caller = await Caller.connect(port)
    caller.writer.write(start)
    assert await caller.dribble(b"\r\n" if not start else b"a") == b""


@pytest.mark.usefixtures("hurried")
async def test_who_says_nothing_is_cut_off(port: int) -> None:
    caller = await Caller.connect(port)
    assert await caller.reader.read() == b""
    await caller.close()


async def test_who_is_in_time_is_served_and_may_stay(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, 3.0)
    caller = await Caller.connect(port)
    for pieces in ([GET], [GET[:20], GET[20:]], [POST, b"ab", b"cd"], [POST + b"abcd" + GET]):
        for piece in pieces:
            caller.writer.write(piece)
            await asyncio.sleep(0.05)
        answer = await caller.answer()
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"abcd") == pieces[0].startswith(b"POST")
    assert (await caller.answer()).startswith(b"HTTP/1.1 200")  # of the one that was sent ahead
    await asyncio.sleep(3.1)  # longer than a request may take: between two of them nobody hurries
    caller.writer.write(GET)
    assert (await caller.answer()).startswith(b"HTTP/1.1 200")
    await caller.close()
