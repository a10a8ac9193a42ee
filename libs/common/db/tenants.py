"""Tenants: the rows that everything else belongs to.

Only the platform reads or writes here, so most queries name no tenant or name it by its own key. A tenant is never
deleted by this module; `erasures` does that.
"""

from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

import asyncpg
import msgspec

from libs.common.db.pool import Connection, Record
from libs.common.errors import Conflict

Status: TypeAlias = Literal["active", "suspended", "erasing"]


class Tenant(msgspec.Struct, frozen=True):
    """A customer of the platform. `slug` is its readable name in `X-Tenant-ID`."""

    id: UUID
    slug: str
    name: str
    status: Status
    created_at: datetime
    updated_at: datetime


_INSERT = """
INSERT INTO tenants (tenant_id, slug, name) VALUES ($1, $2, $3)
ON CONFLICT (slug) DO NOTHING
RETURNING tenant_id, slug, name, status, created_at, updated_at
"""


async def insert_tenant(connection: Connection, tenant_id: UUID, slug: str, name: str) -> Tenant:
    """Store a new tenant. Raises `Conflict` when the slug is taken."""
    row = await connection.fetchrow(_INSERT, tenant_id, slug, name)
    if row is None:
        raise Conflict(f"There is a tenant with the slug {slug} already.")
    return _read(row)


_FIND = "SELECT tenant_id, slug, name, status, created_at, updated_at FROM tenants WHERE tenant_id = $1"


async def find_tenant(connection: Connection, tenant_id: UUID) -> Tenant | None:
    """The tenant of that id."""
    return _tenant(await connection.fetchrow(_FIND, tenant_id))


_FIND_BY_SLUG = "SELECT tenant_id, slug, name, status, created_at, updated_at FROM tenants WHERE slug = $1"


async def find_tenant_called(connection: Connection, slug: str) -> Tenant | None:
    """The tenant of that slug."""
    return _tenant(await connection.fetchrow(_FIND_BY_SLUG, slug))


_LIST = """
SELECT tenant_id, slug, name, status, created_at, updated_at FROM tenants
 WHERE $1::uuid IS NULL OR tenant_id < $1
 ORDER BY tenant_id DESC LIMIT $2 OFFSET $3
"""


async def list_tenants(connection: Connection, *, after: UUID | None, limit: int, offset: int) -> list[Tenant]:
    """Newest first, those older than `after`."""
    return [_read(row) for row in await connection.fetch(_LIST, after, limit, offset)]


_UPDATE = """
UPDATE tenants SET name = coalesce($2, name), slug = coalesce($3, slug), updated_at = now()
 WHERE tenant_id = $1
RETURNING tenant_id, slug, name, status, created_at, updated_at
"""


async def rename_tenant(
    connection: Connection, tenant_id: UUID, *, name: str | None, slug: str | None
) -> Tenant | None:
    """Set what is not `None`. Raises `Conflict` when the slug is taken."""
    try:
        return _tenant(await connection.fetchrow(_UPDATE, tenant_id, name, slug))
    except asyncpg.UniqueViolationError:
        raise Conflict(f"There is a tenant with the slug {slug} already.") from None


_SET_STATUS = """
UPDATE tenants SET status = $2, updated_at = now() WHERE tenant_id = $1 AND status <> 'erasing'
RETURNING tenant_id, slug, name, status, created_at, updated_at
"""


async def set_tenant_status(connection: Connection, tenant_id: UUID, status: Status) -> Tenant | None:
    """Suspend or resume; the same status again changes nothing that matters. None: there is no such tenant, or it is
    being erased.
    """
    return _tenant(await connection.fetchrow(_SET_STATUS, tenant_id, status))


_FIND_DATA_KEY = "SELECT data_key FROM tenants WHERE tenant_id = $1"


async def find_data_key(connection: Connection, tenant_id: UUID) -> bytes | None:
    """The sealed data key of the tenant, if it has one."""
    return await connection.fetchval(_FIND_DATA_KEY, tenant_id)


_CLAIM_DATA_KEY = """
UPDATE tenants SET data_key = coalesce(data_key, $2) WHERE tenant_id = $1 AND status <> 'erasing' RETURNING data_key
"""


async def claim_data_key(connection: Connection, tenant_id: UUID, fresh: bytes) -> bytes | None:
    """The sealed data key of the tenant, the fresh one if there was none; None when the tenant is being erased."""
    return await connection.fetchval(_CLAIM_DATA_KEY, tenant_id, fresh)


def _tenant(row: Record | None) -> Tenant | None:
    return None if row is None else _read(row)


def _read(row: Record) -> Tenant:
    return Tenant(row["tenant_id"], row["slug"], row["name"], row["status"], row["created_at"], row["updated_at"])
