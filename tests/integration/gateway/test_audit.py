"""The audit log over HTTP: who changed what, refused sign-ins, filters, pages, CSV; and that nothing changes a row."""

import asyncio
import csv
import io
from datetime import timedelta
from typing import Any, cast

import asyncpg
import httpx
import pytest
from litestar import Litestar

from libs.common.clock import new_id
from libs.common.db.audit import PLATFORM, AuditRow, insert_audit_rows
from services.gateway.app import create_app
from services.gateway.refused import Refusals
from services.scheduler.housekeeping import Housekeeping
from tests.integration.conftest import ADMIN, World
from tests.integration.gateway.definitions import webhook, workflow


async def entries(world: World, query: str = "", **more: str) -> list[dict[str, Any]]:
    answer = await world.call("GET", f"/audit{query}", role="owner", **more)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def test_it_says_who_changed_what_when_and_from_where(acme: World) -> None:
    made = await acme.made(workflow(triggers=[webhook(type="github", secret="hush-hush-hush")]), X_User_ID="ada")
    changed = workflow("Second", description="https://me:hush-hush-hush@example.com")
    answer = await acme.call("PUT", f"/workflows/{made['id']}", changed, X_User_ID="bob", X_Request_ID="r-1")
    newest, *_ = await entries(acme, f"?object={made['id']}")
    assert (newest["kind"], newest["actor"], newest["request_id"]) == ("workflow.changed", "bob", "r-1")
    assert (newest["address"], newest["stands_for"]) == ("127.0.0.1", 1)
    keys = {row["id"]: row["name"] for row in (await acme.call("GET", "/api-keys", role="owner")).json()["items"]}
    assert keys[newest["credential"]] == "editor"
    told = {one["path"]: (one["before"], one["after"]) for one in newest["changes"]}
    assert told["name"] == ("First", "Second")
    assert told["description"] == (None, "https://***@example.com")
    assert answer.status_code == 200
    assert "hush" not in str(await entries(acme))


async def test_what_is_taken_back_leaves_no_row(acme: World) -> None:
    before = await acme.count("audit_log")
    assert (await acme.call("POST", "/workflows", {"name": ""})).status_code == 422
    await acme.made(workflow("Taken"))
    assert (await acme.call("POST", "/workflows", workflow("Taken"))).status_code == 409
    assert await acme.count("audit_log") == before + 1


async def test_filters_and_pages(acme: World) -> None:
    for number in range(5):
        await acme.call("PUT", f"/secrets/S{number}", {"value": "x"}, X_User_ID="ada" if number % 2 else "bob")
    await acme.call("POST", "/collections", {"name": "orders"})
    assert [one["object"] for one in await entries(acme, "?actor=ada")] == ["S3", "S1"]
    assert [one["object"] for one in await entries(acme, "?kind=collection")] == ["orders"]
    assert [one["object"] for one in await entries(acme, "?kind=secret.set&object=S2")] == ["S2"]
    assert await entries(acme, "?to=2026-01-01T00:00:00Z") == []
    assert len(await entries(acme, "?from=2026-01-01T00:00:00Z&kind=secret")) == 5
    seen, cursor = list[str](), ""
    while True:
        answer = (await acme.call("GET", f"/audit?kind=secret&limit=2{cursor}", role="owner")).json()
        seen += [one["object"] for one in answer["items"]]
        if answer["next_cursor"] is None:
            break
        cursor = f"&cursor={answer['next_cursor']}"
    assert seen == ["S4", "S3", "S2", "S1", "S0"]
    for bad in ("?kind=%00", "?cursor=x", "?format=xml", "?actor=%00"):
        assert (await acme.call("GET", f"/audit{bad}", role="owner")).status_code == 422, bad


async def test_as_csv_no_cell_is_a_formula(acme: World) -> None:
    await acme.call("PUT", "/secrets/S", {"value": "x"}, X_User_ID='=HYPERLINK("http://x")')
    answer = await acme.call("GET", "/audit?format=csv&kind=secret", role="owner")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    head, line = list(csv.reader(io.StringIO(answer.text)))
    shown = dict(zip(head, line, strict=True))
    assert (shown["kind"], shown["object"], shown["actor"]) == ("secret.set", "S", '\'=HYPERLINK("http://x")')


async def test_each_tenant_sees_its_own_and_owners_only(acme: World) -> None:
    await acme.call("PUT", "/secrets/MINE", {"value": "x"})
    assert [one["object"] for one in await entries(acme, "?kind=secret", slug="other")] == []
    for role in ("viewer", "editor"):
        assert (await acme.call("GET", "/audit", role=role)).status_code == 403


