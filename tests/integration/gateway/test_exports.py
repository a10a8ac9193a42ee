"""The export of a tenant: everything of it and of nobody else, at one moment, nothing that opens anything."""

import asyncio
import io
import json
import zipfile
from typing import Any
from uuid import UUID

import pytest

from libs.common.clock import new_id
from libs.common.db.whole_tenants import tenant_tables
from libs.common.errors import RateLimited
from services.gateway.exporting import Exports
from tests.integration.conftest import ADMIN, World
from tests.integration.db.test_foreign_tenant import everything_of, rows_of
from tests.integration.gateway.definitions import workflow

CANARY = "the-canary-value"


async def export_of(world: World, tenant_id: UUID | str) -> dict[str, list[dict[str, Any]]]:
    """The rows of each table."""
    answer = await world.client.get(f"/api/v1/admin/tenants/{tenant_id}/export", headers=ADMIN)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    tables = {
        name.removesuffix(".jsonl"): [json.loads(line) for line in archive.read(name).splitlines()]
        for name in archive.namelist()
        if name.endswith(".jsonl")
    }
    manifest = json.loads(archive.read("manifest.json"))
    assert manifest["tenant_id"] == str(tenant_id)
    assert manifest["rows"] == {table: len(rows) for table, rows in tables.items() if rows}
    return tables


async def test_it_has_every_row_of_the_tenant_and_none_of_others(acme: World) -> None:
    async with acme.parts.database.connection() as connection:
        owned = await everything_of(connection)
        names = {table.name for table in await tenant_tables(connection)}
    tables = await export_of(acme, owned.tenant)  # has its own row in the audit log
    async with acme.parts.database.connection() as connection:
        stored = await rows_of(connection, owned.tenant)
    assert {table: len(rows) for table, rows in tables.items()} == {table: len(rows) for table, rows in stored.items()}
    assert tables.keys() == names
    assert {row["tenant_id"] for rows in tables.values() for row in rows} == {str(owned.tenant)}
    (other,) = await acme.fetch("SELECT tenant_id FROM tenants WHERE slug = 'other'")
    assert not any("owner" in json.dumps(row) for row in (await export_of(acme, other["tenant_id"]))["tenants"])


async def test_it_opens_nothing(acme: World) -> None:
    await acme.call("PUT", "/secrets/A", {"value": CANARY})
    hook = {"key": "h", "type": "webhook", "config": {"auth": {"type": "hmac", "secret": CANARY}}}
    made = await acme.made(workflow(triggers=[hook]))
    (tenant,) = await acme.fetch("SELECT tenant_id FROM tenants WHERE slug = 'acme'")
    tables = await export_of(acme, tenant["tenant_id"])
    text = json.dumps(tables)
    for secret in (
        CANARY,
        made["triggers"][0]["token"],
        *(key for (slug, _), key in acme.keys.items() if slug == "acme"),
    ):
        assert secret not in text
    opening = {"hash", "token", "sealed", "sealed_secrets", "data_key"}
    assert not any(opening & row.keys() for rows in tables.values() for row in rows)
    assert [row["name"] for row in tables["secrets"]] == ["A"]


async def test_every_column_of_bytes_is_known(acme: World) -> None:
    """A new one that opens something is left out of exports, or stands here."""
    rows = await acme.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE data_type = 'bytea'"
        " AND table_schema = 'public'"
    )
    async with acme.parts.database.connection() as connection:
        columns = {table.name: table.columns.split(", ") for table in await tenant_tables(connection)}
    found = {(row["table_name"], row["column_name"]) for row in rows}
    assert {(table, column) for table, column in found if column in columns.get(table, [])} == {
        ("webhook_logs", "body"), ("webhook_deliveries", "delivery"), ("idempotency_keys", "request_hash"),
        ("event_ids", "request_hash"),
    }  # fmt: skip


async def test_large_exports_come_in_pieces_and_are_cut_off_cleanly(acme: World) -> None:
    (tenant,) = await acme.fetch("SELECT tenant_id FROM tenants WHERE slug = 'acme'")
    noise = "SELECT string_agg(md5(n::text || $3::text), '') FROM generate_series(1, 4000) n"
    for _ in range(30):
        await acme.fetch(
            "INSERT INTO notifications (tenant_id, id, level, title, message, created_at)"
            f" SELECT $1, $2, 'info', 't', ({noise}), now()",
            tenant["tenant_id"], new_id(), str(new_id()),
        )  # fmt: skip
    exports, now = Exports(acme.parts.database), acme.clock.now()
    pieces = [len(piece) async for piece in exports.archive(tenant["tenant_id"], now)]
    assert len(pieces) > 10 and max(pieces) < 400_000
    first, second = [exports.archive(tenant["tenant_id"], now) for _ in range(2)]
    exports.admit()
    await asyncio.gather(anext(first), anext(second))
    with pytest.raises(RateLimited):
        exports.admit()
    await first.aclose()
    exports.admit()
    await second.aclose()


async def test_there_is_none_of_nobody(acme: World) -> None:
    answer = await acme.client.get(f"/api/v1/admin/tenants/{new_id()}/export", headers=ADMIN)
    assert answer.status_code == 404
    assert (await acme.client.get(f"/api/v1/admin/tenants/{new_id()}/export")).status_code == 401
