"""Finding the triggers that an event may start: by tenant and pattern, those of all events of a transaction at once;
and who listens at all.
"""

from collections.abc import Sequence
from uuid import UUID

from libs.common.db.pool import Connection
from libs.common.domain.events import EventTrigger

# OFFSET 0 keeps the look-up as it stands: planned while there are few triggers, a join would go through all of them.
_FIND = """
SELECT wanted.tenant_id, found.id, found.key, wanted.pattern, found.conditions, found.workflow_id, found.name,
       found.version, found.slug, found.transform, found.input_schema
  FROM unnest($1::uuid[], $2::text[]) AS wanted (tenant_id, pattern)
 CROSS JOIN LATERAL (
       SELECT tr.id, tr.key, tr.conditions, tr.workflow_id, w.name, w.version, t.slug,
              nullif((tr.config -> 'transform')::text, 'null') AS transform,
              v.definition ->> 'input_schema' AS input_schema
         FROM triggers tr
         JOIN workflows w ON w.tenant_id = tr.tenant_id AND w.id = tr.workflow_id AND w.enabled AND w.deleted_at IS NULL
         JOIN workflow_versions v ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id AND v.version = w.version
         JOIN tenants t ON t.tenant_id = tr.tenant_id AND t.status = 'active'
        WHERE tr.tenant_id = wanted.tenant_id AND tr.type = 'event' AND tr.event = wanted.pattern
          AND tr.enabled OFFSET 0) AS found
"""


async def find_event_triggers(connection: Connection, wanted: Sequence[tuple[UUID, str]]) -> list[EventTrigger]:
    """The triggers that have one of these patterns (tenant, pattern) and can start their workflow."""
    tenants, patterns = [tenant for tenant, _ in wanted], [pattern for _, pattern in wanted]
    return [EventTrigger(*row.values()) for row in await connection.fetch(_FIND, tenants, patterns)]


_ON_ENDS = """
SELECT tenant_id FROM triggers WHERE type = 'event' AND config ->> 'event' LIKE 'execution.%'
 UNION
SELECT tenant_id FROM event_waits WHERE event LIKE 'execution.%'
"""


async def tenants_on_ends(connection: Connection) -> frozenset[UUID]:
    """The tenants in which a trigger or an execution waits for the ends of executions."""
    return frozenset(row["tenant_id"] for row in await connection.fetch(_ON_ENDS))


_LISTENING = """
SELECT x.tenant_id FROM unnest($1::uuid[]) AS x (tenant_id)
 CROSS JOIN LATERAL (
       (SELECT FROM triggers t
         WHERE t.tenant_id = x.tenant_id AND t.type = 'event' AND t.event = ANY ($2::text[]) LIMIT 1)
        UNION ALL
       (SELECT FROM event_waits w WHERE w.tenant_id = x.tenant_id AND w.event = ANY ($2::text[]) LIMIT 1)) AS found
"""


async def listening_tenants(connection: Connection, tenants: Sequence[UUID], patterns: Sequence[str]) -> set[UUID]:
    """Those of the tenants in which a trigger or an execution waits for an event by one of these patterns."""
    return {row["tenant_id"] for row in await connection.fetch(_LISTENING, tenants, patterns)}
