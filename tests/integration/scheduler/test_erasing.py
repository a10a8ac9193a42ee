"""A tenant that is erased: shut at once, its rows gone table by table, its receipt left; nobody else loses a row."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from libs.common.db.erasures import begin_erasure, find_erasure
from libs.common.db.pool import Database
from libs.common.db.secrets import load_sealed
from libs.common.security.encryption import CannotOpen
from services.scheduler import erasing
from services.scheduler.erasing import Erasing
from tests.factories import make_execution
from tests.integration.conftest import ADMIN, World
from tests.integration.db.test_foreign_tenant import Owned, everything_of, rows_of
from tests.integration.gateway.definitions import workflow
from tests.integration.gateway.test_access import slug_of

AT_ONCE = -erasing._LATE_SECONDS  # pyright: ignore[reportPrivateUsage]
"""What to remember credentials for, so that nothing is waited for."""


async def two_tenants(database: Database) -> tuple[Owned, Owned]:
    """Two with a row in every table."""
    async with database.connection() as connection:
        first = await everything_of(connection)
        await connection.execute("UPDATE tenants SET slug = 'first'")
        await connection.execute("UPDATE api_keys SET hash = '\\x01'")
        return first, await everything_of(connection)


async def begin(database: Database, tenant_id: UUID) -> None:
    async with database.connection() as connection:
        await begin_erasure(connection, tenant_id, "ann")


async def erased(database: Database) -> int:
    """Works until there is nothing left to do; returns how many batches it took."""
    duty, batches = Erasing(database, AT_ONCE), 0
    while await duty.work():
        batches += 1
    return batches


async def test_every_table_is_emptied_and_no_other_tenant_loses_a_row(database: Database) -> None:
    first, second = await two_tenants(database)
    async with database.connection() as connection:
        before, kept = await rows_of(connection, first.tenant), await rows_of(connection, second.tenant)
        assert before.keys() == kept.keys()
    await begin(database, first.tenant)
    await erased(database)
    async with database.connection() as connection:
        assert await rows_of(connection, first.tenant) == {}
        assert await rows_of(connection, second.tenant) == kept
        receipt = await find_erasure(connection, first.tenant)
        assert receipt is not None
        assert receipt.counts == {table: len(rows) for table, rows in before.items()}
        assert (receipt.slug, receipt.requested_by, receipt.finished_at is not None) == ("first", "ann", True)
        again = await begin_erasure(connection, first.tenant, "bob")
    assert again == receipt
    assert await erased(database) == 0


async def test_batches_are_bounded_and_side_by_side(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "_BATCH", 5)
    async with database.connection() as connection:
        owned = await everything_of(connection)
        for _ in range(40):
            await make_execution(connection, owned.tenant, owned.workflow)
        executions = await connection.fetchval("SELECT count(*) FROM executions")
    await begin(database, owned.tenant)
    batches = await asyncio.gather(*[erased(database) for _ in range(3)])
    assert sum(batches) > executions // 10
    async with database.connection() as connection:
        receipt = await find_erasure(connection, owned.tenant)
        assert receipt is not None and receipt.finished_at is not None
        assert receipt.counts["executions"] == executions
        assert await rows_of(connection, owned.tenant) == {}


async def test_what_is_written_late_goes_too(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "_BATCH", 5)
    async with database.connection() as connection:
        owned = await everything_of(connection)
        await begin(database, owned.tenant)
        duty = Erasing(database, AT_ONCE)
        for _ in range(6):  # somebody has not heard yet
            assert await duty.work()
            await make_execution(connection, owned.tenant, owned.workflow)
        await erased(database)
        assert await rows_of(connection, owned.tenant) == {}


async def test_it_waits_until_everybody_has_heard(database: Database) -> None:
    async with database.connection() as connection:
        owned = await everything_of(connection)
        await begin(database, owned.tenant)
        assert await Erasing(database, 1.0).work() is False
        await connection.execute("UPDATE erasures SET requested_at = now() - interval '7 seconds'")
    assert await Erasing(database, 1.0).work() is True


async def test_over_the_api(acme: World) -> None:
    await acme.call("PUT", "/secrets/A", {"value": "a value"})
    await acme.made(workflow())
    (tenant, other) = await acme.fetch("SELECT tenant_id, data_key FROM tenants ORDER BY slug")
    path = f"/api/v1/admin/tenants/{tenant['tenant_id']}"

    async def platform(method: str, tail: str, body: Any = None) -> Any:
        headers = {**ADMIN, "X-User-ID": "root@platform"}
        return await acme.client.request(method, tail, json=body, headers=headers)

    wrong = await platform("POST", f"{path}/erase", {"slug": "other"})
    assert (wrong.status_code, [fault["path"] for fault in wrong.json()["errors"]]) == (422, ["slug"])
    answer = await platform("POST", f"{path}/erase", {"slug": "acme"})
    assert (answer.status_code, answer.headers["location"]) == (202, f"/api/v1/admin/erasures/{tenant['tenant_id']}")
    receipt = answer.json()
    assert (receipt["requested_by"], receipt["finished_at"], receipt["counts"]) == ("root@platform", None, {})
    async with acme.parts.database.connection() as connection:
        (row,) = await load_sealed(connection, [(tenant["tenant_id"], "A")])
    with pytest.raises(CannotOpen):
        acme.parts.vault.open(row.tenant_id, row.name, row.sealed, row.data_key)
    acme.parts.vault.open(row.tenant_id, row.name, row.sealed, tenant["data_key"])  # what is gone was the key
    acme.clock.move(1.1)
    refused = await acme.call("GET", "/workflows")
    assert (refused.status_code, slug_of(refused)) == (410, "tenant-erased")
    assert slug_of(await platform("POST", f"{path}/resume")) == "tenant-erased"
    assert (await platform("GET", path)).json()["status"] == "erasing"
    await erased(acme.parts.database)
    assert (await platform("GET", path)).status_code == 404
    assert (await platform("POST", f"{path}/erase", {"slug": "acme"})).json()["id"] == receipt["id"]
    (listed,) = (await platform("GET", "/api/v1/admin/erasures")).json()["items"]
    assert listed == (await platform("GET", answer.headers["location"])).json()
    assert listed["counts"]["secrets"] == 1 and listed["counts"]["tenants"] == 1
    acme.clock.move(1.1)
    assert (await acme.call("GET", "/workflows")).status_code == 401
    assert (await acme.call("GET", "/workflows", slug="other")).status_code == 200
    nowhere = "00000000-0000-7000-8000-000000000000"
    assert (await platform("POST", f"/api/v1/admin/tenants/{nowhere}/erase", {"slug": "x"})).status_code == 404
    assert (await platform("GET", f"/api/v1/admin/erasures/{nowhere}")).status_code == 404
    assert other["data_key"] is None
