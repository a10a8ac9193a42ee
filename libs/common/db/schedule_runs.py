"""Which firings of a schedule run, and which wait for their turn: what overlap is judged by, whatever was restarted.

For whoever holds the trigger's row. Only schedules whose policy is not `allow` have rows here.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection


class Place(NamedTuple):
    """A schedule."""

    tenant_id: UUID
    trigger_id: UUID


class RunRow(msgspec.Struct, frozen=True):
    """A run, or (`waits`) a firing that is to become one. `id`: the execution's, or of what waits; `input`: JSON text,
    of what waits.
    """

    tenant_id: UUID
    trigger_id: UUID
    id: UUID
    waits: bool
    planned_at: datetime
    input: str | None = None
    actor: str | None = None


class OpenRuns(msgspec.Struct, frozen=True):
    """What has not ended of a schedule: executions that run, and firings that wait, the oldest first."""

    running: list[UUID]
    waiting: list[RunRow]


_OPEN = """
SELECT r.tenant_id, r.trigger_id, r.id, r.waits, r.planned_at, r.input, r.actor,
       NOT r.waits AND (e.id IS NULL OR e.finished_at IS NOT NULL) AS ended
  FROM unnest($1::uuid[], $2::uuid[]) AS x (tenant_id, trigger_id)
  JOIN schedule_runs r ON r.tenant_id = x.tenant_id AND r.trigger_id = x.trigger_id
  LEFT JOIN executions e ON e.tenant_id = r.tenant_id AND e.id = r.id
 ORDER BY r.id
"""


async def open_runs(connection: Connection, places: Sequence[Place]) -> dict[Place, OpenRuns]:
    """What has not ended of these schedules; the rows of what has ended are gone."""
    if not places:
        return {}
    found = {place: OpenRuns([], []) for place in places}
    ended: list[RunRow] = []
    for row in await connection.fetch(_OPEN, *_columns(places)):
        *fields, has_ended = row.values()
        run = RunRow(*fields)
        if has_ended:
            ended.append(run)
        elif run.waits:
            found[Place(run.tenant_id, run.trigger_id)].waiting.append(run)
        else:
            found[Place(run.tenant_id, run.trigger_id)].running.append(run.id)
    await drop_runs(connection, ended)
    return found


_ADD = """
INSERT INTO schedule_runs (tenant_id, trigger_id, id, waits, planned_at, input, actor)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bool[], $5::timestamptz[], $6::json[], $7::text[])
"""


async def add_runs(connection: Connection, rows: Sequence[RunRow]) -> None:
    """These run, or wait."""
    if rows:
        await connection.execute(_ADD, *_columns([msgspec.structs.astuple(row) for row in rows]))


_DROP = """
DELETE FROM schedule_runs r USING unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS x (tenant_id, trigger_id, id)
 WHERE r.tenant_id = x.tenant_id AND r.trigger_id = x.trigger_id AND r.id = x.id
"""


async def drop_runs(connection: Connection, rows: Sequence[RunRow]) -> None:
    """These neither run nor wait any more."""
    if rows:
        await connection.execute(_DROP, *_columns([(row.tenant_id, row.trigger_id, row.id) for row in rows]))


_NEXT_TURNS = """
SELECT w.tenant_id, w.trigger_id, NOT EXISTS (
       SELECT FROM schedule_runs r
         JOIN executions e ON e.tenant_id = r.tenant_id AND e.id = r.id AND e.finished_at IS NULL
        WHERE r.tenant_id = w.tenant_id AND r.trigger_id = w.trigger_id AND NOT r.waits) AS is_free
  FROM (SELECT DISTINCT tenant_id, trigger_id FROM schedule_runs WHERE waits) w
 ORDER BY is_free DESC LIMIT $1
"""


async def next_turns(connection: Connection, limit: int) -> tuple[list[Place], bool]:
    """Schedules of which something waits and nothing runs, and whether anything waits at all."""
    rows = await connection.fetch(_NEXT_TURNS, limit)
    return [Place(row["tenant_id"], row["trigger_id"]) for row in rows if row["is_free"]], bool(rows)


_FORGET = """
DELETE FROM schedule_runs r
 WHERE NOT r.waits AND NOT EXISTS (SELECT FROM triggers t WHERE t.tenant_id = r.tenant_id AND t.id = r.trigger_id)
"""


async def forget_runs_of_gone(connection: Connection) -> None:
    """Rows of triggers that are gone are gone, of every tenant; what waited is settled when its turn comes."""
    await connection.execute(_FORGET)


def _columns(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
