"""`limit.near`: four fifths of a limit raise an event that workflows start on, once for each limit and day."""

from typing import Any

import httpx

from libs.common.limits.plans import Plans
from services.scheduler.limit_watch import LimitWatch
from tests.integration.conftest import World
from tests.integration.gateway.definitions import hourly, workflow
from tests.integration.limits.conftest import limit

WARNED: dict[str, Any] = {"key": "near", "type": "event", "config": {"event": "limit.near"}}
DAY = 86_400


async def listening(world: World) -> None:
    """`acme` has a workflow that starts when a limit is near."""
    await world.made(workflow("Warned", triggers=[WARNED]))


async def watch(world: World) -> None:
    """The scheduler has looked, after what the gateway has noted was written."""
    await world.parts.limits.limiter.near.write()
    plans = Plans(world.parts.settings)
    while await LimitWatch(world.parts.database, world.parts.acceptor, plans, world.clock).work():
        continue


async def told(world: World) -> list[tuple[str, int, int, int]]:
    """Of every event: the limit, its value, how much was used, and how many workflows were started."""
    rows = await world.fetch(
        "SELECT data ->> 'limit' AS name, (data ->> 'value')::int, (data ->> 'used')::int, started FROM events"
        " WHERE type = 'limit.near' AND source = 'limit' ORDER BY 1"
    )
    return [tuple(row) for row in rows]


async def test_four_fifths_of_what_is_stored_warn_once_a_day(acme: World) -> None:
    await listening(acme)
    await limit(acme, workflows=5, schedules=10)
    for name in ("One", "Two"):
        await acme.made(workflow(name, triggers=[hourly()]))
    await watch(acme)
    assert await told(acme) == []
    await acme.made(workflow("Three"))
    for _ in range(2):
        await watch(acme)
    assert await told(acme) == [("workflows", 5, 4, 1)]
    acme.clock.move(DAY)
    await watch(acme)
    assert await told(acme) == [("workflows", 5, 4, 1)] * 2


async def test_four_fifths_of_a_rate_warn(acme: World) -> None:
    await listening(acme)
    await limit(acme, api_rate="5/d")
    for _ in range(3):
        await acme.call("GET", "/workflows")
    await watch(acme)
    assert await told(acme) == []
    for _ in range(4):
        await acme.call("GET", "/workflows")
    await watch(acme)
    assert await told(acme) == [("api_rate", 5, 4, 1)]


async def test_what_the_webhook_service_notes_is_written_when_it_stops(
    acme: World, hooks: httpx.AsyncClient, address: str
) -> None:
    await listening(acme)
    await limit(acme, executions_in_flight=5)
    for _ in range(4):
        assert (await hooks.post(address)).status_code == 202
    await watch(acme)
    assert await told(acme) == [("executions_in_flight", 5, 4, 1)]


async def test_nobody_is_told_who_does_not_listen(acme: World) -> None:
    await limit(acme, workflows=1)
    await acme.made(workflow("One"))
    await watch(acme)
    assert await told(acme) == []
    assert [row["raised_at"] is not None for row in await acme.fetch("SELECT raised_at FROM limit_warnings")] == [True]


async def test_what_tenants_store_is_weighed(acme: World) -> None:
    await listening(acme)
    await limit(acme, stored_bytes=1_000)
    assert (await acme.call("POST", "/collections", {"name": "papers"})).status_code == 201
    made = await acme.call("POST", "/collections/papers/records", {"data": {"more": list(range(500))}})
    assert made.status_code == 201
    await watch(acme)
    (row,) = await acme.fetch("SELECT stored_bytes FROM tenants WHERE slug = 'acme'")
    assert row["stored_bytes"] > 800
    (other,) = await acme.fetch("SELECT stored_bytes, weighed_at FROM tenants WHERE slug = 'other'")
    assert tuple(other) == (0, None)
    assert [name for name, *_ in await told(acme)] == ["stored_bytes"]
