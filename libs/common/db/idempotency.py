"""Idempotency keys: which execution a key of a tenant has started, for 24 hours."""

from uuid import UUID

from libs.common.db.pool import Connection

_CLAIM = """
INSERT INTO idempotency_keys (tenant_id, key, request_hash, execution_id) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, key) DO NOTHING
RETURNING execution_id
"""
_FIND = "SELECT request_hash, execution_id FROM idempotency_keys WHERE tenant_id = $1 AND key = $2"


async def claim_key(
    connection: Connection, tenant_id: UUID, key: str, request_hash: bytes, execution_id: UUID
) -> tuple[bytes, UUID]:
    """The key stands for `execution_id`, or already for another: returns the hash and the execution it stands for.

    Waits for a transaction that claims the same key at this moment.
    """
    if await connection.fetchval(_CLAIM, tenant_id, key, request_hash, execution_id) is not None:
        return request_hash, execution_id
    row = await connection.fetchrow(_FIND, tenant_id, key)
    return (row["request_hash"], row["execution_id"]) if row else (request_hash, execution_id)


_FORGET = "DELETE FROM idempotency_keys WHERE created_at < now() - interval '24 hours'"


async def forget_old_keys(connection: Connection) -> None:
    """Keys older than 24 hours are free again, for every tenant."""
    await connection.execute(_FORGET)
