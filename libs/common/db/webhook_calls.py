"""The log of webhook calls, as it is read."""

from uuid import UUID

import msgspec

from libs.common.db.pool import Connection


class StoredCall(msgspec.Struct, frozen=True):
    """One call as it came in, without credentials. `headers` is JSON text."""

    trigger_id: UUID
    method: str
    query: str
    headers: str
    body: bytes | None


_FIND = "SELECT trigger_id, method, query, headers, body FROM webhook_logs WHERE tenant_id = $1 AND id = $2"


async def find_call(connection: Connection, tenant_id: UUID, call_id: UUID) -> StoredCall | None:
    """The call of that id."""
    row = await connection.fetchrow(_FIND, tenant_id, call_id)
    return None if row is None else StoredCall(*row.values())
