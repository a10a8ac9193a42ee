"""What senders call their events: the same id within 24 hours is the same event."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection


class EventClaim(msgspec.Struct, frozen=True):
    """An event under its sender's id. `request_hash` tells another event under the same id from a repetition."""

    tenant_id: UUID
    dedupe_id: str
    request_hash: bytes
    event_id: UUID


_CLAIM = """
INSERT INTO event_ids (tenant_id, dedupe_id, request_hash, event_id)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::uuid[]) AS c (tenant_id, dedupe_id, hash, event_id)
 ORDER BY tenant_id, dedupe_id
ON CONFLICT (tenant_id, dedupe_id) DO NOTHING
"""
_FIND = """
SELECT k.tenant_id, k.dedupe_id, k.request_hash, k.event_id
  FROM unnest($1::uuid[], $2::text[]) AS wanted (tenant_id, dedupe_id)
  JOIN event_ids k ON k.tenant_id = wanted.tenant_id AND k.dedupe_id = wanted.dedupe_id
"""


async def claim_event_ids(
    connection: Connection, claims: Sequence[EventClaim]
) -> dict[tuple[UUID, str], tuple[bytes, UUID]]:
    """Each id stands for the claimed event, or for the one that had it before: hash and event by tenant and id.

    Waits for transactions that claim one of them at this moment; in order, so that two never wait for each other.
    """
    columns = [list(column) for column in zip(*[msgspec.structs.astuple(claim) for claim in claims], strict=True)]
    await connection.execute(_CLAIM, *columns)
    rows = await connection.fetch(_FIND, *columns[:2])
    return {(row["tenant_id"], row["dedupe_id"]): (row["request_hash"], row["event_id"]) for row in rows}


_FORGET = "DELETE FROM event_ids WHERE created_at < now() - interval '24 hours'"


async def forget_old_event_ids(connection: Connection) -> None:
    """Ids older than 24 hours are free again, for every tenant."""
    await connection.execute(_FORGET)
