"""Secrets of tenants, sealed. What is read here for people holds no value; `load_sealed` gives to an executor what
only its vault opens.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection, Record


class StoredSecret(msgspec.Struct, frozen=True):
    """What may be shown of a secret. `version` counts its values; `last_used_at` is right to the hour."""

    name: str
    version: int
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None


class SealedSecret(msgspec.Struct, frozen=True):
    """A secret that the vault opens with its tenant, its name and the data key of the tenant."""

    tenant_id: UUID
    name: str
    sealed: bytes
    data_key: bytes | None


_PUT = """
INSERT INTO secrets (tenant_id, name, sealed, key_id) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, name) DO UPDATE
   SET sealed = excluded.sealed, key_id = excluded.key_id, version = secrets.version + 1, updated_at = now()
RETURNING name, version, created_at, updated_at, last_used_at
"""


async def put_secret(connection: Connection, tenant_id: UUID, name: str, *, sealed: bytes, key_id: str) -> StoredSecret:
    """Store a secret, or the new value of one; `version` is 1 when there was none. `key_id`: the master key that
    sealed it, empty when it was the tenant's data key.
    """
    row = await connection.fetchrow(_PUT, tenant_id, name, sealed, key_id)
    assert row is not None  # INSERT … RETURNING always gives its row
    return _read(row)


_LIST = """
SELECT name, version, created_at, updated_at, last_used_at FROM secrets
 WHERE tenant_id = $1 AND ($2::text IS NULL OR name > $2)
 ORDER BY name LIMIT $3 OFFSET $4
"""


async def list_secrets(
    connection: Connection, tenant_id: UUID, *, after: str | None, limit: int, offset: int
) -> list[StoredSecret]:
    """By name, those behind `after`."""
    return [_read(row) for row in await connection.fetch(_LIST, tenant_id, after, limit, offset)]


_FIND = """
SELECT name, version, created_at, updated_at, last_used_at FROM secrets WHERE tenant_id = $1 AND name = $2
"""


async def find_secret(connection: Connection, tenant_id: UUID, name: str) -> StoredSecret | None:
    """The secret of that name."""
    row = await connection.fetchrow(_FIND, tenant_id, name)
    return None if row is None else _read(row)


_DELETE = "DELETE FROM secrets WHERE tenant_id = $1 AND name = $2 RETURNING name"


async def delete_secret(connection: Connection, tenant_id: UUID, name: str) -> bool:
    """The secret is gone; `False` when there was none."""
    return await connection.fetchval(_DELETE, tenant_id, name) is not None


# SKIP LOCKED: who is first notes the use, nobody waits for another's note.
_LOAD_SEALED = """
WITH wanted AS (SELECT * FROM unnest($1::uuid[], $2::text[]) AS w (tenant_id, name)),
     unnoted AS (
    SELECT s.tenant_id, s.name FROM wanted w JOIN secrets s ON s.tenant_id = w.tenant_id AND s.name = w.name
     WHERE s.last_used_at IS NULL OR s.last_used_at < now() - interval '1 hour'
       FOR UPDATE OF s SKIP LOCKED),
     noted AS (
    UPDATE secrets s SET last_used_at = now() FROM unnoted u WHERE s.tenant_id = u.tenant_id AND s.name = u.name)
SELECT s.tenant_id, s.name, s.sealed, t.data_key
  FROM wanted w
  JOIN secrets s ON s.tenant_id = w.tenant_id AND s.name = w.name
  JOIN tenants t ON t.tenant_id = s.tenant_id
"""


async def load_sealed(connection: Connection, wanted: Sequence[tuple[UUID, str]]) -> list[SealedSecret]:
    """Those of the wanted secrets (tenant and name) that there are, and a note that they are used."""
    rows = await connection.fetch(_LOAD_SEALED, [tenant_id for tenant_id, _ in wanted], [name for _, name in wanted])
    return [SealedSecret(*row.values()) for row in rows]


def _read(row: Record) -> StoredSecret:
    return StoredSecret(*row.values())
