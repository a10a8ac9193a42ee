"""Running an execution again from where it failed: a new execution that begins with the records of what was done."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.accepting import REPUBLISH_SECONDS
from libs.common.db.pool import Connection


class Repeatable(msgspec.Struct, frozen=True):
    """An execution that has ended. `input` is JSON text."""

    workflow_id: UUID
    version: int
    latest_version: int | None
    status: str
    trigger_type: str
    input: str


_FIND = """
SELECT e.workflow_id, e.version, CASE WHEN w.deleted_at IS NULL THEN w.version END AS latest_version, e.status,
       e.trigger_type, e.input
  FROM executions e LEFT JOIN workflows w ON w.tenant_id = e.tenant_id AND w.id = e.workflow_id
 WHERE e.tenant_id = $1 AND e.id = $2
"""


async def find_repeatable(connection: Connection, tenant_id: UUID, execution_id: UUID) -> Repeatable | None:
    """The execution and what it was made of; `latest_version` is None when its workflow is gone."""
    row = await connection.fetchrow(_FIND, tenant_id, execution_id)
    return None if row is None else Repeatable(*row.values())


class KeptAction(msgspec.Struct, frozen=True):
    """An action that was done before and is not done again. `index`: its place in a loop."""

    key: str
    type: str
    index: int
    finished_at: datetime


_REPEAT = """
WITH made AS (
    INSERT INTO executions (tenant_id, id, workflow_id, version, trigger_id, trigger_type, input, actor, traceparent,
                            wake_at, retry_of, original_id)
    SELECT tenant_id, $3, workflow_id, $4, trigger_id, trigger_type, $5::json, $6, $7,
           now() + make_interval(secs => $8), id, coalesce(original_id, id)
      FROM executions WHERE tenant_id = $1 AND id = $2
    RETURNING tenant_id),
known AS (
    SELECT DISTINCT ON (a.position, a.iteration) a.*
      FROM action_executions a
      JOIN unnest($9::int[], $10::text[], $11::text[]) AS same (position, key, type)
        ON same.position = a.position AND same.key = a.key AND same.type = a.type
     WHERE a.tenant_id = $1 AND a.execution_id = $2
     ORDER BY a.position, a.iteration, a.attempt DESC)
INSERT INTO action_executions (tenant_id, execution_id, position, iteration, attempt, key, type, status, input, output,
                               started_at, finished_at, state)
SELECT known.tenant_id, $3, position, iteration, 1, key, type,
       CASE status WHEN 'completed' THEN 'completed' ELSE 'started' END, input, output, started_at,
       CASE status WHEN 'completed' THEN finished_at END, state
  FROM known JOIN made USING (tenant_id)
 WHERE status = 'completed' OR type = 'for_each' AND state IS NOT NULL
RETURNING key, type, iteration, finished_at
"""


async def repeat_execution(
    connection: Connection, tenant_id: UUID, execution_id: UUID, *, new_id: UUID, version: int, input_json: str,
    actor: str | None, traceparent: str, actions: Sequence[tuple[int, str, str]],
) -> list[KeptAction]:  # fmt: skip
    """The new execution exists, pending, with a record of every completed action that the version still has in its
    place (`actions`: position, key, type). A loop that had begun goes on with the same items. Returns what is kept.
    """
    columns = ([one[0] for one in actions], [one[1] for one in actions], [one[2] for one in actions])
    rows = await connection.fetch(
        _REPEAT, tenant_id, execution_id, new_id, version, input_json, actor, traceparent, REPUBLISH_SECONDS, *columns
    )
    return [KeptAction(*row.values()) for row in rows if row["finished_at"] is not None]
