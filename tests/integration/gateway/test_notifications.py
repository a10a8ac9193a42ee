"""In-app notifications over HTTP: whose they are, what was read, pages, roles, tenants."""

from typing import Any
from uuid import UUID

import pytest

from libs.common.clock import new_id
from libs.common.db.local_writes import LocalWrite, perform_local_writes
from tests.integration.conftest import World


async def notify(world: World, tenant: str, *configs: dict[str, Any]) -> list[str]:
    """The ids of what `send_notification` makes."""
    writes = [
        LocalWrite(UUID(tenant), new_id(), "key", "send_notification", config, None, world.clock.now())
        for config in configs
    ]
    async with world.parts.database.transaction() as connection:
        results = await perform_local_writes(connection, writes)
    return [result.output["id"] for result in results]


async def titles(world: World, query: str = "", **more: str) -> list[str]:
    answer = await world.call("GET", f"/notifications?{query}", **{"role": "viewer", **more})
    assert answer.status_code == 200, answer.text
    return [row["title"] for row in answer.json()["items"]]


@pytest.fixture
async def told(world: World) -> tuple[World, list[str]]:
    tenant, other = await world.tenant("acme"), await world.tenant("other")
    ids = await notify(
        world, tenant,
        {"title": "a1", "message": "m", "user": "ann"}, {"title": "b1", "message": "m", "user": "bob"},
        {"title": "all", "message": "m", "level": "error", "link": "/x"},
        {"title": "a2", "message": "m", "user": "ann"},
    )  # fmt: skip
    await notify(world, other, {"title": "foreign", "message": "m", "user": "ann"})
    return world, ids


async def test_whose_they_are(told: tuple[World, list[str]]) -> None:
    world, ids = told
    assert await titles(world) == ["a2", "all", "b1", "a1"]
    assert await titles(world, "user=ann") == ["a2", "all", "a1"]
    assert await titles(world, X_User_ID="bob") == ["all", "b1"]
    assert await titles(world, "user=ann", X_User_ID="bob") == ["a2", "all", "a1"]
    assert await titles(world, "user=nobody") == ["all"]
    assert await titles(world, slug="other") == ["foreign"]
    shown = (await world.call("GET", "/notifications?user=bob")).json()["items"][0]
    assert {name: shown[name] for name in ("id", "user", "level", "link", "message", "read", "read_at")} == {
        "id": ids[2], "user": None, "level": "error", "link": "/x", "message": "m", "read": False, "read_at": None,
    }  # fmt: skip


async def test_reading_one(told: tuple[World, list[str]]) -> None:
    world, ids = told
    path = f"/notifications/{ids[0]}/read"
    first = await world.call("POST", path, role="viewer")
    world.clock.move(60)
    again = await world.call("POST", path, role="viewer")
    assert first.json()["read"] is True
    assert again.json() == first.json(), "it was read when it was first read"
    assert await titles(world, "user=ann&unread=true") == ["a2", "all"]
    assert await titles(world, "user=ann&unread=false") == ["a1"]
    assert (await world.call("POST", f"/notifications/{ids[3]}/read", slug="other")).status_code == 404
    assert (await world.call("POST", f"/notifications/{new_id()}/read")).status_code == 404
    assert await titles(world, "user=ann&unread=true") == ["a2", "all"]


async def test_reading_all(told: tuple[World, list[str]]) -> None:
    world, _ = told
    assert (await world.call("POST", "/notifications/read-all?user=ann", role="viewer")).json() == {"updated": 3}
    assert await titles(world, "unread=true") == ["b1"]
    assert (await world.call("POST", "/notifications/read-all", X_User_ID="ann")).json() == {"updated": 0}
    assert (await world.call("POST", "/notifications/read-all")).json() == {"updated": 1}
    assert await titles(world, "unread=true") == []
    assert await titles(world, "unread=true", slug="other") == ["foreign"]


async def test_pages_and_bad_parameters(told: tuple[World, list[str]]) -> None:
    world, _ = told
    first = (await world.call("GET", "/notifications?limit=3")).json()
    rest = (await world.call("GET", f"/notifications?limit=3&cursor={first['next_cursor']}")).json()
    assert [row["title"] for row in first["items"] + rest["items"]] == ["a2", "all", "b1", "a1"]
    assert rest["next_cursor"] is None
    for query, path in (("unread=perhaps", "unread"), ("user=%00", "user"), ("user=" + "x" * 201, "user")):
        answer = await world.call("GET", f"/notifications?{query}")
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, path)
    assert (await world.call("POST", "/notifications/read-all?user=%00")).status_code == 422
