"""Moving executions: taking and finishing them, and waking those whose time has come. (`accepting` makes them.)

Every statement here is hot and works on a set. Rows are read and written in one round trip; the epoch (fencing token)
and the worker decide whether a write still counts:

    pending ──claim (epoch + 1, worker)──▶ running ──▶ waiting ──wake──▶ pending ──claim──▶ …
       ▲                                     │  └────▶ completed | failed | cancelled | timed_out
       └──── worker dead (epoch + 1) ────────┘

A worker whose execution was taken from it holds an old epoch: its writes change zero rows, and that tells it to stop.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection, Record


class DueExecution(msgspec.Struct, frozen=True):
    """An execution that must be put on the bus (again)."""

    tenant_id: UUID
    id: UUID
    epoch: int
    workflow_id: UUID
    version: int
    traceparent: str


_WAKE = """
WITH due AS (
    SELECT tenant_id, id FROM executions
     WHERE wake_at <= now()
       AND (status = 'waiting' OR wake_at <= now() - make_interval(secs => $2) OR (wake_at < $4) IS TRUE)
     ORDER BY wake_at LIMIT $1 FOR UPDATE SKIP LOCKED)
UPDATE executions e SET status = 'pending', wake_at = now() + make_interval(secs => $3), queue_rank = NULL
  FROM due WHERE e.tenant_id = due.tenant_id AND e.id = due.id
RETURNING e.tenant_id, e.id, e.epoch, e.workflow_id, e.version, e.traceparent
"""
NEXT_TRY_SECONDS = 10.0
"""What was woken, or let go, and nobody took for so long is announced again."""


async def wake_due_executions(
    connection: Connection, limit: int, patience_seconds: float, overtaken: datetime | None = None
) -> list[DueExecution]:
    """Waiting executions whose time has come become pending, and pending ones that nobody took are due again.

    `patience_seconds` is how much longer a pending one may stay untaken (while the bus still holds a backlog, it is
    merely queued), unless it was due before `overtaken`. Returns what the caller must publish.
    """
    rows = await connection.fetch(_WAKE, limit, patience_seconds, NEXT_TRY_SECONDS, overtaken)
    return [
        DueExecution(row["tenant_id"], row["id"], row["epoch"], row["workflow_id"], row["version"], row["traceparent"])
        for row in rows
    ]


_RELEASE_OF_DEAD = """
UPDATE executions SET status = 'pending', epoch = epoch + 1, worker = NULL, wake_at = now() - interval '1 hour'
 WHERE worker = ANY($1::uuid[])
RETURNING id
"""


async def release_executions_of(connection: Connection, workers: Sequence[UUID]) -> int:
    """What these (dead) workers held is pending and long overdue, so that the sweep is not patient with it: no message
    on the bus stands for it. Their late writes count no more. Returns how many.
    """
    return len(await connection.fetch(_RELEASE_OF_DEAD, list(workers)))


_RELEASE = """
UPDATE executions SET status = 'pending', epoch = epoch + 1, worker = NULL, wake_at = now() + make_interval(secs => $4)
 WHERE tenant_id = $1 AND id = $2 AND status = 'running' AND epoch = $3
"""
_LET_GO_SECONDS = 5.0


async def release_execution(connection: Connection, tenant_id: UUID, execution_id: UUID, epoch: int) -> None:
    """What its worker cannot go on with is pending, and due after a few seconds; nothing if it is another's by now."""
    await connection.execute(_RELEASE, tenant_id, execution_id, epoch, _LET_GO_SECONDS)


_LOST = """
SELECT held.id
  FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS held (tenant_id, id, epoch)
  LEFT JOIN executions e ON e.tenant_id = held.tenant_id AND e.id = held.id
 WHERE (e.epoch = held.epoch) IS NOT TRUE
"""


async def lost_executions(connection: Connection, held: Sequence[tuple[UUID, UUID, int]]) -> list[UUID]:
    """Those of the executions (tenant, execution, epoch that it was taken at) that were taken away since."""
    tenants, ids, epochs = zip(*held, strict=True)
    return [row["id"] for row in await connection.fetch(_LOST, list(tenants), list(ids), list(epochs))]


_LOAD = """
SELECT e.tenant_id, e.id, e.epoch, e.trigger_id, e.trigger_type, e.input, e.actor, e.traceparent,
       e.started_at, e.control, e.original_id, e.parent_position, t.key AS trigger_key
  FROM unnest($1::uuid[], $2::uuid[]) AS wanted (tenant_id, id)
  JOIN executions e ON e.tenant_id = wanted.tenant_id AND e.id = wanted.id
  LEFT JOIN triggers t ON t.tenant_id = e.tenant_id AND t.id = e.trigger_id
 WHERE e.status = 'pending'
"""


async def load_pending(connection: Connection, wanted: Sequence[tuple[UUID, UUID]]) -> list[Record]:
    """The rows of those of `wanted` (tenant, execution) that are still pending."""
    return await connection.fetch(_LOAD, [tenant for tenant, _ in wanted], [execution for _, execution in wanted])


_LOAD_RECORDS = """
SELECT a.execution_id, a.position, a.iteration, a.attempt, a.status, a.output, a.error, a.started_at, a.wake_at,
       a.state
  FROM unnest($1::uuid[], $2::uuid[]) AS wanted (tenant_id, id)
  JOIN action_executions a ON a.tenant_id = wanted.tenant_id AND a.execution_id = wanted.id
 ORDER BY a.position, a.iteration, a.attempt
"""


async def load_records(connection: Connection, wanted: Sequence[tuple[UUID, UUID]]) -> list[Record]:
    """Every attempt recorded so far of `wanted` (tenant, execution), in order."""
    return await connection.fetch(
        _LOAD_RECORDS, [tenant for tenant, _ in wanted], [execution for _, execution in wanted]
    )