async def test_what_the_platform_does_to_a_tenant_is_in_both_logs(acme: World) -> None:
    (tenant,) = await acme.fetch("SELECT tenant_id FROM tenants WHERE slug = 'acme'")
    path = f"/api/v1/admin/tenants/{tenant['tenant_id']}"
    for word in ("suspend", "resume"):
        answer = await acme.client.post(f"{path}/{word}", headers={**ADMIN, "X-User-ID": "root"})
        assert answer.status_code == 200
    for log in (await entries(acme, "?kind=tenant"), await platform(acme, "?kind=tenant&actor=root")):
        assert [one["kind"] for one in log] == ["tenant.resumed", "tenant.suspended"]
        assert {(one["credential"], one["actor"]) for one in log} == {("platform", "root")}
    refused = await acme.client.get("/api/v1/admin/audit-log", headers=acme.headers("acme"))
    assert refused.status_code == 401


async def platform(world: World, query: str) -> list[dict[str, Any]]:
    answer = await world.client.get(f"/api/v1/admin/audit-log{query}", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def test_refused_sign_ins_are_sampled(acme: World) -> None:
    app = create_app(acme.parts)
    refusals = cast("Refusals", app.state["refusals"])
    async with client_of(app) as client:
        wrong = {"Authorization": "Bearer sbk_wrong-wrong-wrong", "X-Tenant-ID": "acme"}
        for _ in range(200):
            assert (await client.get("/api/v1/workflows", headers=wrong)).status_code == 401
        for number in range(200):
            nobody = {"Authorization": "Bearer x", "X-Tenant-ID": f"none-{number}"}
            assert (await client.get("/api/v1/workflows", headers=nobody)).status_code == 401
        assert (await client.get("/api/v1/audit", headers=acme.headers("acme", "viewer"))).status_code == 403
    await refusals.close()
    mine = await entries(acme, "?kind=sign_in")
    assert (sum(one["stands_for"] for one in mine), len(mine) <= 2) == (200, True)
    assert {(one["object"], one["credential"]) for one in mine} == {("GET /api/v1/workflows", "sbk_wrong-wr")}
    denied = await entries(acme, "?kind=access")
    others = await platform(acme, "?kind=sign_in&limit=200")
    assert sum(one["stands_for"] for one in [*denied, *others]) == 201
    assert len(others) <= 45


def client_of(app: Litestar) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway.test")  # pyright: ignore[reportArgumentType]


async def test_refusals_while_the_database_is_away_are_dropped(acme: World) -> None:
    app = create_app(acme.parts)
    async with client_of(app) as client:
        await client.get("/api/v1/workflows", headers={"Authorization": "Bearer sbk_x"})
    await acme.parts.database.close()
    await cast("Refusals", app.state["refusals"]).close()
    await acme.parts.database.open()


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_log SET actor = 'me'", "DELETE FROM audit_log", "TRUNCATE audit_log"],
)
async def test_nothing_changes_a_row(acme: World, statement: str) -> None:
    before = await acme.count("audit_log")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        async with acme.parts.database.connection() as connection:
            await connection.execute(statement)
    assert await acme.count("audit_log") == before > 0


async def test_retention_takes_what_is_old_and_nothing_else(acme: World) -> None:
    (tenant,) = await acme.fetch("SELECT tenant_id FROM tenants WHERE slug = 'acme'")
    async with acme.parts.database.transaction() as connection:
        rows = [AuditRow(log, new_id(), "a.b", "x", None, "", "", "") for log in (tenant["tenant_id"], PLATFORM)]
        await insert_audit_rows(connection, rows)
    before = await acme.count("audit_log")
    await Housekeeping(acme.parts.database, acme.clock, 30).work()
    assert await acme.count("audit_log") == before
    acme.clock.move(timedelta(days=31).total_seconds())
    await Housekeeping(acme.parts.database, acme.clock, 30).work()
    assert await acme.count("audit_log") == 0


async def test_the_log_of_a_tenant_goes_with_it(acme: World) -> None:
    (tenant,) = await acme.fetch("SELECT tenant_id FROM tenants WHERE slug = 'other'")
    async with acme.parts.database.connection() as connection:
        await connection.execute("DELETE FROM tenants WHERE tenant_id = $1", tenant["tenant_id"])
        await connection.execute("DELETE FROM audit_log WHERE tenant_id = $1", tenant["tenant_id"])
    assert [row["object"] for row in await platform(acme, f"?object={tenant['tenant_id']}")] == [
        str(tenant["tenant_id"])
    ]


async def test_requests_at_once_are_not_mixed_up(acme: World) -> None:
    await asyncio.gather(
        *[acme.call("PUT", f"/secrets/S{n}", {"value": "x"}, X_User_ID=f"user-{n}") for n in range(20)]
    )
    found = {one["object"]: one["actor"] for one in await entries(acme, "?kind=secret")}
    assert found == {f"S{n}": f"user-{n}" for n in range(20)}
