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
    last_run_at: datetime | None
    last_lag_ms: int | None


class ListedSchedule(msgspec.Struct, frozen=True):
    """A schedule and its place in the order: JSON text of a scalar, which a next page starts after."""

    view: ScheduleView
    place: str


class ListedAfter(msgspec.Struct, frozen=True):
    """The last schedule of the page before. `place` as in `ListedSchedule`."""

    trigger_id: UUID
    place: str


class ListWindow(msgspec.Struct, frozen=True):
    """A page of schedules, in the order of `sort`: next_run_at, name (of the workflow), last_run_at or last_lag_ms."""

    sort: str
    descending: bool
    after: ListedAfter | None
    limit: int
    offset: int


_LIST = """
SELECT tr.id, tr.workflow_id, w.name, tr.key, tr.config, tr.enabled AND w.enabled AS enabled, tr.next_run_at,
       tr.paused_at, tr.paused_note, tr.paused_by, tr.runs, tr.last_run_at, tr.last_lag_ms, place::text AS place
  FROM triggers tr JOIN workflows w ON w.tenant_id = tr.tenant_id AND w.id = tr.workflow_id AND w.deleted_at IS NULL
 CROSS JOIN LATERAL (SELECT coalesce(CASE $4
       WHEN 'name' THEN to_jsonb(lower(w.name))
       WHEN 'last_run_at' THEN to_jsonb(extract(epoch FROM tr.last_run_at))
       WHEN 'last_lag_ms' THEN to_jsonb(tr.last_lag_ms)
       ELSE to_jsonb(extract(epoch FROM tr.next_run_at)) END, 'null') AS place) AS sorting
 WHERE tr.tenant_id = $1 AND tr.type = 'schedule'
   AND ($2::text IS NULL OR strpos(lower(w.name), lower($2)) > 0 OR strpos(lower(tr.key), lower($2)) > 0)
   AND ($3::boolean IS NULL OR (tr.paused_at IS NOT NULL) = $3)
   AND ($6::uuid IS NULL OR (place = 'null') > ($7::jsonb = 'null')
        OR (place = 'null') = ($7::jsonb = 'null')
           AND CASE WHEN $5 THEN (place, tr.id) < ($7::jsonb, $6) ELSE (place, tr.id) > ($7::jsonb, $6) END)
 ORDER BY sorting.place = 'null', CASE WHEN $5 THEN sorting.place END DESC, CASE WHEN $5 THEN tr.id END DESC,
          sorting.place, tr.id
 LIMIT $8 OFFSET $9
"""


async def list_schedules(
    connection: Connection, tenant_id: UUID, text: str | None, *, paused: bool | None, page: ListWindow
) -> list[ListedSchedule]:
    """Those whose key or workflow's name holds the text; what has nothing to be sorted by is last in either order."""
    after_id, place = (None, None) if page.after is None else (page.after.trigger_id, page.after.place)
    rows = await connection.fetch(
        _LIST, tenant_id, text, paused, page.sort, page.descending, after_id, place, page.limit, page.offset
    )
    found: list[ListedSchedule] = []
    for row in rows:
        *fields, row_place = row.values()
        found.append(ListedSchedule(ScheduleView(*fields), row_place))
    return found


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
