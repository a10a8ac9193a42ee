"""Two tenants in a database, and a short way to do local actions."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID

import pytest

from libs.common.clock import new_id
from libs.common.db.collections import insert_collection
from libs.common.db.finding import find_for_action
from libs.common.db.local_writes import LocalResult, LocalWrite, perform_local_writes
from libs.common.db.pool import Database
from libs.common.db.tenants import insert_tenant

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


@dataclass
class Store:
    """Two tenants, each with the collection `things`."""

    database: Database
    acme: UUID
    other: UUID
    numbers: "count[int]"

    def write(self, type_name: str, /, tenant: UUID | None = None, **config: Any) -> LocalWrite:
        """An action of an execution of its own."""
        return LocalWrite(
            tenant_id=tenant or self.acme, execution_id=new_id(), key=f"key-{next(self.numbers)}", type=type_name,
            config=config, actor=None, now=NOW,
        )  # fmt: skip

    async def do(self, *writes: LocalWrite) -> list[LocalResult]:
        """All of them in one transaction."""
        async with self.database.transaction() as connection:
            return await perform_local_writes(connection, writes)

    async def one(self, type_name: str, /, tenant: UUID | None = None, **config: Any) -> LocalResult:
        return (await self.do(self.write(type_name, tenant, **config)))[0]

    async def made(self, data: dict[str, Any], tenant: UUID | None = None, **more: Any) -> str:
        """The id of a new record in `things`."""
        result = await self.one("create_record", tenant, collection="things", data=data, **more)
        assert result.failure is None, result.failure
        return result.output["id"]

    async def found(self, tenant: UUID | None = None, **config: Any) -> list[dict[str, Any]]:
        """What `find_records` finds in `things`."""
        return (await self.find(tenant, **config))["records"]

    async def find(self, tenant: UUID | None = None, **config: Any) -> dict[str, Any]:
        """The output of `find_records`. Raises `ActionFailed`."""
        async with self.database.connection() as connection:
            return await find_for_action(connection, tenant or self.acme, {"collection": "things", **config}, NOW, 5.0)

    async def count(self, table: str) -> int:
        async with self.database.connection() as connection:
            return await connection.fetchval(f"SELECT count(*) FROM {table}")


def failed(result: LocalResult) -> str | None:
    """The class of its failure."""
    assert result.failure is None or (result.output is None and result.change is None)
    return None if result.failure is None else result.failure.error_class


@pytest.fixture
async def store(database: Database) -> Store:
    made = Store(database, new_id(), new_id(), count())
    async with database.connection() as connection:
        for tenant_id, slug in ((made.acme, "acme"), (made.other, "other")):
            await insert_tenant(connection, tenant_id, slug, slug)
            await insert_collection(connection, tenant_id, "things", description="", schema=None, now=NOW)
    return made
