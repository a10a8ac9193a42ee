"""Triggers of a workflow, kept in step with its newest version.

A trigger is known by its key within the workflow: while the key stays, its id stays, so that the address of a webhook
and the ledger of a schedule survive every edit. What a webhook call or the scheduler looks up stands in modules of
their own.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection, Record


class StoredTrigger(msgspec.Struct, frozen=True):
    """A trigger. `config` and `conditions`: JSON text without secrets; `sealed_secrets`: what only the vault opens."""

    id: UUID
    workflow_id: UUID
    key: str
    type: str
    config: str
    conditions: str | None
    enabled: bool
    token: str | None
    sealed_secrets: bytes | None
    next_run_at: datetime | None


_LIST = """
SELECT id, workflow_id, key, type, config, conditions, enabled, token, sealed_secrets, next_run_at FROM triggers
 WHERE tenant_id = $1 AND workflow_id = ANY($2::uuid[]) ORDER BY id
"""


async def list_triggers(connection: Connection, tenant_id: UUID, workflow_ids: Sequence[UUID]) -> list[StoredTrigger]:
    """The triggers of some workflows, oldest first."""
    return [_read(row) for row in await connection.fetch(_LIST, tenant_id, workflow_ids)]


_FIND = """
SELECT id, workflow_id, key, type, config, conditions, enabled, token, sealed_secrets, next_run_at FROM triggers
 WHERE tenant_id = $1 AND id = $2
"""


async def find_trigger(connection: Connection, tenant_id: UUID, trigger_id: UUID) -> StoredTrigger | None:
    """The trigger of that id."""
    row = await connection.fetchrow(_FIND, tenant_id, trigger_id)
    return None if row is None else _read(row)


_DELETE_OTHERS = "DELETE FROM triggers WHERE tenant_id = $1 AND workflow_id = $2 AND key <> ALL($3::text[])"
_UPSERT = """
INSERT INTO triggers
       (tenant_id, workflow_id, id, key, type, config, conditions, enabled, token, sealed_secrets, next_run_at)
SELECT $1, $2, * FROM unnest($3::uuid[], $4::text[], $5::text[], $6::json[], $7::json[], $8::boolean[], $9::text[],
                             $10::bytea[], $11::timestamptz[])
ON CONFLICT (tenant_id, workflow_id, key) DO UPDATE
   SET type = excluded.type, config = excluded.config, conditions = excluded.conditions, enabled = excluded.enabled,
       token = excluded.token, sealed_secrets = excluded.sealed_secrets, updated_at = now(),
       next_run_at = CASE WHEN excluded.next_run_at IS NOT NULL AND triggers.next_run_at IS NOT NULL
                           AND triggers.config::text = excluded.config::text
                          THEN triggers.next_run_at ELSE excluded.next_run_at END
"""


async def sync_triggers(
    connection: Connection, tenant_id: UUID, workflow_id: UUID, wanted: Sequence[StoredTrigger]
) -> None:
    """Make the workflow's triggers exactly `wanted`: upsert by key, delete the rest.

    An unchanged schedule keeps its `next_run_at`: a slot that is due but not yet fired must not vanish by an edit.
    """
    await connection.execute(_DELETE_OTHERS, tenant_id, workflow_id, [trigger.key for trigger in wanted])
    if not wanted:
        return
    await connection.execute(
        _UPSERT,
        tenant_id,
        workflow_id,
        [trigger.id for trigger in wanted],
        [trigger.key for trigger in wanted],
        [trigger.type for trigger in wanted],
        [trigger.config for trigger in wanted],
        [trigger.conditions for trigger in wanted],
        [trigger.enabled for trigger in wanted],
        [trigger.token for trigger in wanted],
        [trigger.sealed_secrets for trigger in wanted],
        [trigger.next_run_at for trigger in wanted],
    )


_SET_NEXT_RUNS = """
UPDATE triggers SET next_run_at = new.next_run_at, updated_at = now()
  FROM unnest($2::uuid[], $3::timestamptz[]) AS new (id, next_run_at)
 WHERE triggers.tenant_id = $1 AND triggers.id = new.id
"""


async def set_next_runs(
    connection: Connection, tenant_id: UUID, next_runs: Sequence[tuple[UUID, datetime | None]]
) -> None:
    """Set when some schedules fire next; `None`: not at all."""
    await connection.execute(
        _SET_NEXT_RUNS, tenant_id, [trigger_id for trigger_id, _ in next_runs], [instant for _, instant in next_runs]
    )


def _read(row: Record) -> StoredTrigger:
    return StoredTrigger(
        id=row["id"],
        workflow_id=row["workflow_id"],
        key=row["key"],
        type=row["type"],
        config=row["config"],
        conditions=row["conditions"],
        enabled=row["enabled"],
        token=row["token"],
        sealed_secrets=row["sealed_secrets"],
        next_run_at=row["next_run_at"],
    )
