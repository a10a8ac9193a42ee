"""Executions as people look at them: lists with filters, one with its attempts.

Reads only. Time filters become bounds on the UUIDv7, so a list opens only the partitions of those days. A value that
is larger than the caller wants stays in PostgreSQL: only its first characters and its size come.
"""

from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection, Record

WHOLE = 2**31 - 1
"""No value is larger: PostgreSQL keeps at most 1 GB."""

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


class StoredValue(msgspec.Struct, frozen=True):
    """A value of an execution or an attempt. `text`: its JSON text, or the first 200 characters of it when it is not
    `whole`; `size`: bytes of the whole text.
    """

    text: str
    size: int
    whole: bool


class StoredExecution(msgspec.Struct, frozen=True):
    """One execution."""

    id: UUID
    workflow_id: UUID
    version: int
    trigger_id: UUID | None
    trigger_type: str
    status: str
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
    input: StoredValue | None
    output: StoredValue | None
    error: StoredValue | None


class StoredAttempt(msgspec.Struct, frozen=True):
    """One attempt of one action."""

    position: int
    iteration: int
    attempt: int
    key: str
    type: str
    status: str
    started_at: datetime
    finished_at: datetime | None
    wake_at: datetime | None
    input: StoredValue | None
    output: StoredValue | None
    error: StoredValue | None


_FIND = """
SELECT id, workflow_id, version, trigger_id, trigger_type, status, total, executed, failed, skipped, actor, traceparent,
       parent_id, nullif(wake_at, 'infinity') AS wake_at, started_at, finished_at,
       control IS NOT DISTINCT FROM 'pause' AS paused, retry_of,
       CASE WHEN octet_length(input::text) > $3 THEN left(input::text, 200) ELSE input::text END AS input,
       octet_length(input::text) AS input_size,
       CASE WHEN octet_length(output::text) > $3 THEN left(output::text, 200) ELSE output::text END AS output,
       octet_length(output::text) AS output_size,
       CASE WHEN octet_length(error::text) > $3 THEN left(error::text, 200) ELSE error::text END AS error,
       octet_length(error::text) AS error_size
  FROM executions WHERE tenant_id = $1 AND id = $2
"""


async def find_execution(
    connection: Connection, tenant_id: UUID, execution_id: UUID, *, value_bytes: int = WHOLE
) -> StoredExecution | None:
    """The execution of that id; of a value larger than `value_bytes` only how it begins."""
    row = await connection.fetchrow(_FIND, tenant_id, execution_id, value_bytes)
    return None if row is None else _read(row, value_bytes)


_LIST = """
SELECT id, workflow_id, version, trigger_id, trigger_type, status, total, executed, failed, skipped, actor, traceparent,
       parent_id, nullif(wake_at, 'infinity') AS wake_at, started_at, finished_at,
       control IS NOT DISTINCT FROM 'pause' AS paused, retry_of,
       CASE WHEN octet_length(input::text) > $8 THEN left(input::text, 200) ELSE input::text END AS input,
       octet_length(input::text) AS input_size,
       CASE WHEN octet_length(output::text) > $8 THEN left(output::text, 200) ELSE output::text END AS output,
       octet_length(output::text) AS output_size,
       CASE WHEN octet_length(error::text) > $8 THEN left(error::text, 200) ELSE error::text END AS error,
       octet_length(error::text) AS error_size
  FROM executions
 WHERE tenant_id = $1 AND id >= $2 AND id < $3
   AND ($4::text[] IS NULL OR status = ANY($4)) AND ($5::text IS NULL OR trigger_type = $5)
 ORDER BY id DESC LIMIT $6 OFFSET $7
"""


async def list_executions(
    connection: Connection,
    tenant_id: UUID,
    wanted: ExecutionFilter,
    *,
    after: UUID | None,
    limit: int,
    offset: int,
    value_bytes: int = WHOLE,
) -> list[StoredExecution]:
    """Newest first, over all workflows; `value_bytes` as for `find_execution`."""
    low, high = _bounds(wanted, after)
    rows = await connection.fetch(
        _LIST, tenant_id, low, high, wanted.statuses, wanted.trigger_type, limit, offset, value_bytes
    )
    return [_read(row, value_bytes) for row in rows]


