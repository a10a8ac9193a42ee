"""Due schedules: claiming them, writing the ledger, moving them on. One transaction each pass, any number of
schedulers. Whoever lets a schedule fire holds its trigger's row.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection, Record


class DueSchedule(msgspec.Struct, frozen=True):
    """A schedule trigger that may fire now, locked for this transaction. `now` is the database's clock; `runs`: slots
    that have run so far; `is_off`: the trigger, its workflow or its tenant is.
    """

    tenant_id: UUID
    trigger_id: UUID
    workflow_id: UUID
    key: str
    config: str
    planned_at: datetime
    version: int
    runs: int
    resumed_at: datetime | None
    paused_at: datetime | None
    paused_note: str | None
    is_off: bool
    now: datetime

    @property
    def suppressed(self) -> str | None:
        """Why its slots do not run, if so."""
        if self.is_off:
            return "the trigger, its workflow or its tenant is switched off"
        if self.paused_at is None:
            return None
        return f"paused: {self.paused_note}" if self.paused_note else "paused"


class FiringRow(msgspec.Struct, frozen=True):
    """One slot in the ledger. `outcome` None: it waits for the run before it to end."""

    tenant_id: UUID
    trigger_id: UUID
    planned_at: datetime
    actual_at: datetime
    outcome: str | None
    execution_id: UUID | None
    reason: str | None

    @property
    def lag_ms(self) -> int:
        """How late the slot was taken."""
        return round((self.actual_at - self.planned_at).total_seconds() * 1000)


class Move(msgspec.Struct, frozen=True):
    """Where a schedule stands after a pass; `next_run_at` None: it is due never again; `ran_at`, `lag_ms` None: no slot
    ran.
    """

    tenant_id: UUID
    trigger_id: UUID
    next_run_at: datetime | None
    runs: int
    ran_at: datetime | None
    lag_ms: int | None


_UNTIL_DUE = """
SELECT extract(epoch FROM next_run_at - now())::float8 FROM triggers
 WHERE next_run_at IS NOT NULL ORDER BY next_run_at LIMIT 1
"""


async def seconds_until_due(connection: Connection) -> float | None:
    """In how many seconds the first schedule is due; negative when it is overdue, None when there is none."""
    return await connection.fetchval(_UNTIL_DUE)


_CLAIM = """
SELECT tr.tenant_id, tr.id, tr.workflow_id, tr.key, tr.config, tr.next_run_at, w.version, tr.runs,
       tr.resumed_at, tr.paused_at, tr.paused_note,
       NOT (tr.enabled AND w.enabled AND w.deleted_at IS NULL AND t.status = 'active') AS is_off, now() AS now
  FROM triggers tr
  JOIN workflows w ON w.tenant_id = tr.tenant_id AND w.id = tr.workflow_id
  JOIN tenants t ON t.tenant_id = tr.tenant_id
 WHERE tr.next_run_at <= now()
 ORDER BY tr.next_run_at LIMIT $1 FOR UPDATE OF tr SKIP LOCKED
"""


async def claim_due_schedules(connection: Connection, limit: int) -> list[DueSchedule]:
    """Lock schedules that are due, longest overdue first; those another scheduler holds are left out."""
    return [_read(row) for row in await connection.fetch(_CLAIM, limit)]


_LOCK = """
SELECT tr.tenant_id, tr.id, tr.workflow_id, tr.key, tr.config, coalesce(tr.next_run_at, now()), w.version, tr.runs,
       tr.resumed_at, tr.paused_at, tr.paused_note,
       NOT (tr.enabled AND w.enabled AND w.deleted_at IS NULL AND t.status = 'active') AS is_off, now() AS now
  FROM triggers tr
  JOIN workflows w ON w.tenant_id = tr.tenant_id AND w.id = tr.workflow_id
  JOIN tenants t ON t.tenant_id = tr.tenant_id
 WHERE tr.tenant_id = $1 AND tr.id = $2 AND tr.type = 'schedule' FOR UPDATE OF tr
"""


async def lock_schedule(connection: Connection, tenant_id: UUID, trigger_id: UUID) -> DueSchedule | None:
    """One schedule, due or not, locked for this transaction; `planned_at` is now when it is due no more. None: there is
    no such schedule.
    """
    row = await connection.fetchrow(_LOCK, tenant_id, trigger_id)
    return None if row is None else _read(row)


_LOCK_FREE = """
SELECT tr.tenant_id, tr.id, tr.workflow_id, tr.key, tr.config, coalesce(tr.next_run_at, now()), w.version, tr.runs,
       tr.resumed_at, tr.paused_at, tr.paused_note,
       NOT (tr.enabled AND w.enabled AND w.deleted_at IS NULL AND t.status = 'active') AS is_off, now() AS now
  FROM unnest($1::uuid[], $2::uuid[]) AS x (tenant_id, id)
  JOIN triggers tr ON tr.tenant_id = x.tenant_id AND tr.id = x.id AND tr.type = 'schedule'
  JOIN workflows w ON w.tenant_id = tr.tenant_id AND w.id = tr.workflow_id
  JOIN tenants t ON t.tenant_id = tr.tenant_id
 ORDER BY tr.tenant_id, tr.id FOR UPDATE OF tr SKIP LOCKED
