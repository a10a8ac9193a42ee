"""The audit log: rows are added, in the transaction of what they tell, and read. Nothing changes them.

Each tenant has a log, and the platform has one of its own. What the platform does to a tenant stands in both.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.clock import first_id_at
from libs.common.db.pool import Connection

PLATFORM = UUID(int=0)
"""In place of a tenant: the platform's own log."""


class AuditRow(msgspec.Struct, frozen=True):
    """One thing that somebody did. `object`: the id or name of what it was done to; `credential`: the id of an API key,
    `platform`, `token`, `proxy`, or nothing; `changes`: JSON text; `stands_for`: how many alike it is the sample of.
    """

    tenant_id: UUID
    id: UUID
    kind: str
    object: str
    actor: str | None
    credential: str
    address: str
    request_id: str
    changes: str = "[]"
    stands_for: int = 1


_INSERT = """
INSERT INTO audit_log (tenant_id, id, kind, object, actor, credential, address, request_id, changes, stands_for)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::json[], $10::int[])
"""


async def insert_audit_rows(connection: Connection, rows: Sequence[AuditRow]) -> None:
    """On record, if the caller's transaction commits."""
    columns = zip(*[msgspec.structs.astuple(row) for row in rows], strict=True)
    await connection.execute(_INSERT, *[list(column) for column in columns])


class AuditFilter(msgspec.Struct, frozen=True):
    """What to list. `kind`: a kind, or what it begins with (`workflow` for `workflow.changed`)."""

    actor: str | None = None
    kind: str | None = None
    object: str | None = None
    first_id: UUID | None = None
    before_id: UUID | None = None


_LIST = """
SELECT tenant_id, id, kind, object, actor, credential, address, request_id, changes, stands_for FROM audit_log
 WHERE tenant_id = $1 AND ($2::uuid IS NULL OR id >= $2) AND ($3::uuid IS NULL OR id < $3)
   AND ($4::text IS NULL OR actor = $4) AND ($5::text IS NULL OR kind = $5 OR starts_with(kind, $5 || '.'))
   AND ($6::text IS NULL OR object = $6)
 ORDER BY id DESC LIMIT $7 OFFSET $8
"""


async def list_audit_rows(
    connection: Connection, tenant_id: UUID, wanted: AuditFilter, *, limit: int, offset: int
) -> list[AuditRow]:
    """Newest first. `tenant_id`: whose log, `PLATFORM` for the platform's own."""
    rows = await connection.fetch(
        _LIST, tenant_id, wanted.first_id, wanted.before_id, wanted.actor, wanted.kind, wanted.object, limit, offset
    )
    return [AuditRow(*row.values()) for row in rows]


_CALLED = """
SELECT tenant_id, slug FROM tenants
 WHERE (tenant_id::text = ANY($1::text[]) OR slug = ANY($1::text[])) AND status <> 'erasing'
"""


async def tenants_called(connection: Connection, names: Sequence[str]) -> dict[str, UUID]:
    """The tenants of these ids or slugs, by either; none that is being erased: a late row would outlive it."""
    rows = await connection.fetch(_CALLED, list(names))
    return {name: row["tenant_id"] for row in rows for name in (row["slug"], str(row["tenant_id"]))}


_RETENTION = "SET LOCAL signalbox.audit_retention = 'on'"
_FORGET = """
DELETE FROM audit_log a USING (SELECT tenant_id, id FROM audit_log WHERE id < $1 ORDER BY id LIMIT $2) old
 WHERE a.tenant_id = old.tenant_id AND a.id = old.id
RETURNING a.id
"""
_FORGET_ROWS = 10_000


async def forget_old_audit_rows(connection: Connection, before: datetime) -> int:
    """Rows from before then are gone, some thousands at once; returns how many. Part of the caller's transaction,
    which should do nothing else.
    """
    await connection.execute(_RETENTION)
    return len(await connection.fetch(_FORGET, first_id_at(before), _FORGET_ROWS))
