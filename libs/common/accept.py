"""THE door: whatever fires (a call, a click, the clock, an event) becomes an execution here and nowhere else.

`accept` answers after the commit that holds the execution and, for a webhook, the log of the call. The message to the
executors follows the commit; when it fails or this process dies first, the scheduler's sweep publishes it. So what
was answered with 202 runs, and it runs once, because taking an execution is a compare-and-set.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from uuid import UUID

import msgspec
import structlog

from libs.common.announce import Announcer
from libs.common.bus.messages import SNAPSHOT_BYTES, Ready, Snapshot, encode_snapshot
from libs.common.bus.protocol import Bus
from libs.common.clock import new_id
from libs.common.db.accepting import CallRow, ExecutionRow, Place, Started, insert_accepted
from libs.common.db.deliveries import Delivery, claim_deliveries, find_deliveries
from libs.common.db.events import EventIdTaken, RaisedEvent, raise_events
from libs.common.db.group_commit import GroupCommit
from libs.common.db.idempotency import claim_key
from libs.common.db.pool import Connection, Database
from libs.common.db.webhook_calls import CallAnswer, known_calls, note_answers
from libs.common.domain.events import NewEvent
from libs.common.domain.fairness import Lane
from libs.common.errors import IdempotencyMismatch, Unavailable
from libs.common.telemetry import metrics
from libs.common.telemetry.spans import around
from libs.common.windows import Windows

_ACCEPT = "accept"
_RAISES_TOGETHER = 64
"""Requests that raise events in one commit: each event may start hundreds of executions."""
_MANY_EVENTS = 8
"""A request with more of them is written by itself and after others like it: what it starts may be thousands."""

_log = structlog.get_logger(__name__)


class NewExecution(msgspec.Struct, frozen=True):
    """What shall run, and why. `input` is JSON text that holds what the trigger brought; `priority`: as the call
    says.
    """

    tenant_id: UUID
    workflow_id: UUID
    version: int
    trigger_id: UUID | None
    trigger_key: str
    trigger_type: str
    input: bytes
    actor: str | None = None
    traceparent: str = ""
    priority: int | None = None
    id: UUID = msgspec.field(default_factory=new_id)

    def at(self, place: str) -> "NewExecution":
        """The same, caused at that place of its trace."""
        return self if place == self.traceparent else msgspec.structs.replace(self, traceparent=place)

    def started(self, lane: Lane | None = None) -> Started:
        """As it is stored."""
        row = ExecutionRow(
            self.tenant_id, self.id, self.workflow_id, self.version, self.trigger_id, self.trigger_type,
            self.input.decode(), self.actor, self.traceparent, self.priority, lane,
        )  # fmt: skip
        return Started(row, self.trigger_key)

    def row(self) -> ExecutionRow:
        """The row of it, not placed yet."""
        return self.started().row


class Arrival(msgspec.Struct, frozen=True):
    """A call that starts an execution. `delivery`: SHA-256 of what its sender calls it; `event`: raised in the same
    commit.
    """

    execution: NewExecution
    call: CallRow
    delivery: bytes | None = None
    event: NewEvent | None = None

    def at(self, place: str) -> "Arrival":
        """The same, caused at that place of its trace."""
        if place == self.execution.traceparent:
            return self
        event = self.event and msgspec.structs.replace(self.event, traceparent=place)
        return msgspec.structs.replace(self, execution=self.execution.at(place), event=event)

    @property
    def claim(self) -> Delivery | None:
        """The name that this call claims, if its sender has named it."""
        new = self.execution
        return None if self.delivery is None else Delivery(
            new.tenant_id, self.call.trigger_id, self.delivery, new.id
        )  # fmt: skip


class Spooled(msgspec.Struct, frozen=True):
    """A call that waited on a disk: one that starts something, or one that is only logged."""

    arrival: Arrival | None = None
    call: CallRow | None = None

    @property
    def row(self) -> CallRow:
        """The call as it is logged."""
        row = self.call if self.arrival is None else self.arrival.call
        assert row is not None  # one of the two is there
        return row


class _Entry(msgspec.Struct, frozen=True):
    execution: NewExecution | None
    call: CallRow | None


class Acceptor:
    """Accepts executions, many in one commit, and announces them on the bus."""

    def __init__(self, database: Database, bus: Bus, windows: Windows | None = None) -> None:
        self._database, self._bus, self.windows = database, bus, windows
        self._announcer = Announcer(bus, windows)
        flush, failed = metrics.observe_accept_flush, metrics.count_accept_failures
        self._commits = GroupCommit[_Entry, None](self._write, observe=flush, failed=failed)
        self._arrivals = GroupCommit[Arrival, UUID](self._take, observe=flush, failed=failed)
        self._spooled = GroupCommit[Spooled, None](self._deliver, max_batch=128, lanes=1)
        self._notes = GroupCommit[CallAnswer, None](self._note, lanes=1)
        self._raises = GroupCommit[Sequence[NewEvent], list[RaisedEvent] | EventIdTaken](
            self._raise, max_batch=_RAISES_TOGETHER
        )
        self._large_raises = GroupCommit[Sequence[NewEvent], list[RaisedEvent] | EventIdTaken](
            self._raise, max_batch=1, lanes=1
        )

    async def accept(self, new: NewExecution, call: CallRow | None = None) -> UUID:
        """The execution (and the call that caused it) is committed. Raises `Unavailable` when the database is away."""
        with around(_ACCEPT, new.traceparent) as span:
            span.note_ids(tenant=new.tenant_id, execution=new.id)
            await self._commits.submit(_Entry(new.at(span.place), call))
        return new.id

    async def accept_call(self, arrival: Arrival) -> UUID:
        """The call is committed with its execution, or with that of the first call of the same name: that one's id.

        Raises `Unavailable` when the database is away. A call without a name and without an event costs no more than
        `accept`.
        """
        if arrival.delivery is None and arrival.event is None:
            return await self.accept(arrival.execution, arrival.call)
        new = arrival.execution
        with around(_ACCEPT, new.traceparent) as span:
            span.note_ids(tenant=new.tenant_id, execution=new.id)
            return await self._arrivals.submit(arrival.at(span.place))

    async def deliver(self, calls: Sequence[Spooled]) -> list[BaseException | None]:
        """Calls that waited are committed, each once however often it is delivered: None or the error of each."""
        return await self._spooled.submit_all(calls)

    async def find_delivery(self, tenant_id: UUID, trigger_id: UUID, delivery: bytes) -> UUID | None:
        """What the first call of this name has started, if there was one. Raises `Unavailable`."""
        key = (tenant_id, trigger_id, delivery)
        async with self._database.for_tenant(tenant_id).transaction() as connection:
            return (await find_deliveries(connection, [key])).get(key)

    async def log_call(self, call: CallRow) -> None:
        """A call that starts nothing is committed. Raises `Unavailable` when the database is away."""
        await self._commits.submit(_Entry(None, call))

    def note_answer(self, answer: CallAnswer) -> None:
        """What a call was answered that is on record already: stored soon, if the database is there."""
        with suppress(Unavailable):
            self._notes.enqueue(answer).add_done_callback(_noted)

    async def accept_once(self, new: NewExecution, key: str, request_hash: bytes) -> tuple[UUID, bool]:
        """As `accept`, at most once for this key: the execution's id, and whether it was there already.

        Raises `IdempotencyMismatch` when the key was used with another request.
        """
        with around(_ACCEPT, new.traceparent) as span:
            span.note_ids(tenant=new.tenant_id, execution=new.id)
            new = new.at(span.place)
            database = self._database.for_tenant(new.tenant_id)
            with self._announcer.placing() as place:
                async with database.transaction() as connection:
                    known_hash, execution_id = await claim_key(connection, new.tenant_id, key, request_hash, new.id)
                    if known_hash != request_hash:
                        raise IdempotencyMismatch("This Idempotency-Key was used with another request.")
                    if execution_id != new.id:
                        return execution_id, True
                    started = new.started(place(new.tenant_id))
                    await insert_accepted(connection, [started.row])
        self._announce([started])
        return new.id, False

    async def raise_events(self, events: Sequence[NewEvent]) -> list[RaisedEvent]:
        """The events are committed, all or none, with the executions that they start; one answer each.

        Raises `EventIdTaken`, `Unavailable`. Many requests share a commit; one that is refused takes nobody else's
        with it.
        """
        with around(_ACCEPT, events[0].traceparent if events else "") as span:
            lane = self._raises if len(events) <= _MANY_EVENTS else self._large_raises
            raised = await lane.submit([_at(event, span.place) for event in events])
        if isinstance(raised, EventIdTaken):
            raise raised
        return raised

    def announce_raised(self, raised: Sequence[RaisedEvent]) -> None:
        """Tell the executors, in the background, what events have started, once that is committed."""
        self._announce([started for event in raised for started in event.started])

    async def accept_within(self, connection: Connection, new: Sequence[NewExecution]) -> None:
        """The executions are part of the caller's transaction; call `announce` after its commit."""
        await insert_accepted(connection, [execution.row() for execution in new])

    def announce(self, new: Sequence[NewExecution]) -> None:
        """Tell the executors, in the background, of executions that are committed."""
        self._announce([execution.started() for execution in new])

    def announce_known(self, items: Sequence[Ready]) -> None:
        """Tell the executors, in the background, of executions that have a past: they read it from the rows."""
        self._announcer.announce(items)

    async def dead_letters(self) -> int:
        """Messages among the dead letters of the bus. Raises `Unavailable` when the broker can't say."""
        return await self._bus.dead_letters()

    async def close(self) -> None:
        """Everything taken is committed and announced."""
        await self._commits.close()
        await self._arrivals.close()
        await self._notes.close()
        await self._spooled.close()
        await self._raises.close()
        await self._large_raises.close()
        await self._announcer.close()

    def _announce(self, started: Sequence[Started]) -> None:
        """What was placed goes there; what was not is placed now."""
        self._announcer.announce([ready_of(one) for one in started if one.row.lane is None])
        placed = [(ready_of(one), lane) for one in started if (lane := one.row.lane) not in (None, Lane.HELD)]
        held = [one.row.tenant_id for one in started if one.row.lane is Lane.HELD]
        self._announcer.announce_placed(placed, held)

    async def _write(self, batch: Sequence[_Entry]) -> Sequence[None]:
        new = [entry.execution for entry in batch if entry.execution is not None]
        calls = [entry.call for entry in batch if entry.call is not None]
        with self._announcer.placing() as place:
            started = [execution.started(place(execution.tenant_id)) for execution in new]
            async with self._database.connection() as connection:
                await insert_accepted(connection, [one.row for one in started], calls)
        self._announce(started)
        return [None] * len(batch)

    async def _take(self, batch: Sequence[Arrival]) -> list[UUID]:
        with self._announcer.placing() as place:
            async with self._database.transaction() as connection:
                ids, started = await _store_arrivals(connection, batch, place)
        self._announce(started)
        return ids

    async def _deliver(self, batch: Sequence[Spooled]) -> list[None]:
        with self._announcer.placing() as place:
            async with self._database.transaction() as connection:
                known = await known_calls(connection, [(one.row.tenant_id, one.row.id) for one in batch])
                fresh = [one for one in batch if one.row.id not in known]
                arrivals = [one.arrival for one in fresh if one.arrival is not None]
                _, started = await _store_arrivals(connection, arrivals, place)
                await insert_accepted(connection, [], [one.call for one in fresh if one.call is not None])
        self._announce(started)
        return [None] * len(batch)

    async def _note(self, batch: Sequence[CallAnswer]) -> Sequence[None]:
        async with self._database.connection() as connection:
            await note_answers(connection, batch)
        return [None] * len(batch)

    async def _raise(self, batch: Sequence[Sequence[NewEvent]]) -> list[list[RaisedEvent] | EventIdTaken]:
        try:
            with self._announcer.placing() as place:
                async with self._database.transaction() as connection:
                    raised = await raise_events(connection, [event for events in batch for event in events], place)
        except EventIdTaken as error:
            return [error] if len(batch) == 1 else await self._raise_apart(batch, error)
        self.announce_raised(raised)
        answers = iter(raised)
        return [list(islice(answers, len(events))) for events in batch]

    async def _raise_apart(
        self, batch: Sequence[Sequence[NewEvent]], error: EventIdTaken
    ) -> list[list[RaisedEvent] | EventIdTaken]:
        """The requests with an id that is taken each alone: it may have been by another one of them, which is refused
        itself.
        """
        taken = [any(event.id in error.event_ids for event in events) for events in batch]
        others = [events for events, is_taken in zip(batch, taken, strict=True) if not is_taken]
        raised = iter(await self._raise(others) if others else [])
        return [
            (await self._raise([events]))[0] if is_taken else next(raised)
            for events, is_taken in zip(batch, taken, strict=True)
        ]


