"""Who may do what: credentials, tenants, roles, and other tenants' resources."""

from typing import Any

import pytest

from tests.integration.conftest import ADMIN, World
from tests.integration.gateway.definitions import hourly, workflow

WORKFLOWS = "/api/v1/workflows"


def slug_of(answer: Any) -> str:
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["x-request-id"]
    assert set(body) == {"type", "title", "status", "detail", "request_id", "errors"}
    return body["type"].removeprefix("urn:signalbox:problem:")


@pytest.mark.parametrize(
    ("headers", "status", "slug"),
    [
        ({}, 401, "unauthenticated"),
        ({"X-Tenant-ID": "acme"}, 401, "unauthenticated"),
        ({"Authorization": "Bearer sbk_nonsense", "X-Tenant-ID": "acme"}, 401, "unauthenticated"),
        ({"Authorization": "Basic YTpi", "X-Tenant-ID": "acme"}, 401, "unauthenticated"),
        ({"Authorization": "Bearer ", "X-Tenant-ID": "acme"}, 401, "unauthenticated"),
        ({"Authorization": "Bearer {key}"}, 400, "tenant-required"),
        ({"Authorization": "Bearer {key}", "X-Tenant-ID": " "}, 400, "tenant-required"),
        ({"Authorization": "Bearer {key}", "X-Tenant-ID": "other"}, 403, "forbidden"),
        ({"Authorization": "Bearer {key}", "X-Tenant-ID": "nobody"}, 403, "forbidden"),
    ],
)
async def test_bad_credentials(acme: World, headers: dict[str, str], status: int, slug: str) -> None:
    sent = {name: value.replace("{key}", acme.keys["acme", "owner"]) for name, value in headers.items()}
    answer = await acme.client.get(WORKFLOWS, headers=sent)
    assert (answer.status_code, slug_of(answer)) == (status, slug)
    assert ("www-authenticate" in answer.headers) == (status == 401)


async def test_tenant_by_id_or_slug(world: World) -> None:
    tenant_id = await world.tenant("acme")
    for tenant in ("acme", tenant_id, tenant_id.upper()):
        answer = await world.client.get(WORKFLOWS, headers=world.headers("acme", tenant=tenant))
        assert answer.status_code == 200


async def test_suspension_and_revocation_take_effect_within_the_cache_time(world: World) -> None:
    tenant_id = await world.tenant("acme")
    assert (await world.call("GET", "/workflows")).status_code == 200
    suspended = await world.client.post(f"/api/v1/admin/tenants/{tenant_id}/suspend", headers=ADMIN)
    assert suspended.json()["status"] == "suspended"
    world.clock.move(1.1)
    answer = await world.call("GET", "/workflows")
    assert (answer.status_code, slug_of(answer)) == (403, "tenant-suspended")
    await world.client.post(f"/api/v1/admin/tenants/{tenant_id}/resume", headers=ADMIN)
    world.clock.move(1.1)
    keys = (await world.call("GET", "/api-keys", role="owner")).json()["items"]
    viewer = next(key["id"] for key in keys if key["role"] == "viewer")
    assert (await world.call("GET", "/workflows", role="viewer")).status_code == 200
    assert (await world.call("DELETE", f"/api-keys/{viewer}", role="owner")).status_code == 204
    world.clock.move(1.1)
    assert (await world.call("GET", "/workflows", role="viewer")).status_code == 401


async def test_an_expired_key_is_refused(acme: World) -> None:
    expires = acme.clock.now().replace(microsecond=0).isoformat().replace("+00:00", "Z")
    late = await acme.call("POST", "/api-keys", {"name": "k", "role": "viewer", "expires_at": expires}, role="owner")
    assert late.json()["errors"] == [{"path": "expires_at", "message": "must be in the future"}]
    acme.clock.move(-60)
    made = await acme.call("POST", "/api-keys", {"name": "k", "role": "viewer", "expires_at": expires}, role="owner")
    acme.keys["acme", "short"] = made.json()["key"]
    assert (await acme.call("GET", "/workflows", role="short")).status_code == 200
    acme.clock.move(61)
    assert (await acme.call("GET", "/workflows", role="short")).status_code == 401


async def test_roles(acme: World) -> None:
    made = await acme.made(workflow())
    path = f"/workflows/{made['id']}"
    for role, read, write, own in (("viewer", 200, 403, 403), ("editor", 200, 202, 403), ("owner", 200, 202, 200)):
        assert (await acme.call("GET", path, role=role)).status_code == read
        assert (await acme.call("POST", f"{path}/execute", {}, role=role)).status_code == write
        assert (await acme.call("GET", "/api-keys", role=role)).status_code == own
        assert (await acme.call("POST", "/workflows/validate", workflow(), role=role)).status_code == 200
    for method, tail in (("PUT", ""), ("PATCH", ""), ("DELETE", ""), ("PATCH", "/enable")):
        assert (await acme.call(method, path + tail, {"enabled": False}, role="viewer")).status_code == 403
    assert (await acme.call("GET", f"{path}/webhook-url", role="viewer")).status_code == 403


