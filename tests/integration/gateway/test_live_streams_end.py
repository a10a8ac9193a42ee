"""Event streams that are taken up again, that say that they live, and that end before their execution does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from libs.common.telemetry.registry import REGISTRY
from services.gateway import followers, live
from tests.integration.conftest import ADMIN, World
from tests.integration.gateway.following import Gateway, gateway, read_events
from tests.integration.gateway.test_live_stream import become, started, statuses, telling
from tests.waiting import until

LAST = "Last-Event-ID"


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(followers, "CHECK_SECONDS", 0.05)


async def last_id(served: Gateway, execution_id: str) -> str:
    """The id of the present state."""
    async with served.following(execution_id) as events:
        return str((await anext(events))["number"])


async def test_whoever_comes_back_is_told_what_is_new_and_nothing_again(acme: World) -> None:
    execution_id = await started(acme)
    async with gateway(acme) as served:
        told = await last_id(served, execution_id)
        await become(acme, execution_id, "waiting")
        async with served.following(execution_id, **{LAST: told}) as events:
            event = await anext(events)
            assert event["status"] == "waiting"
    async with gateway(acme) as another, another.following(execution_id, **{LAST: event["number"]}) as events:
        await become(acme, execution_id, "completed")
        assert await statuses(events) == ["completed"]


async def test_where_no_header_can_be_set_the_address_says_what_was_told(acme: World) -> None:
    execution_id = await started(acme)
    async with gateway(acme) as served:
        told = await last_id(served, execution_id)
        async with served.following(f"{execution_id}?last_event_id={told}") as events:
            await become(acme, execution_id, "completed")
            assert await statuses(events) == ["completed"]
        async with served.following(f"{execution_id}?last_event_id={told}", **{LAST: "newer"}) as events:
            assert await statuses(events) == ["completed"]


async def test_whoever_was_told_the_end_need_not_come_back(acme: World) -> None:
    """204 is how a browser is told so (WHATWG HTML 9.2.3)."""
    execution_id = await started(acme)
    await become(acme, execution_id, "completed")
    async with gateway(acme) as served:
        told = await last_id(served, execution_id)
        async with served.stream(execution_id, {LAST: told}, 204) as response:
            assert await response.read() == b""


async def test_a_quiet_stream_says_that_it_lives(acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "KEEP_ALIVE_SECONDS", 0.1)
    execution_id = await started(acme)
    async with gateway(acme) as served, served.stream(execution_id) as response:
        lines = [await response.content.readline() for _ in range(8)]
    assert lines[3:] == [b"\n", b": alive\n", b"\n", b": alive\n", b"\n"]


async def revoked(world: World) -> None:
    keys = (await world.call("GET", "/api-keys", role="owner")).json()["items"]
    (key,) = [one for one in keys if one["role"] == "viewer"]
    assert (await world.call("DELETE", f"/api-keys/{key['id']}", role="owner")).status_code == 204


async def expired(world: World) -> None:
    await world.fetch("UPDATE api_keys SET expires_at = now() - interval '1 hour' WHERE role = 'viewer'")


async def suspended(world: World) -> None:
    (tenant,) = await world.fetch("SELECT tenant_id FROM tenants WHERE slug = 'acme'")
    answer = await world.client.post(f"/api/v1/admin/tenants/{tenant['tenant_id']}/suspend", headers=ADMIN)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("happens", "reason"), [(revoked, "unauthenticated"), (expired, "unauthenticated"), (suspended, "tenant-suspended")]
)
async def test_a_stream_ends_with_its_right_to_be(
    acme: World, happens: Callable[[World], Awaitable[None]], reason: str
) -> None:
    execution_id = await started(acme)
    async with gateway(acme) as served, served.stream(execution_id, acme.headers("acme", "viewer")) as response:
        events = read_events(response)
        assert (await anext(events))["status"] == "pending"
        await happens(acme)
        farewell: list[dict[str, Any]] = [event async for event in events]
    assert [(event["number"], event["reason"]) for event in farewell] == [("", reason)]


async def test_a_busy_stream_ends_with_its_right_to_be(
    acme: World, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_LOOK_SECONDS", 600.0)
    execution_id, viewer, enough = await started(acme), acme.headers("acme", "viewer"), asyncio.Event()

    async def keep_telling() -> None:
        async with telling(acme, redis_url) as tell:
            while not enough.is_set():
                await tell(execution_id)

    async with gateway(acme, redis_url) as served, served.stream(execution_id, viewer) as response:
        events, busy = read_events(response), asyncio.ensure_future(keep_telling())
        assert (await anext(events))["status"] == "pending"
        await revoked(acme)
        assert [event["reason"] async for event in events] == ["unauthenticated"]
        enough.set()
        await busy


async def test_a_database_that_is_away_ends_no_stream_at_a_check(acme: World) -> None:
    execution_id = await started(acme)
    async with gateway(acme) as served, served.following(execution_id) as events:
        assert (await anext(events))["status"] == "pending"
        await acme.parts.database.close()
        acme.clock.move(3600)  # what was remembered of the key is too old
        following = asyncio.ensure_future(anext(events))
        assert (await asyncio.wait([following], timeout=0.3))[0] == set()  # it has been checked in vain
        await acme.parts.database.open()
        await become(acme, execution_id, "completed")
        assert (await following)["status"] == "completed"


async def test_a_tenant_has_so_many_streams_and_no_more(acme: World) -> None:
    execution_id = await started(acme)
    async with gateway(acme, streams=2) as served:
        async with served.following(execution_id) as one, served.following(execution_id) as two:
            assert [(await anext(events))["status"] for events in (one, two)] == ["pending"] * 2
            assert open_streams() == 2
            async with served.stream(execution_id, status=429) as refused:
                assert refused.headers["retry-after"] == "5"
                assert (await refused.json())["type"] == "urn:signalbox:problem:rate-limited"

        async def none_left() -> bool:
            return open_streams() == 0

        await until(none_left)
        async with served.following(execution_id) as events:
            assert (await anext(events))["status"] == "pending"


def open_streams() -> float | None:
    return REGISTRY.get_sample_value("signalbox_live_streams", {"kind": "stream"})
