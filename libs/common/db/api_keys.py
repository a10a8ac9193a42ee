"""API keys: only the SHA-256 of a key is stored, so a copy of the database opens nothing.

`find_credential` runs before any tenant is known (the key names its tenant); every other query is scoped.
"""

from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from libs.common.db.pool import Connection, Record
from libs.common.errors import NotFound


class ApiKey(msgspec.Struct, frozen=True):
    """What may be shown of a key. `prefix`: its first characters, to recognise it by."""

    id: UUID
    name: str
    role: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class Credential(msgspec.Struct, frozen=True):
    """A living key and the tenant that it speaks for."""

    key_id: UUID
    role: str
    expires_at: datetime | None
    tenant_id: UUID
    tenant_slug: str
    tenant_status: str


_INSERT = """
INSERT INTO api_keys (tenant_id, id, name, role, prefix, hash, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
RETURNING id, name, role, prefix, created_at, expires_at, revoked_at
"""


async def insert_api_key(
    connection: Connection,
    tenant_id: UUID,
    key_id: UUID,
    *,
    name: str,
    role: str,
    prefix: str,
    hashed: bytes,
    expires_at: datetime | None,
) -> ApiKey:
    """Store a new key. Raises `NotFound` when there is no such tenant."""
    try:
        row = await connection.fetchrow(_INSERT, tenant_id, key_id, name, role, prefix, hashed, expires_at)
    except asyncpg.ForeignKeyViolationError:
        raise NotFound("There is no such tenant.") from None
    assert row is not None  # INSERT … RETURNING always gives its row
    return _read(row)


_LIST = """
SELECT id, name, role, prefix, created_at, expires_at, revoked_at FROM api_keys
 WHERE tenant_id = $1 AND ($2::uuid IS NULL OR id < $2)
 ORDER BY id DESC LIMIT $3 OFFSET $4
"""


async def list_api_keys(
    connection: Connection, tenant_id: UUID, *, after: UUID | None, limit: int, offset: int
) -> list[ApiKey]:
    """Newest first, revoked ones too."""
    return [_read(row) for row in await connection.fetch(_LIST, tenant_id, after, limit, offset)]


_REVOKE = """
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = $1 AND id = $2 RETURNING id
"""


async def revoke_api_key(connection: Connection, tenant_id: UUID, key_id: UUID) -> bool:
    """The key opens nothing from now on; `False` when the tenant has no such key."""
    return await connection.fetchval(_REVOKE, tenant_id, key_id) is not None


_FIND_CREDENTIAL = """
SELECT k.id, k.role, k.expires_at, t.tenant_id, t.slug, t.status
  FROM api_keys k JOIN tenants t ON t.tenant_id = k.tenant_id
 WHERE k.hash = $1 AND k.revoked_at IS NULL
"""


async def find_credential(connection: Connection, hashed: bytes) -> Credential | None:
    """The living key of that hash; whether it is expired is for the caller, who may have kept it for a while."""
    row = await connection.fetchrow(_FIND_CREDENTIAL, hashed)
    if row is None:
        return None
    return Credential(row["id"], row["role"], row["expires_at"], row["tenant_id"], row["slug"], row["status"])


def _read(row: Record) -> ApiKey:
    return ApiKey(
        row["id"], row["name"], row["role"], row["prefix"], row["created_at"], row["expires_at"], row["revoked_at"]
    )