"""


async def lock_free_schedules(connection: Connection, wanted: Sequence[tuple[UUID, UUID]]) -> list[DueSchedule]:
    """As `lock_schedule`, for those of the schedules (tenant, trigger) that nobody else holds."""
    rows = await connection.fetch(_LOCK_FREE, [tenant for tenant, _ in wanted], [trigger for _, trigger in wanted])
    return [_read(row) for row in rows]


_GONE = """
SELECT x.tenant_id, x.id FROM unnest($1::uuid[], $2::uuid[]) AS x (tenant_id, id)
 WHERE NOT EXISTS (
       SELECT FROM triggers tr WHERE tr.tenant_id = x.tenant_id AND tr.id = x.id AND tr.type = 'schedule')
"""


async def schedules_gone(connection: Connection, wanted: Sequence[tuple[UUID, UUID]]) -> set[tuple[UUID, UUID]]:
    """Those (tenant, trigger) that are no schedules any more."""
    rows = await connection.fetch(_GONE, [tenant for tenant, _ in wanted], [trigger for _, trigger in wanted])
    return {(row["tenant_id"], row["id"]) for row in rows}


_LOCK_DUE = """
SELECT tr.tenant_id, tr.id, tr.workflow_id, tr.key, tr.config, tr.next_run_at, w.version, tr.runs,
       tr.resumed_at, tr.paused_at, tr.paused_note,
       NOT (tr.enabled AND w.enabled AND w.deleted_at IS NULL AND t.status = 'active') AS is_off, now() AS now
  FROM triggers tr
  JOIN workflows w ON w.tenant_id = tr.tenant_id AND w.id = tr.workflow_id
  JOIN tenants t ON t.tenant_id = tr.tenant_id
 WHERE tr.tenant_id = $1 AND tr.workflow_id = $2 AND tr.next_run_at <= now()
 ORDER BY tr.id FOR UPDATE OF tr
"""


async def lock_due_schedules(connection: Connection, tenant_id: UUID, workflow_id: UUID) -> list[DueSchedule]:
    """Those schedules of a workflow that are due, locked for this transaction; waits for whoever fires one of them."""
    return [_read(row) for row in await connection.fetch(_LOCK_DUE, tenant_id, workflow_id)]


_NOW = "SELECT now()"


async def database_now(connection: Connection) -> datetime:
    """The database's clock, which is the clock of schedules; in a transaction the moment at which it began."""
    return await connection.fetchval(_NOW)


def _read(row: Record) -> DueSchedule:
    return DueSchedule(*row.values())


_WRITE_LEDGER = """
INSERT INTO firings (tenant_id, trigger_id, planned_at, actual_at, outcome, execution_id, reason)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::uuid[], $7::text[])
ON CONFLICT (tenant_id, trigger_id, planned_at) DO NOTHING
RETURNING tenant_id, trigger_id, planned_at
"""


async def write_firings(connection: Connection, rows: Sequence[FiringRow]) -> set[tuple[UUID, UUID, datetime]]:
    """The slots stand in the ledger. Returns those that did not stand there before: only they may fire."""
    if not rows:
        return set()
    found = await connection.fetch(_WRITE_LEDGER, *_columns(rows))
    return {(row["tenant_id"], row["trigger_id"], row["planned_at"]) for row in found}


_RUN_AFTER_ALL = """
INSERT INTO firings AS f (tenant_id, trigger_id, planned_at, actual_at, outcome, execution_id, reason)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::uuid[], $7::text[])
ON CONFLICT (tenant_id, trigger_id, planned_at) DO UPDATE
   SET actual_at = excluded.actual_at, outcome = excluded.outcome, execution_id = excluded.execution_id,
       reason = excluded.reason
 WHERE f.outcome IN ('missed', 'suppressed', 'skipped_overlap')
"""


async def write_backfilled(connection: Connection, rows: Sequence[FiringRow]) -> None:
    """The slots stand in the ledger as these rows say, but for those that have run or wait."""
    if rows:
        await connection.execute(_RUN_AFTER_ALL, *_columns(rows))


