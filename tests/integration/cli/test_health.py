"""The port that every service has: what it says when a check fails, raises or takes too long, and how it ends."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from libs.common.errors import OperatorError
from libs.common.runtime import Check, HttpServer, take_port, with_health


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


async def breaks() -> bool:
    raise RuntimeError("a bug in a check")


async def hangs() -> bool:
    await asyncio.Event().wait()
    return True


async def served(checks: dict[str, Check]) -> AsyncIterator[str]:
    server = HttpServer(with_health(None, checks), take_port("127.0.0.1", 0), 1.0)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    await server.stop()


@pytest.mark.parametrize(
    ("checks", "state"),
    [
        ({}, {}),
        ({"a": yes, "b": yes}, {"a": True, "b": True}),
        ({"a": yes, "b": no}, {"a": True, "b": False}),
        ({"a": breaks, "b": yes}, {"a": False, "b": True}),
        ({"a": hangs, "b": hangs, "c": yes}, {"a": False, "b": False, "c": True}),
    ],
)
async def test_ready_is_what_passes_every_check(
    checks: dict[str, Check], state: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.common.runtime._CHECK_SECONDS", 0.1)
    ready = all(state.values())
    async for url in served(checks):
        async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as response:
            assert (response.status, await response.json()) == (
                200 if ready else 503,
                {"ready": ready, "checks": state},
            )
        async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz") as response:
            assert (response.status, json.loads(await response.text())) == (200, {"status": "alive"})


async def test_of_two_that_took_a_port_at_one_moment_the_faster_one_has_it() -> None:
    first = take_port("127.0.0.1", 0)
    second = take_port(*first.getsockname())
    server = HttpServer(with_health(None, {}), first, 1.0)
    server.start()
    slower = HttpServer(with_health(None, {}), second, 1.0)
    with pytest.raises(OperatorError, match="Address already in use"):
        slower.start()
    with pytest.raises(OperatorError, match="Address already in use"):
        take_port(*first.getsockname())
    await slower.stop()
    await server.stop()


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_is_none_is_the_operator_s_mistake(port: int) -> None:
    with pytest.raises(OperatorError, match="0 to 65535"):
        take_port("127.0.0.1", port)
