"""What a change of the master key works on: everything sealed with another one, batch by batch, over all tenants. What
the data key of a tenant sealed stays as it is.

Nothing here waits for a row or makes others wait for more than a batch: a row that is held, or that was changed since
it was read, is passed over.
"""

from collections.abc import Sequence
from typing import TypeAlias
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection

Resealed: TypeAlias = "tuple[SealedRow, bytes]"


class SealedRow(msgspec.Struct, frozen=True):
    """A sealed value; `record` is what it is sealed for besides its tenant: a secret's name, a trigger's id, or that it
    is the data key.
    """

    tenant_id: UUID
    record: UUID | str
    sealed: bytes


_OUTDATED_SECRETS = """
SELECT tenant_id, name, sealed FROM secrets
 WHERE key_id <> $1 AND key_id <> '' AND ($2::uuid IS NULL OR (tenant_id, name) > ($2, $3::text))
 ORDER BY tenant_id, name LIMIT $4
"""


async def outdated_secrets(connection: Connection, key_id: str, after: SealedRow | None, limit: int) -> list[SealedRow]:
    """Secrets that another key than `key_id` sealed, those behind `after`, in order."""
    place = (None, None) if after is None else (after.tenant_id, after.record)
    return [SealedRow(*row.values()) for row in await connection.fetch(_OUTDATED_SECRETS, key_id, *place, limit)]


_RESEAL_SECRETS = """
WITH held AS (
    SELECT s.tenant_id, s.name, new.sealed
      FROM unnest($2::uuid[], $3::text[], $4::bytea[], $5::bytea[]) AS new (tenant_id, name, present, sealed)
      JOIN secrets s ON s.tenant_id = new.tenant_id AND s.name = new.name AND s.sealed = new.present
       FOR UPDATE OF s SKIP LOCKED)
UPDATE secrets s SET sealed = held.sealed, key_id = $1 FROM held
 WHERE s.tenant_id = held.tenant_id AND s.name = held.name
RETURNING s.name
"""


async def reseal_secrets(connection: Connection, key_id: str, changes: Sequence[Resealed]) -> int:
    """Exchange what is sealed, by `key_id`; returns how many are."""
    return len(await connection.fetch(_RESEAL_SECRETS, key_id, *_columns(changes)))


_OUTDATED_TRIGGERS = """
SELECT tenant_id, id, sealed_secrets FROM triggers
 WHERE get_byte(sealed_secrets, 0) = get_byte($1, 0) AND substring(sealed_secrets FOR octet_length($1::bytea)) <> $1
   AND ($2::uuid IS NULL OR (tenant_id, id) > ($2, $3::uuid))
 ORDER BY tenant_id, id LIMIT $4
"""


async def outdated_triggers(
    connection: Connection, mark: bytes, after: SealedRow | None, limit: int
) -> list[SealedRow]:
    """Triggers whose secrets do not begin with `mark`, those behind `after`, in order."""
    place = (None, None) if after is None else (after.tenant_id, after.record)
    return [SealedRow(*row.values()) for row in await connection.fetch(_OUTDATED_TRIGGERS, mark, *place, limit)]


_RESEAL_TRIGGERS = """
WITH held AS (
    SELECT t.tenant_id, t.id, new.sealed
      FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[]) AS new (tenant_id, id, present, sealed)
      JOIN triggers t ON t.tenant_id = new.tenant_id AND t.id = new.id AND t.sealed_secrets = new.present
       FOR UPDATE OF t SKIP LOCKED)
UPDATE triggers t SET sealed_secrets = held.sealed FROM held WHERE t.tenant_id = held.tenant_id AND t.id = held.id
RETURNING t.id
"""


async def reseal_triggers(connection: Connection, changes: Sequence[Resealed]) -> int:
    """Exchange what is sealed; returns how many are."""
    return len(await connection.fetch(_RESEAL_TRIGGERS, *_columns(changes)))


_OUTDATED_DATA_KEYS = """
SELECT tenant_id, $2::text AS record, data_key FROM tenants
 WHERE data_key IS NOT NULL AND substring(data_key FOR octet_length($1::bytea)) <> $1
   AND ($3::uuid IS NULL OR tenant_id > $3)
 ORDER BY tenant_id LIMIT $4
"""


async def outdated_data_keys(
    connection: Connection, mark: bytes, record: str, after: SealedRow | None, limit: int
) -> list[SealedRow]:
    """Data keys that do not begin with `mark`, those behind `after`, in order; `record`: what they are sealed for."""
    place = None if after is None else after.tenant_id
    rows = await connection.fetch(_OUTDATED_DATA_KEYS, mark, record, place, limit)
    return [SealedRow(*row.values()) for row in rows]


_RESEAL_DATA_KEYS = """
WITH held AS (
    SELECT t.tenant_id, new.sealed
      FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS new (tenant_id, present, sealed)
      JOIN tenants t ON t.tenant_id = new.tenant_id AND t.data_key = new.present
       FOR UPDATE OF t SKIP LOCKED)
UPDATE tenants t SET data_key = held.sealed FROM held WHERE t.tenant_id = held.tenant_id
RETURNING t.tenant_id
"""


async def reseal_data_keys(connection: Connection, changes: Sequence[Resealed]) -> int:
    """Exchange what is sealed; returns how many are. Nothing is given back to a tenant whose key was destroyed."""
    tenants, _, present, sealed = _columns(changes)
    return len(await connection.fetch(_RESEAL_DATA_KEYS, tenants, present, sealed))


def _columns(changes: Sequence[Resealed]) -> tuple[list[UUID], list[UUID | str], list[bytes], list[bytes]]:
    return (
        [row.tenant_id for row, _ in changes],
        [row.record for row, _ in changes],
        [row.sealed for row, _ in changes],
        [sealed for _, sealed in changes],
    )
