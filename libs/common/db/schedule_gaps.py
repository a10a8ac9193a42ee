"""Gaps: slots that nobody looked at in time, to be written into the ledger a batch at a time."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection


class Gap(msgspec.Struct, frozen=True):
    """The slots of a schedule from `from_at` until before `until_at`. `config`: JSON text, as it was then; `written`:
    how many are in the ledger.
    """

    tenant_id: UUID
    trigger_id: UUID
    id: UUID
    config: str
    from_at: datetime
    until_at: datetime
    outcome: str
    reason: str
    written: int = 0


_ADD = """
INSERT INTO schedule_gaps (tenant_id, trigger_id, id, config, from_at, until_at, outcome, reason, written)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::json[], $5::timestamptz[], $6::timestamptz[], $7::text[],
                     $8::text[], $9::int[])
"""


async def add_gaps(connection: Connection, gaps: Sequence[Gap]) -> None:
    """The gaps are to be written."""
    if gaps:
        columns = zip(*[msgspec.structs.astuple(gap) for gap in gaps], strict=True)
        await connection.execute(_ADD, *[list(column) for column in columns])


_CLAIM = """
SELECT g.tenant_id, g.trigger_id, g.id, g.config, g.from_at, g.until_at, g.outcome, g.reason, g.written, now() AS now
  FROM schedule_gaps g ORDER BY g.id LIMIT $1 FOR UPDATE SKIP LOCKED
"""


async def claim_gaps(connection: Connection, limit: int) -> tuple[list[Gap], datetime | None]:
    """Gaps, locked for this transaction, the oldest first, and the database's clock (None without a gap)."""
    rows = await connection.fetch(_CLAIM, limit)
    return [Gap(*list(row.values())[:-1]) for row in rows], rows[0]["now"] if rows else None


_ADVANCE = """
UPDATE schedule_gaps g SET from_at = x.from_at, written = x.written
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[], $5::int[])
    AS x (tenant_id, trigger_id, id, from_at, written)
 WHERE g.tenant_id = x.tenant_id AND g.trigger_id = x.trigger_id AND g.id = x.id
"""
_CLOSE = """
DELETE FROM schedule_gaps g USING unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS x (tenant_id, trigger_id, id)
 WHERE g.tenant_id = x.tenant_id AND g.trigger_id = x.trigger_id AND g.id = x.id
"""


async def advance_gaps(connection: Connection, gaps: Sequence[Gap], closed: Sequence[Gap]) -> None:
    """The gaps stand where they say; those that are closed are gone."""
    if gaps:
        rows = [(g.tenant_id, g.trigger_id, g.id, g.from_at, g.written) for g in gaps]
        await connection.execute(_ADVANCE, *[list(column) for column in zip(*rows, strict=True)])
    if closed:
        rows = [(g.tenant_id, g.trigger_id, g.id) for g in closed]
        await connection.execute(_CLOSE, *[list(column) for column in zip(*rows, strict=True)])
