"""Everything that is sealed, of all tenants, page by page: for whoever looks whether it still opens. What is being
erased is left out: there nothing opens any more, and is not to.
"""

from uuid import UUID

import msgspec

from libs.common.db.pool import Connection


class SealedValue(msgspec.Struct, frozen=True):
    """A sealed value as the vault opens it; `record`: the name of a secret, the id of a trigger; None: it is the data
    key of the tenant.
    """

    tenant_id: UUID
    record: UUID | str | None
    sealed: bytes
    data_key: bytes | None


_SECRETS = """
SELECT s.tenant_id, s.name, s.sealed, t.data_key FROM secrets s JOIN tenants t USING (tenant_id)
 WHERE t.status <> 'erasing' AND ($1::uuid IS NULL OR (s.tenant_id, s.name) > ($1, $2::text))
 ORDER BY s.tenant_id, s.name LIMIT $3
"""


async def sealed_secrets(connection: Connection, after: SealedValue | None, limit: int) -> list[SealedValue]:
    """Secrets behind that one, in order."""
    place = (None, None) if after is None else (after.tenant_id, after.record)
    return [SealedValue(*row.values()) for row in await connection.fetch(_SECRETS, *place, limit)]


_TRIGGERS = """
SELECT s.tenant_id, s.id, s.sealed_secrets, t.data_key FROM triggers s JOIN tenants t USING (tenant_id)
 WHERE t.status <> 'erasing' AND s.sealed_secrets IS NOT NULL
   AND ($1::uuid IS NULL OR (s.tenant_id, s.id) > ($1, $2::uuid))
 ORDER BY s.tenant_id, s.id LIMIT $3
"""


async def sealed_triggers(connection: Connection, after: SealedValue | None, limit: int) -> list[SealedValue]:
    """Secrets of triggers behind that one, in order."""
    place = (None, None) if after is None else (after.tenant_id, after.record)
    return [SealedValue(*row.values()) for row in await connection.fetch(_TRIGGERS, *place, limit)]


_DATA_KEYS = """
SELECT tenant_id, NULL::text, data_key, NULL::bytea FROM tenants
 WHERE status <> 'erasing' AND data_key IS NOT NULL AND ($1::uuid IS NULL OR tenant_id > $1)
 ORDER BY tenant_id LIMIT $2
"""


async def sealed_data_keys(connection: Connection, after: SealedValue | None, limit: int) -> list[SealedValue]:
    """Data keys of tenants behind that one, in order."""
    place = None if after is None else after.tenant_id
    return [SealedValue(*row.values()) for row in await connection.fetch(_DATA_KEYS, place, limit)]
