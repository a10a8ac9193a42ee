"""Scheduled tasks as they are stored: a workflow of the kind `task`, its newest version and its one schedule."""

from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection


class StoredTask(msgspec.Struct, frozen=True):
    """A living task. `document`: JSON text of what the tenant sent; `created_by`, `updated_by`: the `X-User-ID` of the
    first and of the newest version; `runs`: slots that have run.
    """

    id: UUID
    enabled: bool
    version: int
    created_at: datetime
    updated_at: datetime
    created_by: str | None
    updated_by: str | None
    document: str
    trigger_id: UUID
    next_run_at: datetime | None
    paused_at: datetime | None
    paused_note: str | None
    paused_by: str | None
    runs: int


_FIND = """
SELECT w.id, w.enabled, w.version, w.created_at, w.updated_at, first.created_by, v.created_by AS updated_by, v.task,
       tr.id AS trigger_id, tr.next_run_at, tr.paused_at, tr.paused_note, tr.paused_by, tr.runs
  FROM workflows w
  JOIN workflow_versions v ON v.tenant_id = $1 AND v.workflow_id = w.id AND v.version = w.version
  JOIN workflow_versions first ON first.tenant_id = $1 AND first.workflow_id = w.id AND first.version = 1
  JOIN triggers tr ON tr.tenant_id = $1 AND tr.workflow_id = w.id
 WHERE w.tenant_id = $1 AND w.id = $2 AND w.kind = 'task' AND w.deleted_at IS NULL
"""


async def find_task(connection: Connection, tenant_id: UUID, task_id: UUID) -> StoredTask | None:
    """The living task of that id."""
    row = await connection.fetchrow(_FIND, tenant_id, task_id)
    return None if row is None else StoredTask(*row.values())


_LOCK = """
SELECT w.id FROM workflows w
 WHERE w.tenant_id = $1 AND w.id = $2 AND w.kind = 'task' AND w.deleted_at IS NULL FOR UPDATE
"""


async def lock_task(connection: Connection, tenant_id: UUID, task_id: UUID) -> StoredTask | None:
    """As `find_task`, and nobody else changes it until the transaction ends."""
    # Two statements: the join must be read after the lock is held, or it could still show the version before.
    if await connection.fetchval(_LOCK, tenant_id, task_id) is None:
        return None
    return await find_task(connection, tenant_id, task_id)


_LIST = """
SELECT w.id, w.enabled, w.version, w.created_at, w.updated_at, first.created_by, v.created_by AS updated_by, v.task,
       tr.id AS trigger_id, tr.next_run_at, tr.paused_at, tr.paused_note, tr.paused_by, tr.runs
  FROM workflows w
  JOIN workflow_versions v ON v.tenant_id = $1 AND v.workflow_id = w.id AND v.version = w.version
  JOIN workflow_versions first ON first.tenant_id = $1 AND first.workflow_id = w.id AND first.version = 1
  JOIN triggers tr ON tr.tenant_id = $1 AND tr.workflow_id = w.id
 WHERE w.tenant_id = $1 AND w.kind = 'task' AND w.deleted_at IS NULL AND ($2::uuid IS NULL OR w.id < $2)
   AND ($3::text IS NULL OR strpos(lower(w.name), lower($3)) > 0) AND ($4::text IS NULL OR v.task ->> 'type' = $4)
 ORDER BY w.id DESC LIMIT $5 OFFSET $6
"""


async def list_tasks(
    connection: Connection, tenant_id: UUID, *, name: str | None, type_name: str | None, after: UUID | None,
    limit: int, offset: int,
) -> list[StoredTask]:  # fmt: skip
    """Newest first; `name` is a part of the name, in any case."""
    rows = await connection.fetch(_LIST, tenant_id, after, name, type_name, limit, offset)
    return [StoredTask(*row.values()) for row in rows]
