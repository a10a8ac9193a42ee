"""Schedules and their ledger as they are shown."""

from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection


class ScheduleView(msgspec.Struct, frozen=True):
    """A schedule with where it stands. `config`: JSON text."""

    trigger_id: UUID
    workflow_id: UUID
    workflow_name: str
    key: str
    config: str
    enabled: bool
    next_run_at: datetime | None
    paused_at: datetime | None
    paused_note: str | None
    paused_by: str | None
    runs: int
    last_lag_ms: int | None


class ListWindow(msgspec.Struct, frozen=True):
    """A page of schedules: `after`, the last one of the page before by when it is due and its id."""

    after_due: datetime | None
    after_id: UUID | None
    limit: int
    offset: int


_LIST = """
SELECT tr.id, tr.workflow_id, w.name, tr.key, tr.config, tr.enabled AND w.enabled AS enabled, tr.next_run_at,
       tr.paused_at, tr.paused_note, tr.paused_by, tr.runs, tr.last_lag_ms
  FROM triggers tr JOIN workflows w ON w.tenant_id = tr.tenant_id AND w.id = tr.workflow_id AND w.deleted_at IS NULL
 WHERE tr.tenant_id = $1 AND tr.type = 'schedule'
   AND ($2::text IS NULL OR strpos(lower(w.name), lower($2)) > 0 OR strpos(lower(tr.key), lower($2)) > 0)
   AND ($3::boolean IS NULL OR (tr.paused_at IS NOT NULL) = $3)
   AND ($5::uuid IS NULL
        OR (coalesce(tr.next_run_at, 'infinity'), tr.id) > (coalesce($4::timestamptz, 'infinity'), $5))
 ORDER BY coalesce(tr.next_run_at, 'infinity'), tr.id LIMIT $6 OFFSET $7
"""


async def list_schedules(
    connection: Connection, tenant_id: UUID, text: str | None, *, paused: bool | None, page: ListWindow
) -> list[ScheduleView]:
    """Those whose key or workflow's name holds the text, the next due first, those that are due no more last."""
    rows = await connection.fetch(
        _LIST, tenant_id, text, paused, page.after_due, page.after_id, page.limit, page.offset
    )
    return [ScheduleView(*row.values()) for row in rows]


class FiringView(msgspec.Struct, frozen=True):
    """A row of the ledger. `kind`: a slot, or `manual`. `outcome` None: it waits for the run before it to end."""

    planned_at: datetime
    actual_at: datetime
    kind: str
    outcome: str | None
    execution_id: UUID | None
    reason: str | None


_LEDGER = """
SELECT planned_at, actual_at, kind, outcome, execution_id, reason FROM firings
 WHERE tenant_id = $1 AND trigger_id = $2 AND planned_at >= $3 AND planned_at < $4
   AND ($5::text IS NULL OR outcome = $5)
 ORDER BY planned_at DESC LIMIT $6 OFFSET $7
"""


async def list_firings(
    connection: Connection, tenant_id: UUID, trigger_id: UUID, outcome: str | None, *, since: datetime,
    before: datetime, limit: int, offset: int,
) -> list[FiringView]:  # fmt: skip
    """The ledger of a schedule, newest slot first."""
    rows = await connection.fetch(_LEDGER, tenant_id, trigger_id, since, before, outcome, limit, offset)
    return [FiringView(*row.values()) for row in rows]
