"""Executions as people look at them: lists with filters, one with its attempts.

Reads only. Time filters become bounds on the UUIDv7, so a list opens only the
partitions of those days.
"""

from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection, Record

_LOWEST = UUID(int=0)
_HIGHEST = UUID(int=2**128 - 1)


class ExecutionFilter(msgspec.Struct, frozen=True):
    """What a list shows; `None` means all. `first_id` and `before_id` bound the id: from, inclusive, and to,
    exclusive.
    """

    statuses: tuple[str, ...] | None = None
    trigger_type: str | None = None
    first_id: UUID | None = None
    before_id: UUID | None = None


class StoredExecution(msgspec.Struct, frozen=True):
    """One execution. `input`, `output` and `error` are JSON text."""

    id: UUID
    workflow_id: UUID
    version: int
    trigger_id: UUID | None
    trigger_type: str
    status: str
    input: str
    output: str | None
    error: str | None
    total: int
    executed: int
    failed: int
    skipped: int
    actor: str | None
    traceparent: str
    parent_id: UUID | None
    wake_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    paused: bool
    retry_of: UUID | None


class StoredAttempt(msgspec.Struct, frozen=True):
    """One attempt of one action. `input`, `output` and `error` are JSON text."""

    position: int
    iteration: int
    attempt: int
    key: str
    type: str
    status: str
    input: str | None
    output: str | None
    error: str | None
    started_at: datetime
    finished_at: datetime | None
    wake_at: datetime | None


_FIND = """
SELECT id, workflow_id, version, trigger_id, trigger_type, status, input, output, error, total, executed, failed,
       skipped, actor, traceparent, parent_id, nullif(wake_at, 'infinity') AS wake_at, started_at, finished_at,
       control IS NOT DISTINCT FROM 'pause' AS paused, retry_of
  FROM executions WHERE tenant_id = $1 AND id = $2
"""


async def find_execution(connection: Connection, tenant_id: UUID, execution_id: UUID) -> StoredExecution | None:
    """The execution of that id."""
    row = await connection.fetchrow(_FIND, tenant_id, execution_id)
    return None if row is None else _read(row)


_LIST = """
SELECT id, workflow_id, version, trigger_id, trigger_type, status, input, output, error, total, executed, failed,
       skipped, actor, traceparent, parent_id, nullif(wake_at, 'infinity') AS wake_at, started_at, finished_at,
       control IS NOT DISTINCT FROM 'pause' AS paused, retry_of
  FROM executions
 WHERE tenant_id = $1 AND id >= $2 AND id < $3
   AND ($4::text[] IS NULL OR status = ANY($4)) AND ($5::text IS NULL OR trigger_type = $5)
 ORDER BY id DESC LIMIT $6 OFFSET $7
"""


async def list_executions(
    connection: Connection, tenant_id: UUID, wanted: ExecutionFilter, *, after: UUID | None, limit: int, offset: int
) -> list[StoredExecution]:
    """Newest first, over all workflows."""
    low, high = _bounds(wanted, after)
    statuses = wanted.statuses
    rows = await connection.fetch(_LIST, tenant_id, low, high, statuses, wanted.trigger_type, limit, offset)
    return [_read(row) for row in rows]


_LIST_OF_WORKFLOW = """
SELECT id, workflow_id, version, trigger_id, trigger_type, status, input, output, error, total, executed, failed,
       skipped, actor, traceparent, parent_id, nullif(wake_at, 'infinity') AS wake_at, started_at, finished_at,
       control IS NOT DISTINCT FROM 'pause' AS paused, retry_of
  FROM executions
 WHERE tenant_id = $1 AND workflow_id = $2 AND id >= $3 AND id < $4
   AND ($5::text[] IS NULL OR status = ANY($5)) AND ($6::text IS NULL OR trigger_type = $6)
 ORDER BY id DESC LIMIT $7 OFFSET $8
"""


async def list_workflow_executions(
    connection: Connection,
    tenant_id: UUID,
    workflow_id: UUID,
    wanted: ExecutionFilter,
    *,
    after: UUID | None,
    limit: int,
    offset: int,
) -> list[StoredExecution]:
    """Newest first, of one workflow."""
    low, high = _bounds(wanted, after)
    rows = await connection.fetch(
        _LIST_OF_WORKFLOW, tenant_id, workflow_id, low, high, wanted.statuses, wanted.trigger_type, limit, offset
    )
    return [_read(row) for row in rows]


_ATTEMPTS = """
SELECT position, iteration, attempt, key, type, status, input, output, error, started_at, finished_at, wake_at
  FROM action_executions WHERE tenant_id = $1 AND execution_id = $2
 ORDER BY position, iteration, attempt LIMIT $3 OFFSET $4
"""


async def list_attempts(
    connection: Connection, tenant_id: UUID, execution_id: UUID, *, limit: int | None = None, offset: int = 0
) -> list[StoredAttempt]:
    """Every attempt of every action, in the order of the workflow."""
    rows = await connection.fetch(_ATTEMPTS, tenant_id, execution_id, limit, offset)
    return [_read_attempt(row) for row in rows]


def _bounds(wanted: ExecutionFilter, after: UUID | None) -> tuple[UUID, UUID]:
    high = min((bound for bound in (wanted.before_id, after) if bound is not None), default=_HIGHEST)
    return wanted.first_id or _LOWEST, high


def _read(row: Record) -> StoredExecution:
    return StoredExecution(*row.values())


def _read_attempt(row: Record) -> StoredAttempt:
    return StoredAttempt(*row.values())
