"""Raising events: what they start, whom they tell and the log of it, all of it in the caller's transaction.

    sender's ids ─ triggers by pattern ─ judge each ─ executions ─ signals to those who wait ─ log

So an event is on record exactly when its executions are; nothing is to be made up for after a crash. What was started
is announced on the bus after the commit (`Acceptor.announce_raised`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from libs.common.clock import id_time, new_id
from libs.common.db.accepting import ExecutionRow, Place, Started, insert_accepted
from libs.common.db.event_ids import EventClaim, claim_event_ids
from libs.common.db.event_triggers import find_event_triggers
from libs.common.db.event_waits import tell_waits
from libs.common.db.pool import Connection
from libs.common.domain.event_names import patterns_for
from libs.common.domain.events import EventTrigger, Happening, NewEvent, Outcome
from libs.common.errors import IdempotencyMismatch

_STATEMENT_BYTES = 8_388_608
"""Most bytes of input that one statement stores: one large event may start hundreds of executions."""

_decode_outcomes = msgspec.json.Decoder(list[Outcome]).decode


class EventIdTaken(IdempotencyMismatch):
    """Some of the senders' ids stand for other events; `event_ids`: which of the events to be raised have them."""

    def __init__(self, event_ids: frozenset[UUID]) -> None:
        super().__init__("An id was used within 24 hours for an event of another type or with other data.")
        self.event_ids = event_ids


class RaisedEvent(msgspec.Struct, frozen=True):
    """An event that is on record. `duplicate`: it was before; `id` and `execution_ids` are those of the first time."""

    id: UUID
    execution_ids: tuple[UUID, ...]
    started: tuple[Started, ...] = ()
    duplicate: bool = False


def unplaced(_: UUID) -> None:
    """A place for what is placed when it is announced."""


async def raise_events(
    connection: Connection, events: Sequence[NewEvent], place: Place = unplaced
) -> list[RaisedEvent]:
    """The events are on record, have started what they start and told who waits; one answer each, in their order.

    Part of the caller's transaction, which there must be. Raises `EventIdTaken` (nothing may be committed then).
    """
    known = await _known_ids(connection, events)
    raised = await _raise(connection, [event for event in events if known.get(event.id, event.id) == event.id], place)
    earlier = [(event.tenant_id, known[event.id]) for event in events if event.id not in raised]
    started = {event_id: event.execution_ids for event_id, event in raised.items()}
    started |= await _executions_of(connection, [event for event in earlier if event[1] not in raised])
    return [
        raised.get(event.id) or RaisedEvent(known[event.id], started.get(known[event.id], ()), duplicate=True)
        for event in events
    ]


async def _known_ids(connection: Connection, events: Sequence[NewEvent]) -> Mapping[UUID, UUID]:
    """For each event that has a sender's id the event that it is: itself, or an earlier one."""
    claims: dict[tuple[UUID, str], EventClaim] = {}
    hashes: dict[UUID, bytes] = {}
    for event in events:
        if event.dedupe_id is not None:
            hashes[event.id] = hashlib.sha256(f"{event.type}\n{event.data}".encode()).digest()
            claim = EventClaim(event.tenant_id, event.dedupe_id, hashes[event.id], event.id)
            claims.setdefault((event.tenant_id, event.dedupe_id), claim)
    if not claims:
        return {}
    held = await claim_event_ids(connection, list(claims.values()))
    known = {event.id: held[event.tenant_id, event.dedupe_id] for event in events if event.dedupe_id is not None}
    if taken := frozenset(event_id for event_id, (held_hash, _) in known.items() if held_hash != hashes[event_id]):
        raise EventIdTaken(taken)
    return {event_id: first_id for event_id, (_, first_id) in known.items()}


