"""The log of events as people look at it. Reads only; times become bounds on the UUIDv7."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection
from libs.common.domain.events import Outcome

_LOWEST = UUID(int=0)
_HIGHEST = UUID(int=2**128 - 1)

_decode_outcomes = msgspec.json.Decoder(list[Outcome]).decode


class StoredEvent(msgspec.Struct, frozen=True):
    """An event without its data and outcomes, but with their numbers."""

    id: UUID
    type: str
    source: str
    depth: int
    execution_id: UUID | None
    dedupe_id: str | None
    actor: str | None
    started: int
    told: int


class StoredEventDetail(msgspec.Struct, frozen=True):
    """An event with all of it. `data` is JSON text."""

    event: StoredEvent
    data: str
    outcomes: Sequence[Outcome]


_LIST = """
SELECT id, type, source, depth, execution_id, dedupe_id, actor, started, told FROM events
 WHERE tenant_id = $1 AND id >= $2 AND id < $3
 ORDER BY id DESC LIMIT $4 OFFSET $5
"""
_LIST_OF_TYPE = """
SELECT id, type, source, depth, execution_id, dedupe_id, actor, started, told FROM events
 WHERE tenant_id = $1 AND type = $2 AND id >= $3 AND id < $4
 ORDER BY id DESC LIMIT $5 OFFSET $6
"""


async def list_events(
    connection: Connection, tenant_id: UUID, kind: str | None, *, first_id: UUID | None, before_id: UUID | None,
    limit: int, offset: int,
) -> list[StoredEvent]:  # fmt: skip
    """Newest first, from `first_id` inclusive to `before_id` exclusive, of all types or of one."""
    low, high = first_id or _LOWEST, before_id or _HIGHEST
    if kind is None:
        rows = await connection.fetch(_LIST, tenant_id, low, high, limit, offset)
    else:
        rows = await connection.fetch(_LIST_OF_TYPE, tenant_id, kind, low, high, limit, offset)
    return [StoredEvent(*row.values()) for row in rows]


_FIND = """
SELECT id, type, source, depth, execution_id, dedupe_id, actor, started, told, data, outcomes FROM events
 WHERE tenant_id = $1 AND id = $2
"""


async def find_event(connection: Connection, tenant_id: UUID, event_id: UUID) -> StoredEventDetail | None:
    """The event of that id."""
    row = await connection.fetchrow(_FIND, tenant_id, event_id)
    if row is None:
        return None
    *fields, data, outcomes = row.values()
    return StoredEventDetail(StoredEvent(*fields), data, _decode_outcomes(outcomes))
