"""The private Valkey: a cache that starts empty, on a socket that others can't open."""

import os
import signal
from pathlib import Path

import pytest
import redis.asyncio

from libs.common.errors import OperatorError
from tests.integration.embedded.conftest import Servers


async def test_it_answers_and_forgets_when_stopped(tmp_path: Path, servers: Servers) -> None:
    server = servers.valkey(tmp_path)
    url = await server.start()
    async with redis.asyncio.from_url(url) as client:
        await client.set("key", "value")
        assert await client.get("key") == b"value"
    await server.stop()
    assert await server.start() == url
    async with redis.asyncio.from_url(url) as client:
        assert await client.get("key") is None
        policy = await client.config_get("maxmemory-policy")  # pyright: ignore[reportUnknownMemberType]
        assert policy == {"maxmemory-policy": "noeviction"}


async def test_it_starts_again_after_it_was_killed(tmp_path: Path, servers: Servers) -> None:
    server = servers.valkey(tmp_path)
    await server.start()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await server.stop()
    url = await server.start()
    async with redis.asyncio.from_url(url) as client:
        assert await client.ping()  # pyright: ignore[reportUnknownMemberType]


async def test_its_socket_is_private_and_goes_with_it(tmp_path: Path, servers: Servers) -> None:
    server = servers.valkey(tmp_path)
    socket = Path((await server.start()).removeprefix("unix://"))
    assert socket.stat().st_mode & 0o777 == 0o700
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    await server.stop()
    assert not socket.parent.exists()


async def test_a_second_start_is_refused_in_one_line(tmp_path: Path, servers: Servers) -> None:
    server = servers.valkey(tmp_path)
    await server.start()
    with pytest.raises(OperatorError, match=rf"^{tmp_path} is in use by process {os.getpid()}\.$"):
        await servers.valkey(tmp_path).start()