async def _store_arrivals(
    connection: Connection, arrivals: Sequence[Arrival], place: Place
) -> tuple[list[UUID], list[Started]]:
    """The calls are on record: the execution that each stands for, and what is new, by their events too."""
    held = await claim_deliveries(connection, [one.claim for one in arrivals if one.claim is not None])
    ids = [one.execution.id if one.claim is None else held[one.claim.key] for one in arrivals]
    first = [one for one, held_id in zip(arrivals, ids, strict=True) if one.execution.id == held_id]
    raised = await raise_events(connection, [one.event for one in first if one.event is not None], place)
    calls = [_as_taken(one, held_id) for one, held_id in zip(arrivals, ids, strict=True)]
    started = [one.execution.started(place(one.execution.tenant_id)) for one in first]
    await insert_accepted(connection, [one.row for one in started], calls)
    return ids, started + [one for event in raised for one in event.started]


def _at(event: NewEvent, place: str) -> NewEvent:
    return event if event.traceparent == place else msgspec.structs.replace(event, traceparent=place)


def _noted(note: "asyncio.Future[None]") -> None:
    if not note.cancelled() and note.exception() is not None:
        _log.debug("the answer of a call is not on record", reason=str(note.exception()))


def _as_taken(arrival: Arrival, execution_id: UUID) -> CallRow:
    """The call as it is logged: one that came before is a duplicate, and points at what the first has started."""
    if execution_id == arrival.execution.id:
        return arrival.call
    return msgspec.structs.replace(arrival.call, outcome="duplicate", execution_id=execution_id)


def ready_of(started: Started) -> Ready:
    """An execution as it is announced."""
    row, snapshot, content = started.row, b"", started.row.input.encode()
    if len(content) <= SNAPSHOT_BYTES:
        snapshot = encode_snapshot(
            Snapshot(row.trigger_id, started.trigger_key, row.trigger_type, content, row.actor)
        )  # fmt: skip
    return Ready(row.tenant_id, row.id, 0, row.workflow_id, row.version, snapshot, row.traceparent)
