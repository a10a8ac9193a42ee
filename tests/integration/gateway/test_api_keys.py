"""API keys: shown once, confined by scopes, with their last use; and the keys of the platform."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from libs.common.db.api_keys import note_key_uses
from libs.common.db.pool import Database
from libs.common.settings import Secret
from services.gateway.app import GatewayService, create_app
from services.gateway.areas import area_of
from services.gateway.key_uses import KeyUses, UsedKey
from tests.integration.conftest import ADMIN, World
from tests.integration.gateway.definitions import workflow


async def key_of(world: World, name: str, role: str = "owner", scopes: list[str] | None = None) -> dict[str, Any]:
    """A new key, which the world calls with as that role from then on."""
    body = {"name": name, "role": role, **({} if scopes is None else {"scopes": scopes})}
    made = await world.call("POST", "/api-keys", body, role="owner")
    assert made.status_code == 201, made.text
    world.keys["acme", name] = made.json()["key"]
    return made.json()


async def test_a_key_is_shown_without_its_value(acme: World) -> None:
    made = await key_of(acme, "ci", "editor", ["workflows:read", "executions:write", "workflows:read"])
    assert made["scopes"] == ["executions:write", "workflows:read"]
    shown = await acme.call("GET", f"/api-keys/{made['id']}", role="owner")
    assert shown.json() == {
        "id": made["id"], "name": "ci", "role": "editor", "scopes": ["executions:write", "workflows:read"],
        "prefix": made["key"][:12], "created_at": made["created_at"], "expires_at": None, "revoked_at": None,
        "last_used_at": None,
    }  # fmt: skip
    (tenant,) = await acme.fetch("SELECT tenant_id FROM tenants WHERE slug = 'acme'")
    path = f"/api/v1/admin/tenants/{tenant['tenant_id']}/api-keys/{made['id']}"
    assert (await acme.client.get(path, headers=ADMIN)).json() == shown.json()
    assert (await acme.client.delete(path, headers=ADMIN)).status_code == 204
    assert (await acme.client.get(path, headers=ADMIN)).json()["revoked_at"] is not None


async def test_scopes_confine_a_key(acme: World) -> None:
    made = await acme.made(workflow())
    flow = f"/workflows/{made['id']}"
    await key_of(acme, "runner", "owner", ["workflows:read", "executions:write"])
    for method, path, status in (
        ("GET", "/workflows", 200), ("GET", flow, 200), ("POST", f"{flow}/execute", 202),
        ("GET", "/executions", 200), ("GET", f"{flow}/executions", 200), ("PATCH", flow, 403), ("DELETE", flow, 403),
        ("GET", "/secrets", 403), ("GET", "/api-keys", 403), ("GET", "/collections", 403), ("POST", "/events", 403),
    ):  # fmt: skip
        answer = await acme.call(method, path, {} if method != "GET" else None, role="runner")
        assert (method, path, answer.status_code) == (method, path, status)
    refused = await acme.call("GET", "/secrets", role="runner")
    assert refused.json()["detail"] == "This needs the scope secrets:read."
    await key_of(acme, "reader", "viewer", ["workflows:write"])
    assert (await acme.call("PATCH", flow, {}, role="reader")).status_code == 403  # the role says no


async def test_a_key_hands_out_no_more_than_it_has(acme: World) -> None:
    await key_of(acme, "keys", "owner", ["api-keys:write", "data:read"])
    for scopes, status in ((["data:read"], 201), (["api-keys:read"], 201), (["data:write"], 403), (None, 403)):
        body = {"name": "x", "role": "owner", **({} if scopes is None else {"scopes": scopes})}
        assert (await acme.call("POST", "/api-keys", body, role="keys")).status_code == status
    wrong = await acme.call("POST", "/api-keys", {"name": "x", "role": "owner", "scopes": ["all"]}, role="owner")
    assert [fault["path"] for fault in wrong.json()["errors"]] == ["scopes[0]"]
    empty = await acme.call("POST", "/api-keys", {"name": "x", "role": "owner", "scopes": []}, role="owner")
    assert empty.status_code == 422


def test_every_route_of_tenants_lies_in_an_area(acme: World) -> None:
    """One that does not is closed to credentials with scopes."""
    app = create_app(acme.parts)
    paths = {route.path_format for route in app.routes if route.path.startswith("/api/v1/")}
    assert len(paths) > 50
    nowhere = {path for path in paths if area_of(path) is None}
    assert all(path.startswith("/api/v1/admin/") for path in nowhere)
    assert {area_of(path) for path in paths if not path.startswith("/api/v1/admin/")} == {
        "workflows", "executions", "events", "data", "secrets", "api-keys", "audit",
    }  # fmt: skip


async def test_requests_write_nothing_and_uses_come_in_batches(acme: World) -> None:
    uses = KeyUses(acme.parts.database)
    transport = httpx.ASGITransport(create_app(acme.parts, None, uses), raise_app_exceptions=False)  # pyright: ignore[reportArgumentType]
    before = await acme.fetch("SELECT xmin::text, id FROM api_keys ORDER BY id")
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        for role in ("owner", "viewer", "viewer"):
            assert (await client.get("/api/v1/workflows", headers=acme.headers("acme", role))).status_code == 200
    assert await acme.fetch("SELECT xmin::text, id FROM api_keys ORDER BY id") == before
    await uses.write()
    keys = (await acme.call("GET", "/api-keys", role="owner")).json()["items"]
    used = {key["role"]: key["last_used_at"] for key in keys}
    assert used["editor"] is None
    for role in ("owner", "viewer"):
        assert datetime.now(UTC) - datetime.fromisoformat(used[role]) < timedelta(minutes=1)


async def test_a_gateway_that_stops_writes_what_is_left(acme: World) -> None:
    service = GatewayService(acme.service_parts())
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
    await service.start()
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        assert (await client.get("/api/v1/workflows", headers=acme.headers("acme", "viewer"))).status_code == 200
    await service.stop()
    rows = await acme.fetch("SELECT role FROM api_keys WHERE last_used_at IS NOT NULL")
    assert [row["role"] for row in rows] == ["viewer"]


async def test_uses_are_kept_while_the_database_is_away(acme: World, database_dsn: str) -> None:
    (row, *_) = await acme.fetch("SELECT tenant_id, id FROM api_keys ORDER BY id")
    database, now = Database(database_dsn, size=3, name="uses"), acme.clock.now()
    uses = KeyUses(database)
    uses.note(UsedKey(row["tenant_id"], row["id"]), now)
    await uses.write()  # there is no connection yet
    await database.open()
    await uses.stop()
    (stored,) = await acme.fetch("SELECT last_used_at FROM api_keys WHERE id = $1", row["id"])
    assert stored["last_used_at"] == now
    async with database.connection() as connection:
        await note_key_uses(connection, [(row["tenant_id"], row["id"], now - timedelta(hours=1))])
    assert await acme.fetch("SELECT last_used_at FROM api_keys WHERE id = $1", row["id"]) == [stored]
    await database.close()


@pytest.mark.parametrize(
    ("setting", "key", "status"),
    [
        ("new,old", "new", 200), ("new, old", "old", 200), ("new,old", "new,old", 401), ("new,old", "ne", 401),
        ("new", "old", 401), ("", "", 401), (",", ",", 401), ("new,", "", 401),
    ],
)  # fmt: skip
async def test_several_platform_keys_count_until_the_old_one_is_removed(
    world: World, setting: str, key: str, status: int
) -> None:
    async with world.with_settings(platform_key=Secret(setting)) as client:
        answer = await client.get("/api/v1/admin/tenants", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == status
