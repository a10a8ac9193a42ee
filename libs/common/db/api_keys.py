"""API keys: only the SHA-256 of a key is stored, so a copy of the database opens nothing.

`find_credential` runs before any tenant is known (the key names its tenant); every other query is scoped.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from libs.common.db.pool import Connection
from libs.common.errors import NotFound


class ApiKey(msgspec.Struct, frozen=True):
    """What may be shown of a key. `prefix`: its first characters, to recognise it by; `scopes`: None for all that the
    role allows; `last_used_at` is right to the minute.
    """

    id: UUID
    name: str
    role: str
    scopes: list[str] | None
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class Credential(msgspec.Struct, frozen=True):
    """A living key and the tenant that it speaks for. `scopes`: None for all that the role allows."""

    key_id: UUID
    role: str
    scopes: list[str] | None
    expires_at: datetime | None
    tenant_id: UUID
    tenant_slug: str
    tenant_status: str


_INSERT = """
INSERT INTO api_keys (tenant_id, id, name, role, prefix, hash, expires_at, scopes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING id, name, role, scopes, prefix, created_at, expires_at, revoked_at, last_used_at
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
    scopes: Sequence[str] | None = None,
) -> ApiKey:
    """Store a new key. Raises `NotFound` when there is no such tenant."""
    try:
        row = await connection.fetchrow(_INSERT, tenant_id, key_id, name, role, prefix, hashed, expires_at, scopes)
    except asyncpg.ForeignKeyViolationError:
        raise NotFound("There is no such tenant.") from None
    assert row is not None  # INSERT … RETURNING always gives its row
    return ApiKey(*row.values())


_LIST = """
SELECT id, name, role, scopes, prefix, created_at, expires_at, revoked_at, last_used_at FROM api_keys
 WHERE tenant_id = $1 AND ($2::uuid IS NULL OR id < $2)
 ORDER BY id DESC LIMIT $3 OFFSET $4
"""


async def list_api_keys(
    connection: Connection, tenant_id: UUID, *, after: UUID | None, limit: int, offset: int
) -> list[ApiKey]:
    """Newest first, revoked ones too."""
    return [ApiKey(*row.values()) for row in await connection.fetch(_LIST, tenant_id, after, limit, offset)]


_FIND = """
SELECT id, name, role, scopes, prefix, created_at, expires_at, revoked_at, last_used_at FROM api_keys
 WHERE tenant_id = $1 AND id = $2
"""


async def find_api_key(connection: Connection, tenant_id: UUID, key_id: UUID) -> ApiKey | None:
    """The key of that id, also a revoked one."""
    row = await connection.fetchrow(_FIND, tenant_id, key_id)
    return None if row is None else ApiKey(*row.values())


_REVOKE = """
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = $1 AND id = $2 RETURNING id
"""


async def revoke_api_key(connection: Connection, tenant_id: UUID, key_id: UUID) -> bool:
    """The key opens nothing from now on; `False` when the tenant has no such key."""
    return await connection.fetchval(_REVOKE, tenant_id, key_id) is not None


_FIND_CREDENTIAL = """
SELECT k.id, k.role, k.scopes, k.expires_at, t.tenant_id, t.slug, t.status
  FROM api_keys k JOIN tenants t ON t.tenant_id = k.tenant_id
 WHERE k.hash = $1 AND k.revoked_at IS NULL
"""


async def find_credential(connection: Connection, hashed: bytes) -> Credential | None:
    """The living key of that hash; whether it is expired is for the caller, who may have kept it for a while."""
    row = await connection.fetchrow(_FIND_CREDENTIAL, hashed)
    return None if row is None else Credential(*row.values())


# SKIP LOCKED: who is first notes the use, nobody waits for another's note.
_NOTE_USES = """
WITH held AS (
    SELECT k.tenant_id, k.id, new.used_at
      FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS new (tenant_id, id, used_at)
      JOIN api_keys k ON k.tenant_id = new.tenant_id AND k.id = new.id
     WHERE k.last_used_at IS NULL OR k.last_used_at < new.used_at
       FOR UPDATE OF k SKIP LOCKED)
UPDATE api_keys k SET last_used_at = held.used_at FROM held WHERE k.tenant_id = held.tenant_id AND k.id = held.id
"""


async def note_key_uses(connection: Connection, uses: Sequence[tuple[UUID, UUID, datetime]]) -> None:
    """Keys (tenant, id) were used at these times."""
    await connection.execute(_NOTE_USES, *[list(column) for column in zip(*uses, strict=True)])
