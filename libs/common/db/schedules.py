"""Due schedules: claiming them, writing the ledger, moving them on. One transaction each pass, any number of
schedulers.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection


class DueSchedule(msgspec.Struct, frozen=True):
    """A schedule trigger whose next slot is due, locked for this transaction. `now` is the database's clock."""

    tenant_id: UUID
    trigger_id: UUID
    workflow_id: UUID
    key: str
    config: str
    planned_at: datetime
    version: int
    runnable: bool
    now: datetime


class FiringRow(msgspec.Struct, frozen=True):
    """One slot in the ledger."""

    tenant_id: UUID
    trigger_id: UUID
    planned_at: datetime
    actual_at: datetime
    outcome: str
    execution_id: UUID | None
    reason: str | None


_CLAIM = """
SELECT tr.tenant_id, tr.id, tr.workflow_id, tr.key, tr.config, tr.next_run_at, w.version,
       tr.enabled AND w.enabled AND w.deleted_at IS NULL AND t.status = 'active' AS runnable, now() AS now
  FROM triggers tr
  JOIN workflows w ON w.tenant_id = tr.tenant_id AND w.id = tr.workflow_id
  JOIN tenants t ON t.tenant_id = tr.tenant_id
 WHERE tr.next_run_at <= now()
 ORDER BY tr.next_run_at LIMIT $1 FOR UPDATE OF tr SKIP LOCKED
"""


async def claim_due_schedules(connection: Connection, limit: int) -> list[DueSchedule]:
    """Lock schedules that are due, longest overdue first; those another scheduler holds are left out."""
    return [DueSchedule(*row.values()) for row in await connection.fetch(_CLAIM, limit)]


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
    columns = [list(column) for column in zip(*[msgspec.structs.astuple(row) for row in rows], strict=True)]
    found = await connection.fetch(_WRITE_LEDGER, *columns)
    return {(row["tenant_id"], row["trigger_id"], row["planned_at"]) for row in found}


_MOVE_ON = """
UPDATE triggers tr SET next_run_at = x.next_run_at
  FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS x (tenant_id, id, next_run_at)
 WHERE tr.tenant_id = x.tenant_id AND tr.id = x.id
"""


async def move_schedules_on(connection: Connection, moves: Sequence[tuple[UUID, UUID, datetime | None]]) -> None:
    """Each (tenant, trigger) is due next at the instant given; None: never again."""
    if moves:
        await connection.execute(_MOVE_ON, *[list(column) for column in zip(*moves, strict=True)])
