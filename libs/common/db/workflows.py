"""Workflows and their immutable versions.

A workflow's row points at its newest version; every change of the definition adds a version and never touches an old
one. A deleted workflow keeps its versions (executions refer to them) and frees its name.

A scheduled task is a workflow of another kind. What is found or listed here is never one; what changes a row takes
both.
"""

from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

import asyncpg
import msgspec

from libs.common.db.pool import Connection, Record
from libs.common.errors import Conflict

Kind: TypeAlias = Literal["workflow", "task"]


class StoredWorkflow(msgspec.Struct, frozen=True):
    """A living workflow at its newest version. `definition`: JSON text without secrets."""

    id: UUID
    name: str
    enabled: bool
    version: int
    created_at: datetime
    updated_at: datetime
    definition: str


class StoredVersion(msgspec.Struct, frozen=True):
    """One version. `created_by`: the `X-User-ID` of who made it, if given."""

    version: int
    created_at: datetime
    created_by: str | None
    definition: str


class VersionSummary(msgspec.Struct, frozen=True):
    """A version without its definition."""

    version: int
    created_at: datetime
    created_by: str | None


class Startable(msgspec.Struct, frozen=True):
    """What starting a living workflow by hand needs to know; the trigger is its first enabled manual one, if any."""

    enabled: bool
    version: int
    trigger_id: UUID | None
    trigger_key: str | None


_INSERT = """
INSERT INTO workflows (tenant_id, id, name, enabled, kind, version) VALUES ($1, $2, $3, $4, $5, 1)
"""


async def insert_workflow(
    connection: Connection, tenant_id: UUID, workflow_id: UUID, name: str, *, enabled: bool, kind: Kind = "workflow"
) -> None:
    """Store the row of a new workflow. Raises `Conflict` when one of its kind has the name."""
    try:
        await connection.execute(_INSERT, tenant_id, workflow_id, name, enabled, kind)
    except asyncpg.UniqueViolationError:
        raise _name_taken(name) from None


_ADVANCE = """
UPDATE workflows SET name = $3, enabled = $4, version = $5, updated_at = now()
 WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL
"""


async def advance_workflow(
    connection: Connection, tenant_id: UUID, workflow_id: UUID, name: str, *, enabled: bool, version: int
) -> None:
    """Point at another version. Raises `Conflict` when another of its kind has the name."""
    try:
        await connection.execute(_ADVANCE, tenant_id, workflow_id, name, enabled, version)
    except asyncpg.UniqueViolationError:
        raise _name_taken(name) from None


_INSERT_VERSION = """
INSERT INTO workflow_versions (tenant_id, workflow_id, version, definition, created_by, task)
VALUES ($1, $2, $3, $4, $5, $6)
"""


async def insert_version(
    connection: Connection, tenant_id: UUID, workflow_id: UUID, version: int, definition: str, created_by: str | None,
    task: str | None = None,
) -> None:  # fmt: skip
    """Store one version for good. `task`: JSON text of the scheduled task that it was made of."""
    await connection.execute(_INSERT_VERSION, tenant_id, workflow_id, version, definition, created_by, task)


_FIND = """
SELECT w.id, w.name, w.enabled, w.version, w.created_at, w.updated_at, v.definition
  FROM workflows w
  JOIN workflow_versions v ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id AND v.version = w.version
 WHERE w.tenant_id = $1 AND w.id = $2 AND w.kind = 'workflow' AND w.deleted_at IS NULL
"""


async def find_workflow(connection: Connection, tenant_id: UUID, workflow_id: UUID) -> StoredWorkflow | None:
    """The living workflow of that id."""
    row = await connection.fetchrow(_FIND, tenant_id, workflow_id)
    return None if row is None else _read(row)


_RESOLVE = """
SELECT id FROM (
    SELECT w.id, 1 AS rank FROM workflows w
     WHERE w.tenant_id = $1 AND w.id = $2 AND w.kind = 'workflow' AND w.deleted_at IS NULL
    UNION ALL
    SELECT w.id, 2 FROM workflows w
     WHERE w.tenant_id = $1 AND w.name = $3 AND w.kind = 'workflow' AND w.deleted_at IS NULL) found
 ORDER BY rank LIMIT 1
"""


async def resolve_workflow(connection: Connection, tenant_id: UUID, reference: str) -> UUID | None:
    """The id of the living workflow that a definition refers to by id or by name."""
    try:
        wanted = UUID(reference)
    except ValueError:
        wanted = None
    return await connection.fetchval(_RESOLVE, tenant_id, wanted, reference)


_LOCK = """
SELECT w.id FROM workflows w
 WHERE w.tenant_id = $1 AND w.id = $2 AND w.kind = 'workflow' AND w.deleted_at IS NULL FOR UPDATE
"""


