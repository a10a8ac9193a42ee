"""Executions that wait for an event, and the telling of those whose event has come.

A wait is there from the commit that parks its execution; an event that is raised before is not for it. Waits are found
by tenant and pattern, never by going through a table. One that is left behind, as its execution went on or ended
otherwise, harms nobody: an event removes it, or the housekeeping does.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection
from libs.common.db.signals import Place, Signal, send_signals
from libs.common.domain.event_match import match_holds
from libs.common.domain.event_names import patterns_for
from libs.common.domain.events import Happening

_PREFETCH = 500
"""Waits in memory at a time, of however many a tenant has."""


class EventWait(msgspec.Struct, frozen=True):
    """A place that waits for an event. `event`: a pattern; `match` and `scope`: JSON texts, see `event_match`."""

    tenant_id: UUID
    execution_id: UUID
    position: int
    iteration: int
    event: str
    match: str | None
    scope: str


_ADD = """
INSERT INTO event_waits (tenant_id, execution_id, position, iteration, event, match, scope)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[], $5::text[], $6::json[], $7::json[])
ON CONFLICT (tenant_id, execution_id, position, iteration) DO UPDATE
   SET event = excluded.event, match = excluded.match, scope = excluded.scope
"""


async def add_event_waits(connection: Connection, waits: Sequence[EventWait]) -> None:
    """The places wait. For whoever parks the executions, in the same transaction. Doing it again changes nothing."""
    if waits:
        columns = zip(*[msgspec.structs.astuple(wait) for wait in waits], strict=True)
        await connection.execute(_ADD, *[list(column) for column in columns])


_DROP = """
DELETE FROM event_waits w USING unnest($1::uuid[], $2::uuid[]) AS gone (tenant_id, id)
 WHERE w.tenant_id = gone.tenant_id AND w.execution_id = gone.id
"""


async def drop_event_waits(connection: Connection, executions: Sequence[tuple[UUID, UUID]]) -> None:
    """These executions (tenant, execution) wait for no event any more."""
    if executions:
        tenants, ids = [tenant for tenant, _ in executions], [execution for _, execution in executions]
        await connection.execute(_DROP, tenants, ids)


_FORGET = """
DELETE FROM event_waits w
 WHERE NOT EXISTS (SELECT FROM executions e
                    WHERE e.tenant_id = w.tenant_id AND e.id = w.execution_id AND e.finished_at IS NULL)
"""


async def forget_idle_waits(connection: Connection) -> None:
    """Waits of executions that have ended are gone, for every tenant."""
    await connection.execute(_FORGET)


_FIND = """
SELECT w.tenant_id, w.execution_id, w.position, w.iteration, w.event, w.match, w.scope
  FROM unnest($1::uuid[], $2::text[]) AS wanted (tenant_id, event)
  JOIN event_waits w ON w.tenant_id = wanted.tenant_id AND w.event = wanted.event
"""
_REMOVE = """
DELETE FROM event_waits w
 USING unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[]) AS told (tenant_id, execution_id, position, iteration)
 WHERE w.tenant_id = told.tenant_id AND w.execution_id = told.execution_id AND w.position = told.position
   AND w.iteration = told.iteration
"""


async def tell_waits(connection: Connection, happenings: Sequence[Happening]) -> dict[UUID, list[UUID]]:
    """Whoever waits for one of these events gets the first that fits as a signal and waits no more. Returns the
    executions by event. Part of the caller's transaction, which there must be.
    """
    found = await _fitting_waits(connection, happenings)
    if not found:
        return {}
    told: dict[UUID, list[UUID]] = {}
    signals: list[Signal] = []
    # In the order of their keys, as everybody takes locks: for waits of executions that have ended nothing else does.
    places = sorted(found, key=msgspec.structs.astuple)
    for place in places:
        happening = found[place]
        told.setdefault(happening.event.id, []).append(place.execution_id)
        at = (place.tenant_id, place.execution_id, place.position, place.iteration)
        signals.append(Signal(*at, "event", happening.signal))
    await send_signals(connection, signals)
    columns = zip(*[msgspec.structs.astuple(place) for place in places], strict=True)
    await connection.execute(_REMOVE, *[list(column) for column in columns])
    return told


async def _fitting_waits(connection: Connection, happenings: Sequence[Happening]) -> dict[Place, Happening]:
    """The places that wait for one of the events, each with the first event that it takes for its own."""
    by_pattern: dict[tuple[UUID, str], list[Happening]] = {}
    for happening in happenings:
        for pattern in patterns_for(happening.event.type):
            by_pattern.setdefault((happening.event.tenant_id, pattern), []).append(happening)
    tenants, patterns = [tenant for tenant, _ in by_pattern], [pattern for _, pattern in by_pattern]
    found: dict[Place, Happening] = {}
    async for row in connection.cursor(_FIND, tenants, patterns, prefetch=_PREFETCH):
        wait = EventWait(*row.values())
        kept: dict[str, Any] = msgspec.json.decode(wait.scope)
        for happening in by_pattern[wait.tenant_id, wait.event]:
            if match_holds(wait.match, kept, happening.seen, happening.at):
                found[Place(wait.tenant_id, wait.execution_id, wait.position, wait.iteration)] = happening
                break
    return found
