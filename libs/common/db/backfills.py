"""Back-fills: slots of the past that shall run after all, some at a time. They are shown as jobs."""

from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection


class Backfill(msgspec.Struct, frozen=True):
    """A back-fill to go on with: the slots of a schedule from `from_at` to `until_at`, both included."""

    tenant_id: UUID
    id: UUID
    trigger_id: UUID
    from_at: datetime
    until_at: datetime
    actor: str | None


_INSERT = """
INSERT INTO backfills (tenant_id, id, trigger_id, from_at, until_at, actor) VALUES ($1, $2, $3, $4, $5, $6)
"""


async def insert_backfill(
    connection: Connection, tenant_id: UUID, backfill_id: UUID, trigger_id: UUID, from_at: datetime,
    until_at: datetime, actor: str | None,
) -> None:  # fmt: skip
    """The back-fill will be done."""
    await connection.execute(_INSERT, tenant_id, backfill_id, trigger_id, from_at, until_at, actor)


_CLAIM = """
SELECT b.tenant_id, b.id, b.trigger_id, b.from_at, b.until_at, b.actor
  FROM backfills b JOIN tenants t ON t.tenant_id = b.tenant_id AND t.status = 'active'
 WHERE b.finished_at IS NULL AND b.due_at <= now() ORDER BY b.due_at LIMIT 1 FOR UPDATE OF b SKIP LOCKED
"""


async def claim_backfill(connection: Connection) -> Backfill | None:
    """A back-fill that is due, locked for this transaction; one that another scheduler works on is left out. For a
    tenant that is suspended nothing is started.
    """
    row = await connection.fetchrow(_CLAIM)
    return None if row is None else Backfill(*row.values())


_ADVANCE = """
UPDATE backfills
   SET from_at = coalesce($3, from_at), due_at = now() + make_interval(secs => $4), done = done + $5,
       passed_over = passed_over + $6, finished_at = CASE WHEN $3::timestamptz IS NULL THEN now() END
 WHERE tenant_id = $1 AND id = $2
"""


async def advance_backfill(
    connection: Connection, one: Backfill, from_at: datetime | None, *, pause_seconds: float, done: int,
    passed_over: int,
) -> None:  # fmt: skip
    """The back-fill has come to `from_at` and goes on after the pause; None: it is finished."""
    await connection.execute(_ADVANCE, one.tenant_id, one.id, from_at, pause_seconds, done, passed_over)
