"""Ends of executions as events, where nobody runs them: what is cancelled while it is parked. (What runs, its executor
ends, and raises the event with the journal's write.)
"""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from libs.common.clock import new_id
from libs.common.db.events import raise_events
from libs.common.db.pool import Connection
from libs.common.domain.end_events import EndedRun, end_event
from libs.common.domain.events import next_chain

# Mostly nobody listens. OFFSET 0 keeps the planner from finding executions by their workflow.
_LOAD = """
SELECT e.tenant_id, e.id, e.workflow_id, w.name, e.version, e.status, e.trigger_type, e.input, e.output, e.error,
       e.started_at, e.finished_at, e.actor, e.traceparent
  FROM unnest($1::uuid[], $2::uuid[]) AS x (tenant_id, id)
 CROSS JOIN LATERAL (
       (SELECT FROM triggers t
         WHERE t.tenant_id = x.tenant_id AND t.type = 'event' AND t.config ->> 'event' LIKE 'execution.%' LIMIT 1)
        UNION ALL
       (SELECT FROM event_waits v WHERE v.tenant_id = x.tenant_id AND v.event LIKE 'execution.%' LIMIT 1)
        LIMIT 1) AS listener
 CROSS JOIN LATERAL (
       SELECT * FROM executions one
        WHERE one.tenant_id = x.tenant_id AND one.id = x.id AND one.finished_at IS NOT NULL OFFSET 0) AS e
  JOIN workflows w ON w.tenant_id = e.tenant_id AND w.id = e.workflow_id
"""


async def raise_ends(connection: Connection, ended: Sequence[tuple[UUID, UUID]]) -> None:
    """The ends of these executions (tenant, execution), of tenants in which somebody listens, are raised as events.

    Part of the caller's transaction. What they start is left to the sweep, which is never far.
    """
    if not ended:
        return
    tenants, ids = [tenant for tenant, _ in ended], [execution for _, execution in ended]
    rows = await connection.fetch(_LOAD, tenants, ids)
    if rows:
        await raise_events(connection, [end_event(_run(*row.values()), new_id()) for row in rows])


def _run(
    tenant_id: UUID, execution_id: UUID, workflow_id: UUID, name: str, version: int, status: str, trigger_type: str,
    brought: str, *rest: object,
) -> EndedRun:  # fmt: skip
    data = msgspec.json.decode(brought)
    output, error, started_at, finished_at, actor, traceparent = rest
    chain = next_chain(trigger_type, data, workflow_id)
    return msgspec.convert(
        {
            "tenant_id": tenant_id, "id": execution_id, "workflow_id": workflow_id, "workflow_name": name,
            "version": version, "status": status, "trigger_type": trigger_type, "data": data, "output": output,
            "error": error, "started_at": started_at, "finished_at": finished_at, "chain": chain, "actor": actor,
            "traceparent": traceparent,
        },
        EndedRun,
    )  # fmt: skip
