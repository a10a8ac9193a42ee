"""Background jobs over many executions. A job walks down the ids from the newest that existed when it was made, so it
meets each execution once and comes to an end whatever is started meanwhile.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection

Kind = Literal["cancel", "retry"]
Shown = Literal["cancel", "retry", "backfill"]


class JobFilter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which executions a job is about; `first_id` bounds how far back it goes."""

    statuses: tuple[str, ...]
    workflow_id: UUID | None = None
    trigger_type: str | None = None
    first_id: UUID = UUID(int=0)


class Job(msgspec.Struct, frozen=True):
    """A job and how far it is: `done` of those it met, and `passed_over`, which could not be changed any more."""

    id: UUID
    kind: Shown
    done: int
    passed_over: int
    created_at: datetime
    finished_at: datetime | None


class OpenJob(msgspec.Struct, frozen=True):
    """A job to go on with; everything from `position` on is behind it. `filter` is JSON text."""

    tenant_id: UUID
    id: UUID
    kind: Kind
    filter: str
    position: UUID
    actor: str | None


_INSERT = "INSERT INTO jobs (tenant_id, id, kind, filter, position, actor) VALUES ($1, $2, $3, $4::json, $2, $5)"


async def insert_job(
    connection: Connection, tenant_id: UUID, job_id: UUID, kind: Kind, wanted: JobFilter, actor: str | None
) -> None:
    """The job exists, and is about executions older than its own id."""
    await connection.execute(_INSERT, tenant_id, job_id, kind, msgspec.json.encode(wanted).decode(), actor)


_FIND = """
SELECT id, kind, done, passed_over, created_at, finished_at FROM jobs WHERE tenant_id = $1 AND id = $2
 UNION ALL
SELECT id, 'backfill', done, passed_over, created_at, finished_at FROM backfills WHERE tenant_id = $1 AND id = $2
"""


async def find_job(connection: Connection, tenant_id: UUID, job_id: UUID) -> Job | None:
    """The job of that id; a back-fill is shown as one."""
    row = await connection.fetchrow(_FIND, tenant_id, job_id)
    return None if row is None else Job(*row.values())


_CLAIM = """
SELECT j.tenant_id, j.id, j.kind, j.filter, j.position, j.actor
  FROM jobs j JOIN tenants t ON t.tenant_id = j.tenant_id AND (t.status = 'active' OR j.kind = 'cancel')
 WHERE j.finished_at IS NULL ORDER BY j.created_at LIMIT 1 FOR UPDATE OF j SKIP LOCKED
"""


async def claim_job(connection: Connection) -> OpenJob | None:
    """An open job, locked for this transaction; one that another scheduler works on is left out. For a
    tenant that is suspended nothing is started.
    """
    row = await connection.fetchrow(_CLAIM)
    return None if row is None else OpenJob(*row.values())


_NEXT = """
SELECT id FROM executions
 WHERE tenant_id = $1 AND id >= $2 AND id < $3 AND status = ANY($4::text[])
   AND ($5::uuid IS NULL OR workflow_id = $5) AND ($6::text IS NULL OR trigger_type = $6)
 ORDER BY id DESC LIMIT $7
"""


async def next_executions(connection: Connection, job: OpenJob, wanted: JobFilter, limit: int) -> list[UUID]:
    """The next executions of a job, newest first."""
    rows = await connection.fetch(
        _NEXT, job.tenant_id, wanted.first_id, job.position, list(wanted.statuses), wanted.workflow_id,
        wanted.trigger_type, limit,
    )  # fmt: skip
    return [row["id"] for row in rows]


_ADVANCE = """
UPDATE jobs SET position = $3, done = done + $4, passed_over = passed_over + $5,
                finished_at = CASE WHEN $6 THEN now() END
 WHERE tenant_id = $1 AND id = $2
"""


async def advance_job(
    connection: Connection, job: OpenJob, position: UUID, *, done: int, passed_over: int, finished: bool
) -> None:
    """The job has come to `position`."""
    await connection.execute(_ADVANCE, job.tenant_id, job.id, position, done, passed_over, finished)
