"""What senders of webhook calls name their deliveries: which execution each has started, for seven days."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection

Key = tuple[UUID, UUID, bytes]
"""Tenant, trigger and SHA-256 of what the sender calls the delivery."""


class Delivery(msgspec.Struct, frozen=True):
    """A delivery and the execution that it starts if it is the first of its name."""

    tenant_id: UUID
    trigger_id: UUID
    delivery: bytes
    execution_id: UUID

    @property
    def key(self) -> Key:
        return self.tenant_id, self.trigger_id, self.delivery


_CLAIM = """
INSERT INTO webhook_deliveries (tenant_id, trigger_id, delivery, execution_id)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::uuid[])
ON CONFLICT (tenant_id, trigger_id, delivery) DO NOTHING
RETURNING tenant_id, trigger_id, delivery, execution_id
"""
_FIND = """
SELECT d.tenant_id, d.trigger_id, d.delivery, d.execution_id
  FROM unnest($1::uuid[], $2::uuid[], $3::bytea[]) AS wanted (tenant_id, trigger_id, delivery)
  JOIN webhook_deliveries d ON d.tenant_id = wanted.tenant_id AND d.trigger_id = wanted.trigger_id
                           AND d.delivery = wanted.delivery
"""


async def claim_deliveries(connection: Connection, deliveries: Sequence[Delivery]) -> Mapping[Key, UUID]:
    """Each name stands for the first delivery that has it: the execution of that, for every name.

    Waits for transactions that claim one of the same names; in one order, so that no two wait for each other.
    """
    if not deliveries:
        return {}
    ordered = sorted(deliveries, key=lambda one: one.key)
    columns = [list(column) for column in zip(*[msgspec.structs.astuple(one) for one in ordered], strict=True)]
    held = {tuple(row.values())[:3]: row["execution_id"] for row in await connection.fetch(_CLAIM, *columns)}
    return held | await find_deliveries(connection, [one.key for one in ordered if one.key not in held])


async def find_deliveries(connection: Connection, keys: Sequence[Key]) -> dict[Key, UUID]:
    """The executions of those that are known."""
    if not keys:
        return {}
    rows = await connection.fetch(_FIND, *[list(column) for column in zip(*keys, strict=True)])
    return {(row["tenant_id"], row["trigger_id"], row["delivery"]): row["execution_id"] for row in rows}


_FORGET = "DELETE FROM webhook_deliveries WHERE created_at < now() - interval '7 days'"


async def forget_old_deliveries(connection: Connection) -> None:
    """Names older than seven days are free again, for every tenant."""
    await connection.execute(_FORGET)
