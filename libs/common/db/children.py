"""Executions that an execution starts: sub-workflows, and what runs because it failed.

They are made in the transaction that records why, so there is one for each reason, whatever crashes. Making one again
under the same id is nothing: the journal may try its transaction again.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from libs.common.db.accepting import REPUBLISH_SECONDS
from libs.common.db.pool import Connection
from libs.common.db.signals import Place, Signal
from libs.common.domain.events import MAX_DEPTH
from libs.common.domain.execution import Failure
from libs.common.domain.json_schema import instance_faults

_SHOWN_FAULTS = 10
_decode = msgspec.json.decode
_encode = msgspec.json.encode


class Child(msgspec.Struct, frozen=True):
    """An execution to be. `workflow`: id or name; `data`: its input; `chain`: the workflows that led to it, the oldest
    first; `position`, `iteration`: where its parent waits for it, None when it does not.
    """

    tenant_id: UUID
    id: UUID
    workflow: str
    data: dict[str, Any]
    chain: tuple[UUID, ...]
    trigger_type: str
    actor: str | None
    traceparent: str
    parent_id: UUID
    position: int | None
    iteration: int | None

    @property
    def input(self) -> str:
        """As it is stored, JSON text: the shape is that of an event."""
        return _encode({"depth": len(self.chain), "chain": self.chain, "data": self.data}).decode()


class Started(msgspec.Struct, frozen=True):
    """An execution that is there now, to be announced after the commit."""

    tenant_id: UUID
    id: UUID
    workflow_id: UUID
    version: int
    traceparent: str


_FIND = """
SELECT x.place, w.id, w.version, w.enabled, v.definition -> 'input_schema' AS input_schema
  FROM unnest($1::uuid[], $2::text[], $3::uuid[]) WITH ORDINALITY AS x (tenant_id, name, id, place)
 CROSS JOIN LATERAL (
        SELECT id, version, enabled FROM workflows
         WHERE tenant_id = x.tenant_id AND id = x.id AND kind = 'workflow' AND deleted_at IS NULL
         UNION ALL
        SELECT id, version, enabled FROM workflows
         WHERE tenant_id = x.tenant_id AND name = x.name AND kind = 'workflow' AND deleted_at IS NULL LIMIT 1) AS w
  JOIN workflow_versions v ON v.tenant_id = x.tenant_id AND v.workflow_id = w.id AND v.version = w.version
"""
_INSERT = """
INSERT INTO executions (tenant_id, id, workflow_id, version, trigger_type, input, actor, traceparent, parent_id,
                        parent_position, parent_iteration, wake_at)
SELECT x.*, now() + make_interval(secs => $1)
  FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::int[], $6::text[], $7::json[], $8::text[], $9::text[],
              $10::uuid[], $11::int[], $12::int[]) AS x
ON CONFLICT (tenant_id, id) DO NOTHING
"""


async def start_children(connection: Connection, children: Sequence[Child]) -> list[Started | Failure]:
    """The children exist, pending, at the newest version of their workflows; or why not, in the order given."""
    if not children:
        return []
    found = await _find_workflows(connection, children)
    results = [_judged(child, found.get(place)) for place, child in enumerate(children, 1)]
    rows = [
        (c.tenant_id, c.id, made.workflow_id, made.version, c.trigger_type, c.input, c.actor, c.traceparent,
         c.parent_id, c.position, c.iteration)
        for c, made in zip(children, results, strict=True) if isinstance(made, Started)
    ]  # fmt: skip
    if rows:
        await connection.execute(_INSERT, REPUBLISH_SECONDS, *[[row[place] for row in rows] for place in range(11)])
    return results


async def _find_workflows(connection: Connection, children: Sequence[Child]) -> dict[int, Any]:
    tenants, names = [child.tenant_id for child in children], [child.workflow for child in children]
    rows = await connection.fetch(_FIND, tenants, names, [_as_id(name) for name in names])
    return {row["place"]: row for row in rows}


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _judged(child: Child, row: Any) -> Started | Failure:
    if len(child.chain) > MAX_DEPTH:
        return Failure("too_deep", f"more than {MAX_DEPTH} executions have started one another")
    if row is None:
        return Failure("not_found", f"there is no workflow {child.workflow!r}")
    if not row["enabled"]:
        return Failure("disabled", f"the workflow {child.workflow!r} is disabled")
    schema = None if row["input_schema"] is None else _decode(row["input_schema"])
    faults = [] if schema is None else instance_faults(schema, child.data, "input")
    if faults:
        return Failure("invalid_input", "; ".join(f"{fault.path} {fault.message}" for fault in faults[:_SHOWN_FAULTS]))
    return Started(child.tenant_id, child.id, row["id"], row["version"], child.traceparent)


_FORGET = """
UPDATE executions e SET parent_position = NULL, parent_iteration = NULL
  FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[]) AS x (tenant_id, parent_id, position, iteration)
 WHERE e.tenant_id = x.tenant_id AND e.parent_id = x.parent_id AND e.parent_position = x.position
   AND e.parent_iteration = x.iteration
"""


async def leave_children(connection: Connection, places: Sequence[Place]) -> None:
    """Nobody waits any more for the children that were started at these places before: what waits there from now on
    must not be told of them.
    """
    if places:
        columns = zip(*[msgspec.structs.astuple(place) for place in places], strict=True)
        await connection.execute(_FORGET, *[list(column) for column in columns])


_ENDED = """
SELECT e.tenant_id, e.parent_id, e.parent_position, e.parent_iteration, e.id, e.status, e.output, e.error
  FROM unnest($1::uuid[], $2::uuid[]) AS x (tenant_id, id)
  JOIN executions e ON e.tenant_id = x.tenant_id AND e.id = x.id
 WHERE e.parent_position IS NOT NULL AND e.finished_at IS NOT NULL
"""


async def signals_for_parents(connection: Connection, ended: Sequence[tuple[UUID, UUID]]) -> list[Signal]:
    """What those are to be told who wait for one of these executions (tenant, execution) that have ended."""
    rows = await connection.fetch(_ENDED, [tenant for tenant, _ in ended], [execution for _, execution in ended])
    return [
        Signal(
            row["tenant_id"], row["parent_id"], row["parent_position"], row["parent_iteration"], "execution",
            _how_it_ended(row),
        )
        for row in rows
    ]  # fmt: skip


def _how_it_ended(row: Any) -> str:
    output, error = row["output"] or "null", row["error"] or "null"
    return f'{{"execution_id":"{row["id"]}","status":"{row["status"]}","output":{output},"error":{error}}}'


# A child is younger than its parent, so older partitions are left alone. OFFSET 0 keeps the inner query for itself:
# only so is a child found by its parent, whatever the statistics were when the plan was made.
_OPEN = """
SELECT child.tenant_id, child.id
  FROM unnest($1::uuid[], $2::uuid[]) AS x (tenant_id, id)
 CROSS JOIN LATERAL (
       SELECT e.tenant_id, e.id FROM executions e
        WHERE e.tenant_id = x.tenant_id AND e.parent_id = x.id AND e.id > x.id AND e.parent_position IS NOT NULL
          AND e.finished_at IS NULL OFFSET 0) child
"""


async def open_children(connection: Connection, parents: Sequence[tuple[UUID, UUID]]) -> list[tuple[UUID, UUID]]:
    """The executions (tenant, execution) that these have waited for and that have not ended."""
    rows = await connection.fetch(_OPEN, [tenant for tenant, _ in parents], [parent for _, parent in parents])
    return [(row["tenant_id"], row["id"]) for row in rows]
