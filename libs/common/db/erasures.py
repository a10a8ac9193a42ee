"""Erasing tenants, and the receipts of it, which stay: who asked for it when, and how many rows of each table are gone.

Receipts belong to the platform; they hold the id, slug and name of a tenant that was, and nothing else of it.
"""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection, Record


class Erasure(msgspec.Struct, frozen=True):
    """A receipt. `id`: the tenant's. `key_gone_at`: since when its secrets can't be opened any more; `finished_at`:
    since when nothing of it is left.
    """

    id: UUID
    slug: str
    name: str
    requested_by: str | None
    requested_at: datetime
    key_gone_at: datetime
    counts: dict[str, int]
    finished_at: datetime | None


# The key goes in the statement that makes the receipt.
_BEGIN = """
WITH shut AS (
    UPDATE tenants SET status = 'erasing', data_key = NULL, updated_at = now()
     WHERE tenant_id = $1 RETURNING tenant_id, slug, name)
INSERT INTO erasures (id, slug, name, requested_by) SELECT tenant_id, slug, name, $2 FROM shut
ON CONFLICT (id) DO NOTHING
"""
_FIND = """
SELECT id, slug, name, requested_by, requested_at, key_gone_at, counts::text AS counts, finished_at FROM erasures
 WHERE id = $1
"""


async def begin_erasure(connection: Connection, tenant_id: UUID, requested_by: str | None) -> Erasure | None:
    """The tenant is shut for ever and its data key destroyed; its rows go next. Again: the same receipt."""
    await connection.execute(_BEGIN, tenant_id, requested_by)
    return await find_erasure(connection, tenant_id)


async def find_erasure(connection: Connection, erased_id: UUID) -> Erasure | None:
    """The receipt of a tenant that is being erased or was."""
    row = await connection.fetchrow(_FIND, erased_id)
    return None if row is None else _read(row)


_LIST = """
SELECT id, slug, name, requested_by, requested_at, key_gone_at, counts::text AS counts, finished_at FROM erasures
 WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2 OFFSET $3
"""


async def list_erasures(connection: Connection, *, after: UUID | None, limit: int, offset: int) -> list[Erasure]:
    """All receipts, those of the youngest tenants first."""
    return [_read(row) for row in await connection.fetch(_LIST, after, limit, offset)]


_CLAIM = """
SELECT id FROM erasures WHERE finished_at IS NULL AND requested_at <= now() - make_interval(secs => $1)
 ORDER BY requested_at LIMIT 1 FOR UPDATE SKIP LOCKED
"""


async def claim_erasure(connection: Connection, patience_seconds: float) -> UUID | None:
    """A tenant whose rows are to go, locked for this transaction. Not before everybody has heard that it is shut."""
    return await connection.fetchval(_CLAIM, patience_seconds)


_COUNT = """
UPDATE erasures
   SET counts = counts || (
           SELECT coalesce(jsonb_object_agg(new.name, new.rows + coalesce((counts ->> new.name)::bigint, 0)), '{}')
             FROM unnest($2::text[], $3::bigint[]) AS new (name, rows)),
       finished_at = CASE WHEN $4 THEN now() END
 WHERE id = $1
"""


async def count_erased(connection: Connection, erased_id: UUID, counts: Mapping[str, int], *, finished: bool) -> None:
    """So many more rows are gone."""
    await connection.execute(_COUNT, erased_id, list(counts), list(counts.values()), finished)


def _read(row: Record) -> Erasure:
    counts = msgspec.json.decode(row["counts"], type=dict[str, int])
    return Erasure(
        row["id"], row["slug"], row["name"], row["requested_by"], row["requested_at"], row["key_gone_at"], counts,
        row["finished_at"],
    )  # fmt: skip