_LIST_OF_WORKFLOW = """
SELECT id, workflow_id, version, trigger_id, trigger_type, status, total, executed, failed, skipped, actor, traceparent,
       parent_id, nullif(wake_at, 'infinity') AS wake_at, started_at, finished_at,
       control IS NOT DISTINCT FROM 'pause' AS paused, retry_of,
       CASE WHEN octet_length(input::text) > $9 THEN left(input::text, 200) ELSE input::text END AS input,
       octet_length(input::text) AS input_size,
       CASE WHEN octet_length(output::text) > $9 THEN left(output::text, 200) ELSE output::text END AS output,
       octet_length(output::text) AS output_size,
       CASE WHEN octet_length(error::text) > $9 THEN left(error::text, 200) ELSE error::text END AS error,
       octet_length(error::text) AS error_size
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
    value_bytes: int = WHOLE,
) -> list[StoredExecution]:
    """Newest first, of one workflow; `value_bytes` as for `find_execution`."""
    low, high = _bounds(wanted, after)
    statuses, trigger_type = wanted.statuses, wanted.trigger_type
    rows = await connection.fetch(
        _LIST_OF_WORKFLOW, tenant_id, workflow_id, low, high, statuses, trigger_type, limit, offset, value_bytes
    )
    return [_read(row, value_bytes) for row in rows]


_ATTEMPTS = """
SELECT position, iteration, attempt, key, type, status, started_at, finished_at, wake_at,
       CASE WHEN octet_length(input::text) > $5 THEN left(input::text, 200) ELSE input::text END AS input,
       octet_length(input::text) AS input_size,
       CASE WHEN octet_length(output::text) > $5 THEN left(output::text, 200) ELSE output::text END AS output,
       octet_length(output::text) AS output_size,
       CASE WHEN octet_length(error::text) > $5 THEN left(error::text, 200) ELSE error::text END AS error,
       octet_length(error::text) AS error_size
  FROM action_executions WHERE tenant_id = $1 AND execution_id = $2
 ORDER BY position, iteration, attempt LIMIT $3 OFFSET $4
"""


async def list_attempts(
    connection: Connection,
    tenant_id: UUID,
    execution_id: UUID,
    *,
    limit: int | None = None,
    offset: int = 0,
    value_bytes: int = WHOLE,
) -> list[StoredAttempt]:
    """Every attempt of every action, in the order of the workflow; `value_bytes` as for `find_execution`."""
    rows = await connection.fetch(_ATTEMPTS, tenant_id, execution_id, limit, offset, value_bytes)
    return [_read_attempt(row, value_bytes) for row in rows]


_VALUE = """
SELECT CASE $3 WHEN 'input' THEN input WHEN 'output' THEN output WHEN 'error' THEN error END::text
  FROM executions WHERE tenant_id = $1 AND id = $2
"""


async def load_value(connection: Connection, tenant_id: UUID, execution_id: UUID, name: str) -> str | None:
    """The whole JSON text of an execution's `input`, `output` or `error`; `None` when there is none."""
    return await connection.fetchval(_VALUE, tenant_id, execution_id, name)


_ATTEMPT_VALUE = """
SELECT CASE $6 WHEN 'input' THEN input WHEN 'output' THEN output WHEN 'error' THEN error END::text
  FROM action_executions
 WHERE tenant_id = $1 AND execution_id = $2 AND position = $3 AND iteration = $4 AND attempt = $5
"""


async def load_attempt_value(
    connection: Connection, tenant_id: UUID, execution_id: UUID, place: tuple[int, int, int], name: str
) -> str | None:
    """As `load_value`, of the attempt at that position, iteration and number."""
    return await connection.fetchval(_ATTEMPT_VALUE, tenant_id, execution_id, *place, name)


def _bounds(wanted: ExecutionFilter, after: UUID | None) -> tuple[UUID, UUID]:
    high = min((bound for bound in (wanted.before_id, after) if bound is not None), default=_HIGHEST)
    return wanted.first_id or _LOWEST, high


def _read(row: Record, value_bytes: int) -> StoredExecution:
    *plain, _, _, _, _, _, _ = row.values()
    return StoredExecution(*plain, *_values(row, value_bytes))


def _read_attempt(row: Record, value_bytes: int) -> StoredAttempt:
    *plain, _, _, _, _, _, _ = row.values()
    return StoredAttempt(*plain, *_values(row, value_bytes))


def _values(row: Record, value_bytes: int) -> list[StoredValue | None]:
    """`input`, `output` and `error` of a row."""
    return [_value(row[name], row[f"{name}_size"], value_bytes) for name in ("input", "output", "error")]


def _value(text: str | None, size: int, value_bytes: int) -> StoredValue | None:
    return None if text is None else StoredValue(text, size, size <= value_bytes)
