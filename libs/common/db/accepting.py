"""The one statement that makes executions and webhook calls exist, together, in one round trip."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection

REPUBLISH_SECONDS = 2.0
"""An accepted execution that nobody took for so long is published again."""


class ExecutionRow(msgspec.Struct, frozen=True):
    """A new execution, to be `pending`. `input` is JSON text."""

    tenant_id: UUID
    id: UUID
    workflow_id: UUID
    version: int
    trigger_id: UUID | None
    trigger_type: str
    input: str
    actor: str | None
    traceparent: str
    priority: int | None = None


class CallRow(msgspec.Struct, frozen=True):
    """A webhook call. `headers` is JSON text, already redacted; `outcome`: `accepted`, `no_match` or the check that
    refused, `detail` why. `body` may be the beginning of what had `body_bytes`. `answer`: JSON text of what was
    answered when the outcome does not tell. `stands_for`: how many calls this one is the sample of. `version`: of the
    workflow.
    """

    tenant_id: UUID
    id: UUID
    trigger_id: UUID
    execution_id: UUID | None
    outcome: str
    status: int
    method: str
    query: str
    headers: str
    body: bytes | None
    ip: str
    user_agent: str
    microseconds: int
    detail: str = ""
    answer: str | None = None
    body_bytes: int | None = None
    stands_for: int = 1
    version: int | None = None
    replay_of: UUID | None = None


_ACCEPT = """
WITH accepted AS (
    INSERT INTO executions (tenant_id, id, workflow_id, version, trigger_id, trigger_type, input, actor, traceparent,
                            priority, wake_at)
    SELECT e.*, now() + make_interval(secs => $1)
      FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::int[], $6::uuid[], $7::text[], $8::json[], $9::text[],
                  $10::text[], $30::int2[]) AS e)
INSERT INTO webhook_logs (tenant_id, id, trigger_id, execution_id, outcome, status, method, query, headers, body, ip,
                          user_agent, microseconds, detail, answer, body_bytes, stands_for, version, replay_of)
SELECT * FROM unnest($11::uuid[], $12::uuid[], $13::uuid[], $14::uuid[], $15::text[], $16::int2[], $17::text[],
                     $18::text[], $19::json[], $20::bytea[], $21::text[], $22::text[], $23::int[], $24::text[],
                     $25::json[], $26::int[], $27::int[], $28::int[], $29::uuid[])
"""


async def insert_accepted(
    connection: Connection, executions: Sequence[ExecutionRow], calls: Sequence[CallRow] = ()
) -> None:
    """The executions exist, pending, and the calls are on record. Part of the caller's transaction if there is one."""
    *columns, priorities = _columns(executions, 10)
    await connection.execute(_ACCEPT, REPUBLISH_SECONDS, *columns, *_columns(calls, 19), priorities)


_PUT_OFF = """
UPDATE executions e SET status = 'waiting', wake_at = x.since + make_interval(secs => x.seconds)
  FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::float8[]) AS x (tenant_id, id, since, seconds)
 WHERE e.tenant_id = x.tenant_id AND e.id = x.id AND e.status = 'pending'
"""


async def put_off(connection: Connection, executions: Sequence[tuple[UUID, UUID, datetime, float]]) -> None:
    """New executions (tenant, execution, since when, seconds) wait until then; the scheduler's sweep announces them."""
    if executions:
        await connection.execute(_PUT_OFF, *[list(column) for column in zip(*executions, strict=True)])


def _columns(rows: Sequence[msgspec.Struct], width: int) -> list[list[object]]:
    if not rows:
        return [[] for _ in range(width)]
    return [list(column) for column in zip(*[msgspec.structs.astuple(row) for row in rows], strict=True)]
