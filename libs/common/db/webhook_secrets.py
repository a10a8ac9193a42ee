"""What may be shown of the secrets of webhook triggers: prefix, age, end, last use. The values are sealed elsewhere."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection


class StoredWebhookSecret(msgspec.Struct, frozen=True):
    """A secret by its prefix. `valid_until`: None for the one that counts until it is replaced; `last_used_at` is
    right to the minute.
    """

    id: UUID
    prefix: str
    created_at: datetime
    valid_until: datetime | None
    last_used_at: datetime | None


class NewWebhookSecret(msgspec.Struct, frozen=True):
    """A secret that a trigger has from now on."""

    trigger_id: UUID
    id: UUID
    prefix: str


_LIST = """
SELECT id, prefix, created_at, valid_until, last_used_at FROM webhook_secrets
 WHERE tenant_id = $1 AND trigger_id = $2 AND (valid_until IS NULL OR valid_until > $3)
 ORDER BY valid_until DESC NULLS FIRST
"""


async def list_webhook_secrets(
    connection: Connection, tenant_id: UUID, trigger_id: UUID, now: datetime
) -> list[StoredWebhookSecret]:
    """The secrets that are valid, the newest first."""
    rows = await connection.fetch(_LIST, tenant_id, trigger_id, now)
    return [StoredWebhookSecret(*row.values()) for row in rows]


_FORGET = "DELETE FROM webhook_secrets WHERE tenant_id = $1 AND trigger_id = ANY($2::uuid[])"
_INSERT = """
INSERT INTO webhook_secrets (tenant_id, trigger_id, id, prefix)
SELECT $1, * FROM unnest($2::uuid[], $3::uuid[], $4::text[])
"""


async def set_webhook_secrets(
    connection: Connection, tenant_id: UUID, trigger_ids: Sequence[UUID], new: Sequence[NewWebhookSecret]
) -> None:
    """The triggers have just these secrets. The triggers must be there. Part of the caller's transaction."""
    await connection.execute(_FORGET, tenant_id, trigger_ids)
    if new:
        await connection.execute(
            _INSERT, tenant_id, [one.trigger_id for one in new], [one.id for one in new], [one.prefix for one in new]
        )


# Who was before the present one ends at once: no more than two are valid.
_END_OLDER = "DELETE FROM webhook_secrets WHERE tenant_id = $1 AND trigger_id = $2 AND valid_until IS NOT NULL"
_END = "UPDATE webhook_secrets SET valid_until = $3 WHERE tenant_id = $1 AND trigger_id = $2 AND valid_until IS NULL"


async def rotate_webhook_secret(
    connection: Connection, tenant_id: UUID, new: NewWebhookSecret, previous_valid_until: datetime
) -> None:
    """The trigger has a new secret; the one before is valid until then. Part of the caller's transaction."""
    await connection.execute(_END_OLDER, tenant_id, new.trigger_id)
    await connection.execute(_END, tenant_id, new.trigger_id, previous_valid_until)
    await connection.execute(_INSERT, tenant_id, [new.trigger_id], [new.id], [new.prefix])


_SEAL = "UPDATE triggers SET sealed_secrets = $3 WHERE tenant_id = $1 AND id = $2"


async def seal_webhook_secrets(connection: Connection, tenant_id: UUID, trigger_id: UUID, sealed: bytes) -> None:
    """The trigger's secrets are what is sealed here."""
    await connection.execute(_SEAL, tenant_id, trigger_id, sealed)


# SKIP LOCKED: who is first notes the use, nobody waits for another's note.
_NOTE_USES = """
WITH held AS (
    SELECT s.tenant_id, s.trigger_id, s.id, new.used_at
      FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[]) AS new (tenant_id, trigger_id, id, used_at)
      JOIN webhook_secrets s ON s.tenant_id = new.tenant_id AND s.trigger_id = new.trigger_id AND s.id = new.id
     WHERE s.last_used_at IS NULL OR s.last_used_at < new.used_at
       FOR UPDATE OF s SKIP LOCKED)
UPDATE webhook_secrets s SET last_used_at = held.used_at FROM held
 WHERE s.tenant_id = held.tenant_id AND s.trigger_id = held.trigger_id AND s.id = held.id
"""


async def note_secret_uses(connection: Connection, uses: Sequence[tuple[UUID, UUID, UUID, datetime]]) -> None:
    """Secrets (tenant, trigger, id) were used at these times."""
    await connection.execute(_NOTE_USES, *[list(column) for column in zip(*uses, strict=True)])