async def test_another_tenants_resources_are_not_found(acme: World) -> None:
    made = await acme.made(workflow(triggers=[hourly()]))
    started = await acme.call("POST", f"/workflows/{made['id']}/execute", {})
    flow, trigger = f"/workflows/{made['id']}", f"/triggers/{made['triggers'][0]['id']}"
    run = f"/executions/{started.json()['execution_id']}"
    calls: list[tuple[str, str, Any]] = [
        ("GET", flow, None), ("PUT", flow, workflow("Mine")), ("PATCH", flow, {"name": "Mine"}), ("DELETE", flow, None),
        ("PATCH", f"{flow}/enable", {"enabled": False}), ("POST", f"{flow}/execute", {}),
        ("GET", f"{flow}/versions", None),
        ("GET", f"{flow}/versions/1", None), ("GET", f"{flow}/triggers", None), ("GET", f"{flow}/webhook-url", None),
        ("GET", f"{flow}/executions", None), ("GET", f"{trigger}/next-runs", None),
        ("GET", run, None), ("GET", f"{run}/actions", None), ("POST", f"{run}/cancel", None),
    ]  # fmt: skip
    for method, path, body in calls:
        answer = await acme.call(method, path, body, slug="other", role="owner")
        assert (method, path, answer.status_code) == (method, path, 404)
        assert slug_of(answer) == "not-found"
    keys = (await acme.call("GET", "/api-keys", role="owner")).json()["items"]
    foreign = await acme.call("DELETE", f"/api-keys/{keys[0]['id']}", slug="other", role="owner")
    assert foreign.status_code == 404
    shown = await acme.call("GET", f"/api-keys/{keys[0]['id']}", slug="other", role="owner")
    assert shown.status_code == 404
    assert (await acme.call("GET", "/workflows", slug="other")).json()["items"] == []
    assert (await acme.call("GET", "/executions", slug="other")).json()["items"] == []
    assert (await acme.call("GET", flow)).json()["version"] == 1
    assert (await acme.call("GET", run)).json()["status"] == "pending"


async def test_platform_key(acme: World) -> None:
    path = "/api/v1/admin/tenants"
    assert (await acme.client.get(path)).status_code == 401
    assert (await acme.client.get(path, headers={"Authorization": "Bearer wrong"})).status_code == 401
    assert (await acme.client.get(path, headers=acme.headers("acme"))).status_code == 401
    assert (await acme.client.get(path, headers=ADMIN)).status_code == 200


async def test_tenants_of_the_platform(world: World) -> None:
    path = "/api/v1/admin/tenants"
    tenant_id = await world.tenant("acme")
    await world.tenant("other")
    taken = await world.client.post(path, json={"slug": "acme", "name": "x"}, headers=ADMIN)
    assert (taken.status_code, slug_of(taken)) == (409, "conflict")
    bad = await world.client.post(path, json={"slug": "No!", "name": "x"}, headers=ADMIN)
    assert [fault["path"] for fault in bad.json()["errors"]] == ["slug"]
    changed = await world.client.patch(f"{path}/{tenant_id}", json={"name": "Acme Inc"}, headers=ADMIN)
    assert (changed.json()["name"], changed.json()["slug"]) == ("Acme Inc", "acme")
    clash = await world.client.patch(f"{path}/{tenant_id}", json={"slug": "other"}, headers=ADMIN)
    assert clash.status_code == 409
    first = (await world.client.get(f"{path}?limit=1", headers=ADMIN)).json()
    second = (await world.client.get(f"{path}?limit=1&cursor={first['next_cursor']}", headers=ADMIN)).json()
    assert [first["items"][0]["slug"], second["items"][0]["slug"]] == ["other", "acme"]
    assert second["next_cursor"] is None
    nowhere = "00000000-0000-7000-8000-000000000000"
    for method, tail, body in (
        ("GET", "", None), ("PATCH", "", {"name": "x"}), ("POST", "/suspend", None), ("GET", "/api-keys", None),
        ("POST", "/api-keys", {"name": "k", "role": "owner"}), ("DELETE", f"/api-keys/{nowhere}", None),
        ("GET", f"/api-keys/{nowhere}", None),
    ):  # fmt: skip
        answer = await world.client.request(method, f"{path}/{nowhere}{tail}", json=body, headers=ADMIN)
        assert (method, tail, answer.status_code) == (method, tail, 404)


async def test_keys_are_shown_once_and_stored_hashed(acme: World) -> None:
    listed = await acme.call("GET", "/api-keys", role="owner")
    for key in acme.keys.values():
        assert key not in listed.text
        async with acme.parts.database.connection() as connection:
            rows = await connection.fetch("SELECT k::text AS line FROM api_keys k")
        assert all(key not in row["line"] for row in rows)
