"""The one statement that makes executions and webhook calls exist, together, in one round trip."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection
from libs.common.domain.fairness import STEP_SECONDS, Lane

REPUBLISH_SECONDS = 2.0
"""An accepted execution that nobody took for so long is published again."""


Place = Callable[[UUID], Lane | None]
"""Where the next execution of a tenant goes; None: that is found when it is announced."""


class ExecutionRow(msgspec.Struct, frozen=True):
    """A new execution, to be `pending`. `input` is JSON text; `lane`: where it goes, if that is known already; what is
    held waits for its tenant's turn from the start.
    """

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
    lane: Lane | None = None


class Started(msgspec.Struct, frozen=True):
    """An execution that is stored: to be announced after the commit. `trigger_key`: of what has fired, or empty."""

    row: ExecutionRow
    trigger_key: str


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


# The priority of the call counts, else that of the trigger as the version has it, else that of the workflow, which is
# found once for all that are held and have the same (MATERIALIZED: not once for each).
_ACCEPT = """
WITH given AS (
    SELECT * FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::int[], $6::uuid[], $7::text[], $8::json[], $9::text[],
                         $10::text[], $11::int2[], $12::bool[])
        AS e (tenant_id, id, workflow_id, version, trigger_id, trigger_type, input, actor, traceparent, priority,
              is_held)),
usual AS MATERIALIZED (
    SELECT g.tenant_id, g.workflow_id, g.version, g.trigger_id,
           coalesce((SELECT (spec ->> 'priority')::int FROM triggers t
                      CROSS JOIN json_array_elements(v.definition -> 'triggers') AS spec
                      WHERE t.tenant_id = g.tenant_id AND t.id = g.trigger_id AND spec ->> 'key' = t.key),
                    (v.definition ->> 'priority')::int) AS priority
      FROM (SELECT DISTINCT tenant_id, workflow_id, version, trigger_id FROM given
             WHERE is_held AND priority IS NULL) g
      JOIN workflow_versions v
        ON v.tenant_id = g.tenant_id AND v.workflow_id = g.workflow_id AND v.version = g.version),
accepted AS (
    INSERT INTO executions (tenant_id, id, workflow_id, version, trigger_id, trigger_type, input, actor, traceparent,
                            priority, wake_at, queue_rank)
    SELECT tenant_id, id, workflow_id, version, trigger_id, trigger_type, input, actor, traceparent, priority,
           now() + make_interval(secs => $1), NULL
      FROM given WHERE NOT is_held
     UNION ALL
    SELECT g.tenant_id, g.id, g.workflow_id, g.version, g.trigger_id, g.trigger_type, g.input, g.actor, g.traceparent,
           p.priority, 'infinity', now() - make_interval(secs => $32 * p.priority)
      FROM given g LEFT JOIN usual ON usual.tenant_id = g.tenant_id AND usual.workflow_id = g.workflow_id
                                  AND usual.version = g.version AND usual.trigger_id IS NOT DISTINCT FROM g.trigger_id
     CROSS JOIN LATERAL (SELECT coalesce(g.priority, usual.priority, 0) AS priority) AS p
     WHERE g.is_held)
INSERT INTO webhook_logs (tenant_id, id, trigger_id, execution_id, outcome, status, method, query, headers, body, ip,
                          user_agent, microseconds, detail, answer, body_bytes, stands_for, version, replay_of)
SELECT * FROM unnest($13::uuid[], $14::uuid[], $15::uuid[], $16::uuid[], $17::text[], $18::int2[], $19::text[],
                     $20::text[], $21::json[], $22::bytea[], $23::text[], $24::text[], $25::int[], $26::text[],
                     $27::json[], $28::int[], $29::int[], $30::int[], $31::uuid[])
"""


async def insert_accepted(
    connection: Connection, executions: Sequence[ExecutionRow], calls: Sequence[CallRow] = ()
) -> None:
    """The executions exist, pending, and the calls are on record. Part of the caller's transaction if there is one."""
    *columns, lanes = _columns(executions, 11)
    is_held = [lane is Lane.HELD for lane in lanes]
    await connection.execute(
        _ACCEPT, REPUBLISH_SECONDS, *columns, is_held, *_columns(calls, 19), float(STEP_SECONDS)
    )  # fmt: skip


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