async def _raise(connection: Connection, events: Sequence[NewEvent], place: Place) -> dict[UUID, RaisedEvent]:
    if not events:
        return {}
    happenings = [Happening(event, id_time(event.id)) for event in events]
    triggers = await _triggers_for(connection, events)
    outcomes: dict[UUID, list[Outcome]] = {}
    raised: dict[UUID, RaisedEvent] = {}
    for happening in happenings:
        event = happening.event
        outcomes[event.id], started = _start(happening, triggers, place)
        raised[event.id] = RaisedEvent(event.id, tuple(one.row.id for one in started), tuple(started))
    await _insert_executions(connection, [one.row for event in raised.values() for one in event.started])
    for event_id, executions in (await tell_waits(connection, happenings)).items():
        outcomes[event_id] += [Outcome("told", execution_id) for execution_id in executions]
    await _log(connection, events, outcomes)
    return raised


async def _triggers_for(
    connection: Connection, events: Sequence[NewEvent]
) -> Mapping[tuple[UUID, str], list[EventTrigger]]:
    """The triggers by tenant and pattern."""
    wanted = {(event.tenant_id, pattern) for event in events for pattern in patterns_for(event.type)}
    found: dict[tuple[UUID, str], list[EventTrigger]] = {}
    for trigger in await find_event_triggers(connection, sorted(wanted)):
        found.setdefault((trigger.tenant_id, trigger.pattern), []).append(trigger)
    return found


def _start(
    happening: Happening, triggers: Mapping[tuple[UUID, str], list[EventTrigger]], place: Place
) -> tuple[list[Outcome], list[Started]]:
    """What becomes of an event at each trigger that fits, and the executions that it starts."""
    event, outcomes, started = happening.event, list[Outcome](), list[Started]()
    fitting = [t for pattern in patterns_for(event.type) for t in triggers.get((event.tenant_id, pattern), ())]
    for trigger in sorted(fitting, key=lambda trigger: trigger.id):
        outcome, data = happening.judge(trigger, len(started))
        if outcome.outcome == "started":
            row = ExecutionRow(
                event.tenant_id, new_id(), trigger.workflow_id, trigger.version, trigger.id, "event", data,
                event.actor, event.traceparent, lane=place(event.tenant_id),
            )  # fmt: skip
            started.append(Started(row, trigger.key))
            outcome = msgspec.structs.replace(outcome, execution_id=row.id)
        outcomes.append(outcome)
    return outcomes, started


async def _insert_executions(connection: Connection, rows: Sequence[ExecutionRow]) -> None:
    start, size = 0, 0
    for index, row in enumerate(rows):
        size += len(row.input)
        if size >= _STATEMENT_BYTES or index == len(rows) - 1:
            await insert_accepted(connection, rows[start : index + 1])
            start, size = index + 1, 0


_LOG = """
INSERT INTO events (tenant_id, id, type, data, source, depth, execution_id, dedupe_id, actor, started, told, outcomes)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::json[], $5::text[], $6::int[], $7::uuid[], $8::text[],
                     $9::text[], $10::int[], $11::int[], $12::json[])
"""


async def _log(connection: Connection, events: Sequence[NewEvent], outcomes: Mapping[UUID, list[Outcome]]) -> None:
    rows = [
        (
            event.tenant_id, event.id, event.type, event.data, event.source, event.depth, event.execution_id,
            event.dedupe_id, event.actor, sum(one.outcome == "started" for one in outcomes[event.id]),
            sum(one.outcome == "told" for one in outcomes[event.id]), msgspec.json.encode(outcomes[event.id]).decode(),
        )
        for event in events
    ]  # fmt: skip
    await connection.execute(_LOG, *[list(column) for column in zip(*rows, strict=True)])


_OUTCOMES = """
SELECT e.id, e.outcomes FROM unnest($1::uuid[], $2::uuid[]) AS wanted (tenant_id, id)
  JOIN events e ON e.tenant_id = wanted.tenant_id AND e.id = wanted.id
"""


async def _executions_of(connection: Connection, events: Sequence[tuple[UUID, UUID]]) -> dict[UUID, tuple[UUID, ...]]:
    """What events (tenant, event) that are on record have started."""
    if not events:
        return {}
    rows = await connection.fetch(_OUTCOMES, [tenant for tenant, _ in events], [event for _, event in events])
    return {
        row["id"]: tuple(
            one.execution_id
            for one in _decode_outcomes(row["outcomes"])
            if one.outcome == "started" and one.execution_id is not None
        )
        for row in rows
    }
