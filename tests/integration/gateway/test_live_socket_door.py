"""Who may open the socket of a tenant, in three ways; how many may; and how it ends."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import WSServerHandshakeError

from libs.common.telemetry.registry import REGISTRY
from services.gateway import followers, sockets, tenant_feed
from services.gateway.routes import live_socket
from tests.integration.conftest import World
from tests.integration.gateway.following import Gateway, gateway
from tests.integration.gateway.sockets import Client, Runs, connected
from tests.integration.gateway.test_live_streams_end import expired, revoked, suspended
from tests.waiting import until


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_feed, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(tenant_feed, "_LONGEST_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(followers, "CHECK_SECONDS", 0.05)


async def refused(served: Gateway, headers: dict[str, str]) -> int:
    """The status of the answer to a handshake that opens nothing."""
    with pytest.raises(WSServerHandshakeError) as caught:
        async with connected(served, headers=headers):
            pass
    return caught.value.status


async def test_a_wrong_header_is_refused_as_for_every_request(acme: World) -> None:
    mine, bad = acme.headers("acme"), "Bearer sbk_nobody"
    async with gateway(acme) as served:
        assert await refused(served, {**mine, "Authorization": bad}) == 401
        assert await refused(served, {**mine, "Authorization": "Basic eDp5"}) == 401
        assert await refused(served, {"Authorization": mine["Authorization"]}) == 400
        assert await refused(served, {**mine, "X-Tenant-ID": "other"}) == 403
        assert await refused(served, {**mine, "X-User-ID": "x" * 201}) == 422
        url = f"http://127.0.0.1:{served.port}/api/v1/executions/nowhere"
        with pytest.raises(WSServerHandshakeError):
            async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=mine):
                pass


def token(world: World, role: str = "viewer") -> str:
    return world.keys["acme", role]


async def test_a_browser_says_who_it_is_by_subprotocols(acme: World) -> None:
    offered = ["signalbox", f"token.{token(acme)}", "tenant.acme"]
    async with gateway(acme) as served:
        async with connected(served, protocols=offered) as client:
            assert client.socket.protocol == "signalbox"
            await client.subscribe()
        async with connected(served, protocols=["signalbox", "token.sbk_nobody", "tenant.acme"]) as client:
            assert await client.end() == (4401, "This credential is unknown or was revoked.")
        async with connected(served, protocols=[*offered[:2], "tenant.other"]) as client:
            assert await client.end() == (4403, "This credential is not for that tenant.")
        async with connected(served, protocols=offered[:2]) as client:
            assert (await client.end())[0] == 4400


async def test_a_browser_says_who_it_is_in_its_first_message(acme: World) -> None:
    async with gateway(acme) as served:
        async with connected(served, headers={}) as client:
            await client.say(token=token(acme), tenant="acme", subscribe={"statuses": ["failed"]})
            assert (await client.hear())["filter"]["statuses"] == ["failed"]
        refusals: list[tuple[dict[str, Any], int]] = [
            ({"subscribe": {}}, 4401), ({"token": "sbk_nobody", "tenant": "acme"}, 4401),
            ({"token": token(acme)}, 4400), ({"token": token(acme), "tenant": "other"}, 4403), ({"tokn": ""}, 4422),
        ]  # fmt: skip
        for message, code in refusals:
            async with connected(served, headers={}) as client:
                await client.say(**message)
                assert (await client.end())[0] == code
        async with connected(served, headers={}) as client:
            await client.socket.send_str("hello")
            assert (await client.end())[0] == 4400


async def test_strangers_do_not_take_all_there_is(acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "MOST_STRANGERS", 2)
    async with gateway(acme) as served, connected(served, headers={}), connected(served, headers={}) as second:
        async with connected(served, headers={}) as third:
            assert (await third.end())[0] == 4429
        async with connected(served) as known:  # who says at once who it is takes nobody's place
            await known.subscribe()
        await second.say(token=token(acme), tenant="acme", subscribe={})
        assert (await second.hear())["type"] == "subscribed"
        async with connected(served, headers={}) as third:
            await third.say(token=token(acme), tenant="acme", subscribe={})
            assert (await third.hear())["type"] == "subscribed"


async def test_a_token_in_the_address_opens_nothing(acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_socket, "_HELLO_SECONDS", 0.1)
    async with gateway(acme) as served:
        url = f"http://127.0.0.1:{served.port}/api/v1/executions/ws?token={token(acme)}&tenant=acme"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            assert (await Client(socket).end())[0] == 4408


async def test_a_tenant_has_so_many_sockets_and_no_more(acme: World) -> None:
    async with gateway(acme, streams=2) as served:
        async with connected(served), connected(served) as client:
            await client.subscribe()
            assert open_sockets() == 2
            assert await refused(served, acme.headers("acme")) == 429
            async with connected(served, headers={}) as one_more:
                await one_more.say(token=token(acme), tenant="acme")
                assert (await one_more.end())[0] == 4429
            async with connected(served, slug="other") as other:
                await other.subscribe()
        await until(none_open)
        async with connected(served) as client:
            await client.subscribe()
    await until(none_open)


def open_sockets() -> float | None:
    return REGISTRY.get_sample_value("signalbox_live_streams", {"kind": "socket"})


async def none_open() -> bool:
    return open_sockets() == 0


@pytest.mark.parametrize(("happens", "code"), [(revoked, 4401), (expired, 4401), (suspended, 4403)])
async def test_a_socket_ends_with_its_right_to_be(
    acme: World, happens: Callable[[World], Awaitable[None]], code: int
) -> None:
    async with gateway(acme) as served, connected(served, "viewer") as client:
        await client.subscribe()
        await happens(acme)
        assert (await client.end())[0] == code


async def test_a_quiet_socket_says_that_it_lives(acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "KEEP_ALIVE_SECONDS", 0.05)
    async with gateway(acme) as served, connected(served) as client:
        assert [await client.socket.receive_json() for _ in range(3)] == [{"type": "ping"}] * 3


async def test_a_gateway_that_stops_says_so_to_its_sockets(acme: World) -> None:
    async with gateway(acme) as served, connected(served) as client:
        await client.subscribe()
        ending = asyncio.ensure_future(client.end())
        await served.streams.close()
        assert await ending == (1001, sockets.STOPPING.reason)
    assert await none_open()


async def test_a_database_that_goes_away_and_comes_back_ends_no_socket(acme: World) -> None:
    runs = Runs(acme)
    async with gateway(acme) as served, connected(served) as client:
        start = (await client.subscribe())["id"]
        await acme.parts.database.close()
        await client.say(subscribe={}, last_event_id=start)
        assert (await client.end())[0] == 4503  # a subscription has to be made good
        await acme.parts.database.open()
        async with connected(served) as again:
            await again.subscribe()
            await acme.parts.database.close()
            hearing = asyncio.ensure_future(again.next_event())
            assert (await asyncio.wait([hearing], timeout=0.3))[0] == set()
            await acme.parts.database.open()
            execution_id = await runs.begin()
            assert await hearing == (execution_id, "pending")
