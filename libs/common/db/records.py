"""Records as rows: locked, written and read in sets, of any tenants.

Who changes records holds their collections first (`hold_collections`), then locks the records, decides, and writes;
so a version that was read under the lock is the one that is replaced.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection
from libs.common.db.pool import Record as Row
from libs.common.domain.records import Record, RecordChange, RecordKey

_FIND = """
SELECT tenant_id, collection, id, version, data, tags, created_by, updated_by, created_at, updated_at FROM records
 WHERE tenant_id = $1 AND collection = $2 AND id = $3
"""


async def find_record(connection: Connection, tenant_id: UUID, collection: str, record_id: UUID) -> Record | None:
    """The record of that id."""
    row = await connection.fetchrow(_FIND, tenant_id, collection, record_id)
    return None if row is None else read_record(row)


_LOCK = """
SELECT r.tenant_id, r.collection, r.id, r.version, r.data, r.tags, r.created_by, r.updated_by, r.created_at,
       r.updated_at
  FROM unnest($1::uuid[], $2::text[], $3::uuid[]) AS wanted (tenant_id, collection, id)
  JOIN records r ON r.tenant_id = wanted.tenant_id AND r.collection = wanted.collection AND r.id = wanted.id
 ORDER BY r.tenant_id, r.collection, r.id FOR UPDATE OF r
"""


async def lock_records(connection: Connection, keys: Iterable[RecordKey]) -> dict[RecordKey, Record]:
    """Those of the records that there are; nobody else changes them until the transaction ends."""
    wanted = sorted(set(keys))
    if not wanted:
        return {}
    rows = await connection.fetch(_LOCK, *_columns(wanted, 3))
    return {record.key: record for record in map(read_record, rows)}


async def write_records(connection: Connection, changes: Sequence[RecordChange]) -> None:
    """Make the changes true, at most one of each record. The caller holds collections and old records."""
    made = [change.new for change in changes if change.old is None and change.new is not None]
    changed = [change.new for change in changes if change.old is not None and change.new is not None]
    gone = [change.old.key for change in changes if change.old is not None and change.new is None]
    if made:
        await _insert(connection, made)
    if changed:
        await _update(connection, changed)
    if gone:
        await _delete(connection, gone)


_INSERT = """
INSERT INTO records (tenant_id, collection, id, version, data, tags, created_by, updated_by, created_at, updated_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::int[], $5::jsonb[], $6::jsonb[], $7::text[], $8::text[],
                     $9::timestamptz[], $10::timestamptz[])
"""


async def _insert(connection: Connection, records: Sequence[Record]) -> None:
    rows = [
        (*record.key, record.version, _json(record.data), _json(record.tags), record.created_by, record.updated_by,
         record.created_at, record.updated_at)
        for record in records
    ]  # fmt: skip
    await connection.execute(_INSERT, *_columns(rows, 10))


_UPDATE = """
UPDATE records r
   SET version = x.version, data = x.data, tags = x.tags, updated_by = x.updated_by, updated_at = x.updated_at
  FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::int[], $5::jsonb[], $6::jsonb[], $7::text[], $8::timestamptz[])
    AS x (tenant_id, collection, id, version, data, tags, updated_by, updated_at)
 WHERE r.tenant_id = x.tenant_id AND r.collection = x.collection AND r.id = x.id
"""


async def _update(connection: Connection, records: Sequence[Record]) -> None:
    rows = [
        (*record.key, record.version, _json(record.data), _json(record.tags), record.updated_by, record.updated_at)
        for record in records
    ]
    await connection.execute(_UPDATE, *_columns(rows, 8))


_DELETE = """
DELETE FROM records r
 USING unnest($1::uuid[], $2::text[], $3::uuid[]) AS x (tenant_id, collection, id)
 WHERE r.tenant_id = x.tenant_id AND r.collection = x.collection AND r.id = x.id
"""


async def _delete(connection: Connection, keys: Sequence[RecordKey]) -> None:
    await connection.execute(_DELETE, *_columns(keys, 3))


def read_record(row: Row) -> Record:
    """A row, which may have more columns, as a record."""
    return Record(
        tenant_id=row["tenant_id"],
        collection=row["collection"],
        id=row["id"],
        version=row["version"],
        data=msgspec.json.decode(row["data"]),
        tags=msgspec.json.decode(row["tags"]),
        created_by=row["created_by"],
        updated_by=row["updated_by"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    return [[row[place] for row in rows] for place in range(width)]
