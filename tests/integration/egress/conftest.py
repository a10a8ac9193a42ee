"""A site to call, one that sends raw bytes, and guarded sessions that may reach them or not."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from libs.common.security.egress import EgressPolicy, guarded_session
from libs.common.security.http_client import OutgoingRequest, SendFailed, send
from tests.servers import free_port

THIS_ADDRESS = [ip_network("127.0.0.1/32")]
"""What an operator opens who wants to call this very machine."""

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Seen:
    """One request that came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Site:
    """A local site; and another origin of it by another port."""

    port: int
    other_port: int
    seen: list[Seen] = field(default_factory=list[Seen])

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(request.method, request.path_qs, headers, await request.read()))
        match request.path:
            case "/json":
                return web.json_response({"ok": True})
            case "/redirect":
                return web.Response(
                    status=int(request.query.get("status", "302")), headers={"Location": self._target(request)}
                )
            case "/for-ever":
                raise web.HTTPFound("/for-ever")
            case "/silent":
                await asyncio.Event().wait()
            case _:
                pass
        return web.Response(text="hello")

    def _target(self, request: web.Request) -> str:
        return request.query["to"].replace("{other}", f"http://127.0.0.1:{self.other_port}")


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
    """May call 127.0.0.1, and nothing else inside."""
    made = guarded_session(EgressPolicy(THIS_ADDRESS))
    yield made
    await made.close()


@pytest.fixture
async def strict() -> AsyncIterator[aiohttp.ClientSession]:
    """May call nothing inside, as it is by default."""
    made = guarded_session(EgressPolicy())
    yield made
    await made.close()


@asynccontextmanager
async def serving(
    talk: Talk, hosts: Sequence[str] = ("127.0.0.1",), port: int = 0, *, buffer_bytes: int = 0
) -> AsyncGenerator[str]:
    """The address of a server that talks like this to everybody who has sent the head of a request. `buffer_bytes`: so
    much its kernel takes that it has not read; 0: as usual.
    """
    talking: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talking.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError):  # the caller has heard enough
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, hosts, port)
    if buffer_bytes:
        for listening in server.sockets:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        await asyncio.gather(*talking)
        await server.wait_closed()


@asynccontextmanager
async def raw_site(*pieces: bytes, then_wait: bool = False) -> AsyncGenerator[str]:
    """The address of a server that answers every request with these bytes, whatever they are."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if then_wait:
            await reader.read()

    async with serving(talk) as url:
        yield url


def raw_answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """The bytes of an answer."""
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([b"HTTP/1.1 " + status, *headers, length, b"Connection: close", b"", body])


def request(url: str, method: str = "GET", **more: Any) -> OutgoingRequest:
    return OutgoingRequest(method, url, more.pop("headers", {}), more.pop("timeout_seconds", 5.0), **more)


async def failure(session: aiohttp.ClientSession, wanted: OutgoingRequest) -> SendFailed:
    """Why it could not be sent."""
    with pytest.raises(SendFailed) as failed:
        await send(session, wanted)
    return failed.value
