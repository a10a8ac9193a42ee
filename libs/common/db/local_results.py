"""What local actions gave, so that none acts twice.

The journal tries a transaction again when its answer was lost. If it had been committed, what its local actions gave
stands here, written in that same transaction.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection

ResultKey = tuple[UUID, UUID, str]
"""Tenant, execution, idempotency key."""

_FIND = """
SELECT r.tenant_id, r.execution_id, r.key, r.output
  FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS wanted (tenant_id, execution_id, key)
  JOIN local_results r
    ON r.tenant_id = wanted.tenant_id AND r.execution_id = wanted.execution_id AND r.key = wanted.key
"""


async def find_results(connection: Connection, keys: Sequence[ResultKey]) -> dict[ResultKey, Any]:
    """The outputs of those actions that were done before."""
    rows = await connection.fetch(_FIND, *[[key[place] for key in keys] for place in range(3)])
    return {(row["tenant_id"], row["execution_id"], row["key"]): msgspec.json.decode(row["output"]) for row in rows}


_KEEP = """
INSERT INTO local_results (tenant_id, execution_id, key, output)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::json[])
"""


async def keep_results(connection: Connection, results: Sequence[tuple[ResultKey, Any]]) -> None:
    """Remember what these actions, done in this transaction, have given."""
    rows = [(*key, msgspec.json.encode(output).decode()) for key, output in results]
    if rows:
        await connection.execute(_KEEP, *[[row[place] for row in rows] for place in range(4)])


_FORGET = "DELETE FROM local_results WHERE created_at < now() - interval '24 hours'"


async def forget_old_results(connection: Connection) -> None:
    """What is older than 24 hours is gone, for every tenant: longer than any outage after which a transaction is tried
    again.
    """
    await connection.execute(_FORGET)
