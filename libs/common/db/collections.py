"""Collections: the named sets that a tenant's records are kept in, each with an optional JSON Schema.

Who writes a record first holds its collection (`hold_collections`), so that nobody deletes it meanwhile. Collections
before records, each in the order of their keys: that order of locks is the same everywhere, so nobody waits in a
circle.
"""

from collections.abc import Collection as Many
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection, Record
from libs.common.domain.records import STANDARD_COLLECTIONS
from libs.common.errors import Conflict

CollectionKey = tuple[UUID, str]
"""Tenant and name."""


class Collection(msgspec.Struct, frozen=True):
    """A collection. `schema`: the JSON Schema that the data of a record must fit when it is written; None: any."""

    name: str
    description: str
    schema: dict[str, Any] | bool | None
    version: int
    created_at: datetime
    updated_at: datetime


_INSERT = """
INSERT INTO collections (tenant_id, name, description, schema, created_at, updated_at)
VALUES ($1, $2, $3, $4::json, $5, $5) ON CONFLICT (tenant_id, name) DO NOTHING
RETURNING name, description, schema, version, created_at, updated_at
"""


async def insert_collection(
    connection: Connection,
    tenant_id: UUID,
    name: str,
    *,
    description: str,
    schema: dict[str, Any] | bool | None,
    now: datetime,
) -> Collection:
    """Store a new collection. Raises `Conflict` when the name is taken."""
    row = await connection.fetchrow(_INSERT, tenant_id, name, description, _json(schema), now)
    if row is None:
        raise Conflict(f"There is a collection named {name!r} already.")
    return _read(row)


_FIND = """
SELECT name, description, schema, version, created_at, updated_at FROM collections WHERE tenant_id = $1 AND name = $2
"""


async def find_collection(connection: Connection, tenant_id: UUID, name: str) -> Collection | None:
    """The collection of that name."""
    row = await connection.fetchrow(_FIND, tenant_id, name)
    return None if row is None else _read(row)


_LOCK = """
SELECT name, description, schema, version, created_at, updated_at FROM collections
 WHERE tenant_id = $1 AND name = $2 FOR UPDATE
"""


async def lock_collection(connection: Connection, tenant_id: UUID, name: str) -> Collection | None:
    """As `find_collection`; until the transaction ends nobody else changes it or writes into it."""
    row = await connection.fetchrow(_LOCK, tenant_id, name)
    return None if row is None else _read(row)


_LIST = """
SELECT name, description, schema, version, created_at, updated_at FROM collections
 WHERE tenant_id = $1 AND ($2::text IS NULL OR name > $2) ORDER BY name LIMIT $3 OFFSET $4
"""


async def list_collections(
    connection: Connection, tenant_id: UUID, *, after: str | None, limit: int, offset: int
) -> list[Collection]:
    """By name, those after `after`."""
    return [_read(row) for row in await connection.fetch(_LIST, tenant_id, after, limit, offset)]


_UPDATE = """
UPDATE collections SET description = $3, schema = $4::json, version = version + 1, updated_at = $5
 WHERE tenant_id = $1 AND name = $2
RETURNING name, description, schema, version, created_at, updated_at
"""


async def update_collection(
    connection: Connection,
    tenant_id: UUID,
    name: str,
    *,
    description: str,
    schema: dict[str, Any] | bool | None,
    now: datetime,
) -> Collection:
    """The next version of a collection that the caller has locked. Records that are there are not looked at."""
    row = await connection.fetchrow(_UPDATE, tenant_id, name, description, _json(schema), now)
    assert row is not None  # the caller has locked it
    return _read(row)


_DELETE = "DELETE FROM collections WHERE tenant_id = $1 AND name = $2"
_DELETE_EMPTY = """
DELETE FROM collections c
 WHERE tenant_id = $1 AND name = $2
   AND NOT EXISTS (SELECT FROM records r WHERE r.tenant_id = c.tenant_id AND r.collection = c.name)
RETURNING name
"""


async def delete_collection(connection: Connection, tenant_id: UUID, name: str, *, with_records: bool) -> bool:
    """A collection that the caller has locked is gone; if it holds records, only `with_records`. False: it stays."""
    if with_records:
        await connection.execute(_DELETE, tenant_id, name)
        return True
    return await connection.fetchval(_DELETE_EMPTY, tenant_id, name) is not None


_HOLD = """
SELECT c.tenant_id, c.name, c.description, c.schema, c.version, c.created_at, c.updated_at
  FROM unnest($1::uuid[], $2::text[]) AS wanted (tenant_id, name)
  JOIN collections c ON c.tenant_id = wanted.tenant_id AND c.name = wanted.name
 ORDER BY c.tenant_id, c.name FOR KEY SHARE OF c
"""
_MAKE = """
INSERT INTO collections (tenant_id, name, created_at, updated_at)
SELECT t.tenant_id, wanted.name, $3, $3
  FROM unnest($1::uuid[], $2::text[]) AS wanted (tenant_id, name) JOIN tenants t ON t.tenant_id = wanted.tenant_id
 ORDER BY t.tenant_id, wanted.name
ON CONFLICT (tenant_id, name) DO NOTHING
"""


async def hold_collections(
    connection: Connection, wanted: Many[CollectionKey], make: Many[CollectionKey], now: datetime
) -> dict[CollectionKey, Collection]:
    """The wanted collections that there are, kept from being deleted until the transaction ends.

    Of `make`, the standard ones that are missing are made first.
    """
    held = await _hold(connection, wanted)
    missing = sorted(key for key in make if key not in held and key[1] in STANDARD_COLLECTIONS)
    if missing:
        await connection.execute(_MAKE, [tenant for tenant, _ in missing], [name for _, name in missing], now)
        held |= await _hold(connection, missing)
    return held


async def _hold(connection: Connection, wanted: Many[CollectionKey]) -> dict[CollectionKey, Collection]:
    keys = sorted(set(wanted))
    rows = await connection.fetch(_HOLD, [tenant for tenant, _ in keys], [name for _, name in keys])
    return {(row["tenant_id"], row["name"]): _read(row) for row in rows}


def _json(schema: dict[str, Any] | bool | None) -> str | None:
    return None if schema is None else msgspec.json.encode(schema).decode()


def _read(row: Record) -> Collection:
    schema = row["schema"]
    return Collection(
        row["name"],
        row["description"],
        None if schema is None else msgspec.json.decode(schema),
        row["version"],
        row["created_at"],
        row["updated_at"],
    )
