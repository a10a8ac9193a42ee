"""Triggers of a workflow, kept in step with its newest version.

A trigger is known by its key within the workflow: while the key stays, its id stays, so that the address of a webhook
and the ledger of a schedule survive every edit. What a webhook call or the scheduler looks up stands in modules of
their own.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from libs.common.db.pool import Connection, Record
from libs.common.errors import Conflict


class StoredTrigger(msgspec.Struct, frozen=True):
    """A trigger. `config` and `conditions`: JSON text without secrets; `sealed_secrets`: what only the vault opens.
    `slug`: of a webhook's address, after `tenant_slug`, which is there when it was read.
    """

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
    slug: str | None = None
    tenant_slug: str = ""


_LIST = """
SELECT tr.id, tr.workflow_id, tr.key, tr.type, tr.config, tr.conditions, tr.enabled, tr.token, tr.sealed_secrets,
       tr.next_run_at, tr.slug, t.slug AS tenant_slug
  FROM triggers tr JOIN tenants t ON t.tenant_id = tr.tenant_id
 WHERE tr.tenant_id = $1 AND tr.workflow_id = ANY($2::uuid[]) ORDER BY tr.id
"""


async def list_triggers(connection: Connection, tenant_id: UUID, workflow_ids: Sequence[UUID]) -> list[StoredTrigger]:
    """The triggers of some workflows, oldest first."""
    return [_read(row) for row in await connection.fetch(_LIST, tenant_id, workflow_ids)]


_FIND = """
SELECT tr.id, tr.workflow_id, tr.key, tr.type, tr.config, tr.conditions, tr.enabled, tr.token, tr.sealed_secrets,
       tr.next_run_at, tr.slug, t.slug AS tenant_slug
  FROM triggers tr JOIN tenants t ON t.tenant_id = tr.tenant_id
 WHERE tr.tenant_id = $1 AND tr.id = $2
"""


async def find_trigger(connection: Connection, tenant_id: UUID, trigger_id: UUID) -> StoredTrigger | None:
    """The trigger of that id."""
    row = await connection.fetchrow(_FIND, tenant_id, trigger_id)
    return None if row is None else _read(row)


_TAKEN = """
SELECT slug FROM triggers WHERE tenant_id = $1 AND slug = ANY($3::text[]) AND workflow_id <> $2
"""


async def taken_slugs(connection: Connection, tenant_id: UUID, workflow_id: UUID, slugs: Sequence[str]) -> set[str]:
    """Those of the slugs that webhooks of other workflows have."""
    return {row["slug"] for row in await connection.fetch(_TAKEN, tenant_id, workflow_id, slugs)}


_DELETE_OTHERS = "DELETE FROM triggers WHERE tenant_id = $1 AND workflow_id = $2 AND key <> ALL($3::text[])"
_FREE_SLUGS = "UPDATE triggers SET slug = NULL WHERE tenant_id = $1 AND workflow_id = $2 AND slug IS NOT NULL"
_UPSERT = """
INSERT INTO triggers
       (tenant_id, workflow_id, id, key, type, config, conditions, enabled, token, sealed_secrets, next_run_at, slug)
SELECT $1, $2, * FROM unnest($3::uuid[], $4::text[], $5::text[], $6::json[], $7::json[], $8::boolean[], $9::text[],
                             $10::bytea[], $11::timestamptz[], $12::text[])
ON CONFLICT (tenant_id, workflow_id, key) DO UPDATE
   SET type = excluded.type, config = excluded.config, conditions = excluded.conditions, enabled = excluded.enabled,
       token = excluded.token, sealed_secrets = excluded.sealed_secrets, slug = excluded.slug, updated_at = now(),
       next_run_at = CASE WHEN nullif((excluded.config->'max_runs')::text, 'null')::numeric <= triggers.runs THEN NULL
                          WHEN excluded.next_run_at IS NOT NULL AND triggers.next_run_at IS NOT NULL
                           AND triggers.config::text = excluded.config::text
                          THEN triggers.next_run_at ELSE excluded.next_run_at END
"""


async def sync_triggers(
    connection: Connection, tenant_id: UUID, workflow_id: UUID, wanted: Sequence[StoredTrigger]
) -> None:
    """Make the workflow's triggers exactly `wanted`: upsert by key, delete the rest.

    An unchanged schedule keeps its `next_run_at`, one that has run as often as it may has none. A slot that is due must
    be seen to before: an edit would drop it.
    Raises `Conflict` when another workflow was faster to take a slug.
    """
    await connection.execute(_DELETE_OTHERS, tenant_id, workflow_id, [trigger.key for trigger in wanted])
    if not wanted:
        return
    await connection.execute(_FREE_SLUGS, tenant_id, workflow_id)  # one may go from one trigger to another
    rows = [
        (one.id, one.key, one.type, one.config, one.conditions, one.enabled, one.token, one.sealed_secrets,
         one.next_run_at, one.slug)
        for one in wanted
    ]  # fmt: skip
    try:
        await connection.execute(_UPSERT, tenant_id, workflow_id, *[list(column) for column in zip(*rows, strict=True)])
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "triggers_slug":
            raise
        raise Conflict("Another workflow has just taken the slug of a webhook of this one.") from None


# `->` and not `->>`: that one refuses every config that holds U+0000 anywhere.
_SET_NEXT_RUNS = """
UPDATE triggers
   SET next_run_at = CASE WHEN nullif((config->'max_runs')::text, 'null')::numeric <= runs THEN NULL
                          ELSE new.next_run_at END, updated_at = now()
  FROM unnest($2::uuid[], $3::timestamptz[]) AS new (id, next_run_at)
 WHERE triggers.tenant_id = $1 AND triggers.id = new.id
"""


async def set_next_runs(
    connection: Connection, tenant_id: UUID, next_runs: Sequence[tuple[UUID, datetime | None]]
) -> None:
    """Set when some schedules fire next; `None`: not at all. One that has run as often as it may does not."""
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
        slug=row["slug"],
        tenant_slug=row["tenant_slug"],
    )