async def lock_workflow(connection: Connection, tenant_id: UUID, workflow_id: UUID) -> StoredWorkflow | None:
    """As `find_workflow`, and nobody else changes it until the transaction ends."""
    # Two statements: the join must be read after the lock is held, or it could still show the version before.
    if await connection.fetchval(_LOCK, tenant_id, workflow_id) is None:
        return None
    return await find_workflow(connection, tenant_id, workflow_id)


_LIST = """
SELECT w.id, w.name, w.enabled, w.version, w.created_at, w.updated_at, v.definition
  FROM workflows w
  JOIN workflow_versions v ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id AND v.version = w.version
 WHERE w.tenant_id = $1 AND w.kind = 'workflow' AND w.deleted_at IS NULL AND ($2::uuid IS NULL OR w.id < $2)
   AND ($3::text IS NULL OR strpos(lower(w.name), lower($3)) > 0) AND ($4::boolean IS NULL OR w.enabled = $4)
 ORDER BY w.id DESC LIMIT $5 OFFSET $6
"""


async def list_workflows(
    connection: Connection,
    tenant_id: UUID,
    *,
    name: str | None,
    enabled: bool | None,
    after: UUID | None,
    limit: int,
    offset: int,
) -> list[StoredWorkflow]:
    """Newest first; `name` is a part of the name, in any case."""
    rows = await connection.fetch(_LIST, tenant_id, after, name, enabled, limit, offset)
    return [_read(row) for row in rows]


_FIND_STARTABLE = """
SELECT w.enabled, w.version, t.id, t.key
  FROM workflows w
  LEFT JOIN triggers t
    ON t.tenant_id = w.tenant_id AND t.workflow_id = w.id AND t.type = 'manual' AND t.enabled
 WHERE w.tenant_id = $1 AND w.id = $2 AND w.kind = 'workflow' AND w.deleted_at IS NULL
 ORDER BY t.id LIMIT 1
"""


async def find_startable(connection: Connection, tenant_id: UUID, workflow_id: UUID) -> Startable | None:
    """As much of the living workflow as starting it by hand needs."""
    row = await connection.fetchrow(_FIND_STARTABLE, tenant_id, workflow_id)
    return None if row is None else Startable(*row.values())


_SET_ENABLED = """
UPDATE workflows SET enabled = $3, updated_at = now() WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL
"""


async def set_workflow_enabled(connection: Connection, tenant_id: UUID, workflow_id: UUID, *, enabled: bool) -> None:
    """Switch a workflow on or off; its version stays."""
    await connection.execute(_SET_ENABLED, tenant_id, workflow_id, enabled)


_DELETE = """
UPDATE workflows SET deleted_at = now(), updated_at = now(), enabled = false
 WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL
"""


async def delete_workflow(connection: Connection, tenant_id: UUID, workflow_id: UUID) -> None:
    """Hide a workflow and free its name; versions and executions stay."""
    await connection.execute(_DELETE, tenant_id, workflow_id)


_LIST_VERSIONS = """
SELECT version, created_at, created_by FROM workflow_versions
 WHERE tenant_id = $1 AND workflow_id = $2 AND ($3::integer IS NULL OR version < $3)
 ORDER BY version DESC LIMIT $4 OFFSET $5
"""


async def list_versions(
    connection: Connection, tenant_id: UUID, workflow_id: UUID, *, after: int | None, limit: int, offset: int
) -> list[VersionSummary]:
    """Newest first, those older than version `after`."""
    rows = await connection.fetch(_LIST_VERSIONS, tenant_id, workflow_id, after, limit, offset)
    return [VersionSummary(row["version"], row["created_at"], row["created_by"]) for row in rows]


_FIND_VERSION = """
SELECT version, created_at, created_by, definition FROM workflow_versions
 WHERE tenant_id = $1 AND workflow_id = $2 AND version = $3
"""


async def find_version(
    connection: Connection, tenant_id: UUID, workflow_id: UUID, version: int
) -> StoredVersion | None:
    """One version, of a deleted workflow too: executions refer to it."""
    row = await connection.fetchrow(_FIND_VERSION, tenant_id, workflow_id, version)
    return (
        None if row is None else StoredVersion(row["version"], row["created_at"], row["created_by"], row["definition"])
    )


def _name_taken(name: str) -> Conflict:
    return Conflict(f"The name {name!r} is taken already.")


def _read(row: Record) -> StoredWorkflow:
    return StoredWorkflow(
        row["id"],
        row["name"],
        row["enabled"],
        row["version"],
        row["created_at"],
        row["updated_at"],
        row["definition"],
    )
