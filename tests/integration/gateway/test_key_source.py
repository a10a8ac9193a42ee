"""Published keys from an address: read once for many, anew for an unknown key, kept while their source is away."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from libs.common.errors import Unavailable
from libs.common.security.egress import EgressPolicy
from libs.common.security.key_source import KeySource
from tests.integration.conftest import MovableClock
from tests.tokens import jwks
from tests.waiting import until

HERE = EgressPolicy([ip_network("127.0.0.1/32")])


@dataclass
class Provider:
    """Publishes keys and counts who asks."""

    server: TestServer
    names: list[str] = field(default_factory=lambda: ["rsa"])
    status: int = 200
    asked: int = 0
    body: bytes | None = None

    @property
    def url(self) -> str:
        return str(self.server.make_url("/keys"))

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(status=self.status, body=self.body or jwks(self.names), content_type="application/json")


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    app = web.Application()
    server = TestServer(app, host="127.0.0.1")
    provider = Provider(server)
    app.router.add_get("/keys", provider.answer)
    await server.start_server()
    yield provider
    await server.close()


@pytest.fixture
async def clock() -> MovableClock:
    return MovableClock()


async def names(source: KeySource, key_id: str | None) -> list[str | None]:
    return [key.id for key in await source.find(key_id)]


async def test_many_at_once_read_once(provider: Provider, clock: MovableClock) -> None:
    source = KeySource(provider.url, HERE, clock, 300)
    assert await asyncio.gather(*[names(source, "rsa") for _ in range(20)]) == [["rsa"]] * 20
    assert await names(source, None) == ["rsa"]
    assert provider.asked == 1


async def test_an_unknown_key_is_looked_for_but_not_by_everybody_all_the_time(
    provider: Provider, clock: MovableClock
) -> None:
    source = KeySource(provider.url, HERE, clock, 300)
    assert await names(source, "rsa") == ["rsa"]
    provider.names = ["ed"]
    assert [await names(source, "ed") for _ in range(5)] == [[]] * 5
    assert provider.asked == 1
    clock.move(11)
    assert await asyncio.gather(*[names(source, "ed") for _ in range(5)]) == [["ed"]] * 5
    assert (await names(source, "rsa"), provider.asked) == ([], 2)


async def test_old_keys_are_read_anew_behind_a_request(provider: Provider, clock: MovableClock) -> None:
    source = KeySource(provider.url, HERE, clock, 300)
    await source.find("rsa")
    provider.names = ["rsa", "ed"]
    clock.move(299)
    assert (await names(source, None), provider.asked) == (["rsa"], 1)
    clock.move(2)
    assert await names(source, None) == ["rsa"]  # at once, with what there is

    async def are_new() -> bool:
        return await names(source, None) != ["rsa"]

    await until(are_new)
    assert (await names(source, None), provider.asked) == (["rsa", "ed"], 2)


@pytest.mark.parametrize("wrong", ["status", "body", "closed"])
async def test_keys_count_on_while_their_source_is_away(provider: Provider, clock: MovableClock, wrong: str) -> None:
    source = KeySource(provider.url, HERE, clock, 300)
    await source.find("rsa")
    provider.status, provider.body = (500, None) if wrong == "status" else (200, b'{"keys": []}')
    if wrong == "closed":
        await provider.server.close()
    for _ in range(3):
        clock.move(400)
        assert await names(source, "rsa") == ["rsa"]
        assert await names(source, "unknown") == []
    await source.close()


async def test_without_any_keys_nobody_is_let_in_and_nobody_waits_long(provider: Provider, clock: MovableClock) -> None:
    provider.status = 503
    source = KeySource(provider.url, HERE, clock, 300)
    for _ in range(5):
        with pytest.raises(Unavailable, match="cannot be read"):
            await source.find("rsa")
    assert provider.asked == 1
    provider.status = 200
    clock.move(11)
    assert await names(source, "rsa") == ["rsa"]


async def test_an_address_inside_is_closed_unless_it_is_allowed(provider: Provider, clock: MovableClock) -> None:
    with pytest.raises(Unavailable):
        await KeySource(provider.url, EgressPolicy(), clock, 300).find("rsa")
    assert provider.asked == 0


async def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path, clock: MovableClock) -> None:
    path = tmp_path / "keys.json"
    source = KeySource(str(path), EgressPolicy(), clock, 300)
    with pytest.raises(Unavailable):
        await source.find("rsa")
    path.write_bytes(jwks(["rsa"]))
    clock.move(11)
    assert await names(source, "rsa") == ["rsa"]
    path.write_bytes(jwks(["ed"]))
    clock.move(11)
    assert await names(source, "ed") == ["ed"]
