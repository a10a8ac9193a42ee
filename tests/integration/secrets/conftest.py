"""A tenant of a real database, and its secrets without a gateway around."""

from dataclasses import dataclass
from uuid import UUID

import pytest

from libs.common.clock import new_id
from libs.common.db.pool import Database
from libs.common.db.secrets import put_secret
from libs.common.db.tenants import insert_tenant
from libs.common.security.encryption import Vault, new_master_key

OLD_KEY, NEW_KEY = new_master_key("old"), new_master_key("new")


@dataclass
class Safe:
    """Puts secrets of one tenant into the database."""

    database: Database
    tenant_id: UUID

    async def put(self, vault: Vault, **values: str) -> None:
        async with self.database.connection() as connection:
            for name, value in values.items():
                sealed = vault.seal(self.tenant_id, name, value.encode())
                await put_secret(connection, self.tenant_id, name, sealed=sealed, key_id=vault.sealing_id)


@pytest.fixture
async def safe(database: Database) -> Safe:
    tenant_id = new_id()
    async with database.connection() as connection:
        await insert_tenant(connection, tenant_id, "acme", "acme")
    return Safe(database, tenant_id)
