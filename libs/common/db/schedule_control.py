"""Pausing and resuming schedules. For whoever holds the trigger's row."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from libs.common.db.pool import Connection

_PAUSE = """
UPDATE triggers t SET paused_at = now(), paused_note = x.note, paused_by = x.actor
  FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS x (tenant_id, id, note, actor)
 WHERE t.tenant_id = x.tenant_id AND t.id = x.id AND t.type = 'schedule'
"""


async def pause_schedules(connection: Connection, wanted: Sequence[tuple[UUID, UUID, str | None, str | None]]) -> None:
    """Slots of these schedules (tenant, trigger, note, actor) are suppressed from now on."""
    if wanted:
        await connection.execute(_PAUSE, *[list(column) for column in zip(*wanted, strict=True)])


_RESUME = """
UPDATE triggers SET paused_at = NULL, paused_note = NULL, paused_by = NULL, resumed_at = now(), next_run_at = $3
 WHERE tenant_id = $1 AND id = $2 AND type = 'schedule'
"""


async def resume_schedule(
    connection: Connection, tenant_id: UUID, trigger_id: UUID, next_run_at: datetime | None
) -> None:
    """Its slots run again from `next_run_at` on; failures before now count no more."""
    await connection.execute(_RESUME, tenant_id, trigger_id, next_run_at)