class ExecutionChange(msgspec.Struct, frozen=True):
    """What becomes true of an execution that this worker runs. JSON texts are ready to store.

    `claims` says that this very change takes it: `epoch` is then one more than the row's.
    """

    tenant_id: UUID
    id: UUID
    epoch: int
    claims: bool
    status: str
    wake_at: datetime | None
    output: str | None
    error: str | None
    total: int
    executed: int
    failed: int
    skipped: int
    started_at: datetime
    finished_at: datetime | None
    records: "Sequence[ActionRow]"


class ActionRow(msgspec.Struct, frozen=True):
    """One attempt's row; the first seven fields are what `ExecutionChange` leaves to be told. JSON texts are ready."""

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
    state: str | None


_CHANGE = """
WITH written AS (
    UPDATE executions e
       SET status = x.status, epoch = x.epoch, worker = CASE WHEN x.status = 'running' THEN $1::uuid END,
           wake_at = CASE WHEN x.wake_at IS NOT NULL AND e.control = 'cancel' THEN now()
                          WHEN x.wake_at IS NOT NULL AND e.control = 'pause' THEN 'infinity' ELSE x.wake_at END,
           output = x.output, error = x.error, total = x.total, executed = x.executed, failed = x.failed,
           skipped = x.skipped, started_at = coalesce(e.started_at, x.started_at), finished_at = x.finished_at
      FROM unnest($2::uuid[], $3::uuid[], $4::int[], $5::bool[], $6::text[], $7::timestamptz[], $8::json[], $9::json[],
                  $10::int[], $11::int[], $12::int[], $13::int[], $14::timestamptz[], $15::timestamptz[])
        AS x (tenant_id, id, epoch, claims, status, wake_at, output, error, total, executed, failed, skipped,
              started_at, finished_at)
     WHERE e.tenant_id = x.tenant_id AND e.id = x.id
       AND (e.status = 'running' AND e.epoch = x.epoch AND e.worker = $1
            OR x.claims AND e.status = 'pending' AND e.epoch = x.epoch - 1)
    RETURNING e.id),
recorded AS (
    INSERT INTO action_executions (tenant_id, execution_id, position, iteration, attempt, key, type, status,
                                   input, output, error, started_at, finished_at, wake_at, state)
    SELECT r.* FROM unnest($16::uuid[], $17::uuid[], $18::int[], $19::int[], $20::int[], $21::text[], $22::text[],
                           $23::text[], $24::json[], $25::json[], $26::json[], $27::timestamptz[], $28::timestamptz[],
                           $29::timestamptz[], $30::json[])
      AS r (tenant_id, execution_id, position, iteration, attempt, key, type, status, input, output, error,
            started_at, finished_at, wake_at, state)
     WHERE r.execution_id IN (SELECT id FROM written)
    ON CONFLICT (tenant_id, execution_id, position, iteration, attempt) DO UPDATE
       SET status = excluded.status, input = coalesce(excluded.input, action_executions.input),
           output = excluded.output, error = excluded.error, started_at = excluded.started_at,
           finished_at = excluded.finished_at, wake_at = excluded.wake_at, state = excluded.state)
SELECT id FROM written
"""


async def change_executions(connection: Connection, worker: UUID, changes: Sequence[ExecutionChange]) -> set[UUID]:
    """Makes the changes true, with their records, where this worker may still write. Returns the ids that were written.

    An id left out belongs to somebody else by now (or has ended): its caller must stop.
    """
    changes = sorted(changes, key=lambda change: change.id)  # rows are locked in this order, here and by who cancels
    heads = [
        (c.tenant_id, c.id, c.epoch, c.claims, c.status, c.wake_at, c.output, c.error, c.total, c.executed, c.failed,
         c.skipped, c.started_at, c.finished_at)
        for c in changes
    ]  # fmt: skip
    rows = [
        (c.tenant_id, c.id, r.position, r.iteration, r.attempt, r.key, r.type, r.status, r.input, r.output, r.error,
         r.started_at, r.finished_at, r.wake_at, r.state)
        for c in changes for r in c.records
    ]  # fmt: skip
    found = await connection.fetch(_CHANGE, worker, *_columns(heads, 14), *_columns(rows, 15))
    return {row["id"] for row in found}


class SettledAction(msgspec.Struct, frozen=True):
    """A local action that was done, or waits, in the transaction that began it; the first five are its record's key.
    JSON texts are ready to store.
    """

    tenant_id: UUID
    execution_id: UUID
    position: int
    iteration: int
    attempt: int
    status: str
    output: str | None
    state: str | None
    finished_at: datetime | None
    wake_at: datetime | None


_SETTLE = """
UPDATE action_executions a
   SET status = x.status, output = x.output, state = x.state, finished_at = x.finished_at, wake_at = x.wake_at
  FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[], $5::int[], $6::text[], $7::json[], $8::json[],
              $9::timestamptz[], $10::timestamptz[])
    AS x (tenant_id, execution_id, position, iteration, attempt, status, output, state, finished_at, wake_at)
 WHERE a.tenant_id = x.tenant_id AND a.execution_id = x.execution_id AND a.position = x.position
   AND a.iteration = x.iteration AND a.attempt = x.attempt
"""


async def settle_actions(connection: Connection, settled: Sequence[SettledAction]) -> None:
    """The records say what came of these actions. For whoever has recorded their beginning in the same transaction."""
    if settled:
        await connection.execute(_SETTLE, *_columns([msgspec.structs.astuple(one) for one in settled], 10))


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