_HAVE_RUN = """
SELECT planned_at FROM firings
 WHERE tenant_id = $1 AND trigger_id = $2 AND planned_at = ANY($3::timestamptz[])
   AND (outcome IS NULL OR outcome IN ('fired', 'late', 'caught_up'))
"""


async def slots_that_ran(
    connection: Connection, tenant_id: UUID, trigger_id: UUID, slots: Sequence[datetime]
) -> set[datetime]:
    """Those of the slots that have run or wait for their turn."""
    return {row["planned_at"] for row in await connection.fetch(_HAVE_RUN, tenant_id, trigger_id, slots)}


_FIRE_BY_HAND = """
INSERT INTO firings (tenant_id, trigger_id, planned_at, actual_at, outcome, execution_id, reason, kind)
VALUES ($1, $2, $3, $4, $5, $6, $7, 'manual') ON CONFLICT (tenant_id, trigger_id, planned_at) DO NOTHING
RETURNING planned_at
"""


async def write_manual_firing(connection: Connection, row: FiringRow) -> bool:
    """A firing by hand stands in the ledger. False: at this very microsecond there is another."""
    return await connection.fetchval(_FIRE_BY_HAND, *msgspec.structs.astuple(row)) is not None


_TAKE_TURN = """
UPDATE firings f SET actual_at = x.actual_at, outcome = x.outcome, execution_id = x.execution_id, reason = x.reason
  FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::uuid[], $7::text[])
    AS x (tenant_id, trigger_id, planned_at, actual_at, outcome, execution_id, reason)
 WHERE f.tenant_id = x.tenant_id AND f.trigger_id = x.trigger_id AND f.planned_at = x.planned_at AND f.outcome IS NULL
"""


async def settle_waiting(connection: Connection, rows: Sequence[FiringRow]) -> None:
    """Firings that waited have their outcome."""
    if rows:
        await connection.execute(_TAKE_TURN, *_columns(rows))


_MOVE_ON = """
UPDATE triggers tr
   SET next_run_at = x.next_run_at, runs = x.runs, last_run_at = coalesce(x.ran_at, tr.last_run_at),
       last_lag_ms = coalesce(x.lag_ms, tr.last_lag_ms)
  FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::int[], $5::timestamptz[], $6::bigint[])
    AS x (tenant_id, id, next_run_at, runs, ran_at, lag_ms)
 WHERE tr.tenant_id = x.tenant_id AND tr.id = x.id
"""


async def move_schedules_on(connection: Connection, moves: Sequence[Move]) -> None:
    """The schedules stand where the moves say."""
    if moves:
        await connection.execute(_MOVE_ON, *_columns(moves))


_NOTE_RUNS = """
UPDATE triggers tr SET last_run_at = x.ran_at, last_lag_ms = x.lag_ms
  FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[]) AS x (tenant_id, id, ran_at, lag_ms)
 WHERE tr.tenant_id = x.tenant_id AND tr.id = x.id
"""


async def note_runs(connection: Connection, ran: Sequence[FiringRow]) -> None:
    """These slots, which had waited, are the newest of their schedules that ran; at most one of each."""
    rows = [(r.tenant_id, r.trigger_id, r.actual_at, r.lag_ms) for r in ran]
    if rows:
        await connection.execute(_NOTE_RUNS, *[list(column) for column in zip(*rows, strict=True)])


_FAILURES = """
SELECT x.tenant_id, x.id
  FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::timestamptz[]) AS x (tenant_id, id, failures, since)
 CROSS JOIN LATERAL (
       SELECT count(*) AS failed FROM (
              SELECT f.execution_id FROM firings f
               WHERE f.tenant_id = x.tenant_id AND f.trigger_id = x.id AND f.execution_id IS NOT NULL
                 AND (x.since IS NULL OR f.actual_at > x.since)
               ORDER BY f.planned_at DESC LIMIT x.failures) AS last
         JOIN executions e ON e.tenant_id = x.tenant_id AND e.id = last.execution_id
          AND e.status IN ('failed', 'timed_out') OFFSET 0) AS newest
 WHERE newest.failed = x.failures
"""


async def keep_failing(
    connection: Connection, wanted: Sequence[tuple[UUID, UUID, int, datetime | None]]
) -> set[tuple[UUID, UUID]]:
    """Those (tenant, trigger) whose last so many runs, since then, have all failed."""
    if not wanted:
        return set()
    rows = await connection.fetch(_FAILURES, *[list(column) for column in zip(*wanted, strict=True)])
    return {(row["tenant_id"], row["id"]) for row in rows}


def _columns(rows: Sequence[msgspec.Struct]) -> list[list[object]]:
    return [list(column) for column in zip(*[msgspec.structs.astuple(row) for row in rows], strict=True)]
