"""A gateway that listens on a port, and what a browser makes of its streams."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import ClientResponse

from libs.common.runtime import HttpServer, take_port
from services.gateway.app import create_app
from services.gateway.live import LiveStreams
from tests.integration.conftest import World
from tests.waiting import patience


@dataclass
class Gateway:
    """A gateway that listens, and its streams."""

    world: World
    streams: LiveStreams
    port: int

    @asynccontextmanager
    async def stream(
        self, execution_id: str, headers: Mapping[str, str] | None = None, status: int = 200
    ) -> AsyncGenerator[ClientResponse]:
        """The answer of an event stream; `execution_id` may have a query behind it."""
        path, _, query = execution_id.partition("?")
        url = f"http://127.0.0.1:{self.port}/api/v1/executions/{path}/stream?{query}"
        given = {**self.world.headers("acme"), **(headers or {})}
        async with aiohttp.ClientSession() as session, session.get(url, headers=given) as response:
            assert response.status == status
            yield response

    @asynccontextmanager
    async def following(self, execution_id: str, **headers: str) -> AsyncGenerator[AsyncIterator[dict[str, Any]]]:
        """The events, read as a browser does (WHATWG HTML 9.2.6)."""
        async with self.stream(execution_id, headers) as response:
            yield read_events(response)


async def read_events(response: ClientResponse) -> AsyncIterator[dict[str, Any]]:
    fields: dict[str, list[str]] = {}
    async for raw in response.content:
        for line in raw.decode().removesuffix("\n").split("\r"):
            if not line and "data" in fields:
                yield {"number": fields.get("id", [""])[-1], **json.loads("\n".join(fields["data"]))}
            if not line:
                fields = {}
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" ")) if name else None


@asynccontextmanager
async def gateway(world: World, redis_url: str = "", streams: int = 100) -> AsyncGenerator[Gateway]:
    """Not to wait for longer than tests wait."""
    live = LiveStreams(redis_url, streams)
    app: Any = create_app(world.parts, live)
    server = HttpServer(app, take_port("127.0.0.1", 0), 1.0, sockets=True)
    server.start()
    try:
        async with patience():
            yield Gateway(world, live, server.port)
    finally:
        await live.close()
        await server.stop()
