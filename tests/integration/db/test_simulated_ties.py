"""As `test_simulated_database`, for what ties executions together: signals, children, approvals, waits for events and
slots. The same sequences of the product's own functions are put to PostgreSQL and to the simulated database.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import msgspec
import pytest

from libs.common.clock import new_id
from libs.common.db.accepting import insert_accepted
from libs.common.db.approvals import NewApproval, ask_approvals, decide
from libs.common.db.children import Child, leave_children, open_children, start_children
from libs.common.db.concurrency import Entry, enter
from libs.common.db.controlling import cancel_executions, pause_execution
from libs.common.db.ended import settle_ends
from libs.common.db.event_waits import EventWait, add_event_waits
from libs.common.db.events import raise_events
from libs.common.db.executions import ExecutionChange, change_executions
from libs.common.db.pool import Connection, Database
from libs.common.db.signals import Place, Signal, clear_signals, close_places, send_signals, signals_of, wake_signalled
from libs.common.db.slots import Place as Holder
from libs.common.db.slots import leave, watch_slots
from libs.common.domain.events import NewEvent
from libs.common.errors import Conflict, NotFound
from tests.factories import execution_change, make_tenant, make_workflow, new_execution
from tests.simulation.database import SimulatedDatabase
from tests.simulation.tables import Tables

_STEPS = 70
_HOUR = timedelta(hours=1)
_STATUSES = ("running", "running", "waiting", "waiting", "waiting", "completed", "failed")
_POLICIES = ("queue", "queue", "skip", "cancel_running")
_WAITED_FOR = ((0, 0), (1, 0), (None, None))
_PATTERNS = ("a.b", "a.*", "*")
_ROWS = """
SELECT id, status, epoch, wake_at, control, parent_id, parent_position, parent_iteration, error::text
  FROM executions WHERE tenant_id = $1 ORDER BY id
"""
_SLOTS = """
SELECT execution_id, workflow_id, key, capacity, state, replaced_by, told_at IS NULL AS untold
  FROM concurrency_slots WHERE tenant_id = $1 ORDER BY execution_id
"""
_SIGNALS = """
SELECT execution_id, position, iteration, kind, CASE WHEN kind <> 'approval' THEN value::text END AS value
  FROM signals WHERE tenant_id = $1 ORDER BY execution_id, position, iteration
"""
_WAITS = """
SELECT execution_id, position, iteration, event, match::text, scope::text
  FROM event_waits WHERE tenant_id = $1 ORDER BY execution_id, position, iteration
"""
_APPROVALS = "SELECT id, workflow_id, expires_at, decision, actor FROM approvals WHERE tenant_id = $1 ORDER BY id"

Step = Callable[[Connection], Awaitable[object]]


@dataclass
class History:
    """Steps by chance, of one tenant and one worker. `executions`: their ids, oldest first; `asked`: approvals."""

    chance: Random
    tenant: UUID
    workflow: UUID
    worker: UUID = field(default_factory=new_id)
    executions: list[UUID] = field(default_factory=list[UUID])
    asked: list[UUID] = field(default_factory=list[UUID])
    tables: Tables = field(default_factory=lambda: Tables(lambda: datetime.now(UTC)))

    def next(self) -> Step:
        """The next step."""
        if len(self.executions) < 4 or self.chance.random() < 0.05:
            return self._accept()
        kinds = [self._move] * 4 + [self._enter] * 3 + [self._leave, self._signal, self._wake_signalled, self._clear]
        kinds += [self._close]
        kinds += [self._start_children] * 2 + [self._forget_children, self._settle, self._cancel, self._pause]
        return self.chance.choice([*kinds, self._ask, self._decide, self._wait, self._raise, self._read])()

    def _one(self) -> UUID:
        open_ = [id_ for id_ in self.executions if not self.tables.executions[id_].ended]
        return self.chance.choice(open_ if open_ and self.chance.random() < 0.85 else self.executions)

    def _some(self) -> list[UUID]:
        return list({self._one() for _ in range(self.chance.randint(1, 3))})

    def _places(self) -> list[Place]:
        return [
            Place(self.tenant, id_, self.chance.randint(0, 1), 0) for id_ in self._some() for _ in range(1)
        ]  # fmt: skip

    def _accept(self) -> Step:
        new = [new_execution(self.tenant, self.workflow) for _ in range(2)]
        self.executions += [one.id for one in new]
        return lambda connection: insert_accepted(connection, [one.row() for one in new])

    def _move(self) -> Step:
        changes: list[ExecutionChange] = []
        for id_ in self._some():
            row, status = self.tables.executions[id_], self.chance.choice(_STATUSES)
            claims = row.status != "running"
            change = execution_change(self.tenant, id_, row.epoch + claims, status, claims=claims)
            wake_at = datetime.now(UTC) + _HOUR if status == "waiting" else None
            changes.append(msgspec.structs.replace(change, wake_at=wake_at))
        return lambda connection: change_executions(connection, self.worker, changes)

    def _signal(self) -> Step:
        signals = [
            Signal(self.tenant, one.execution_id, one.position, 0, "event", f'{{"n": {self.chance.randint(0, 9)}}}')
            for one in self._places()
        ]  # fmt: skip
        return _in_transaction(lambda connection: send_signals(connection, signals))

    def _wake_signalled(self) -> Step:
        places = self._places()
        return lambda connection: wake_signalled(connection, places)

    def _close(self) -> Step:
        places = self._places()
        return _in_transaction(lambda connection: close_places(connection, places))

    def _clear(self) -> Step:
        places = self._places()
        return lambda connection: clear_signals(connection, places)

    def _start_children(self) -> Step:
        children = [
            Child(self.tenant, new_id(), self.chance.choice(("Work", str(self.workflow), "none")), {"n": 1},
                  (self.workflow,), "workflow", "somebody", "", id_, *self.chance.choice(_WAITED_FOR))
            for id_ in self._some()
        ]  # fmt: skip
        self.executions += [one.id for one in children if one.workflow != "none"]
        return lambda connection: start_children(connection, children)

    def _forget_children(self) -> Step:
        places = self._places()
        return lambda connection: leave_children(connection, places)

    def _settle(self) -> Step:
        pairs = [(self.tenant, id_) for id_ in self._some()]

        async def settle(connection: Connection) -> object:
            await settle_ends(connection, pairs)
            return sorted(await open_children(connection, pairs))

        return _in_transaction(settle)

    def _cancel(self) -> Step:
        ids = self._some()
        return lambda connection: cancel_executions(connection, self.tenant, ids)

    def _pause(self) -> Step:
        id_ = self._one()
        return lambda connection: pause_execution(connection, self.tenant, id_)

    def _enter(self) -> Step:
        policy, limit = self.chance.choice(_POLICIES), self.chance.randint(1, 2)
        keys = self.chance.choice((("a",), ("a", "b")))
        entries = [
            Entry(self.tenant, self.workflow, id_, self.chance.choice(keys), limit, policy) for id_ in self._some()
        ]
        return lambda connection: enter(connection, entries)

    def _leave(self) -> Step:
        ended = [Holder(self.tenant, id_) for id_ in self.executions if self.tables.executions[id_].ended]
        parked = [Holder(self.tenant, self._one())]
        return _in_transaction(lambda connection: leave(connection, ended, parked))

    def _ask(self) -> Step:
        id_, expires_at = new_id(), datetime.now(UTC) + self.chance.choice((-_HOUR, _HOUR))
        one = NewApproval(self.tenant, id_, self._one(), 0, 0, "", "Well?", self.chance.choice((None, expires_at)))
        self.asked.append(id_)
        return lambda connection: ask_approvals(connection, [one])

    def _decide(self) -> Step:
        id_ = self.chance.choice([*self.asked, new_id()])
        decision = "approve" if self.chance.random() < 0.5 else "reject"

        async def say(connection: Connection) -> object:
            try:
                async with connection.transaction():
                    return (await decide(connection, self.tenant, id_, decision, None, "somebody")).status
            except (Conflict, NotFound) as error:
                return error.detail

        return say

    def _wait(self) -> Step:
        match = self.chance.choice((None, '"{{ event.data.n == 1 }}"'))
        waits = [
            EventWait(self.tenant, one.execution_id, one.position, 0, self.chance.choice(_PATTERNS), match, "{}")
            for one in self._places()
        ]  # fmt: skip
        return lambda connection: add_event_waits(connection, waits)

    def _raise(self) -> Step:
        names, dedupe = ("a.b", "a.c", "d"), self.chance.choice((None, "once"))
        events = [NewEvent(self.tenant, new_id(), self.chance.choice(names), f'{{"n":{n}}}', "api") for n in range(2)]
        again = NewEvent(self.tenant, new_id(), "a.b", "{}", "api", dedupe_id=dedupe)

        async def raise_(connection: Connection) -> object:
            raised = await raise_events(connection, [*events, again])
            return [(one.id, one.duplicate, one.execution_ids) for one in raised]

        return _in_transaction(raise_)

    def _read(self) -> Step:
        pairs = [(self.tenant, id_) for id_ in self._some()]

        async def read(connection: Connection) -> object:
            told = [(one.execution_id, one.position, one.kind) for one in await signals_of(connection, pairs)]
            watched = await watch_slots(connection, Holder(UUID(int=0), UUID(int=0)), 10_000)
            return told, [one for one in watched if one.tenant_id == self.tenant]

        return read


def _in_transaction(act: Step) -> Step:
    async def step(connection: Connection) -> object:
        async with connection.transaction():
            return await act(connection)

    return step


async def _at_once(act: Callable[[], Any], *, early: object) -> Any:
    del early
    return act()


def _plain(value: object) -> str:
    """An answer as text, without the order of sets."""
    return str(sorted(map(str, value))) if isinstance(value, set) else str(value)  # pyright: ignore[reportUnknownArgumentType]


def _simulated(tables: Tables) -> list[list[dict[str, Any]]]:
    names = ("tenant_id", "execution_id", "position", "iteration")
    placed = [
        [{**dict(zip(names, place, strict=True)), **one} for place, one in sorted(table.items())]
        for table in (tables.signals, tables.event_waits)
    ]
    for one in placed[0]:
        one["value"] = None if one["kind"] == "approval" else one["value"]
    return [
        [{name: getattr(row, name) for name in type(row).__slots__} for _, row in sorted(tables.executions.items())],
        [{**slot, "untold": slot["told_at"] is None} for _, slot in sorted(tables.slots.items())],
        *placed,
        [one for _, one in sorted(tables.approvals.items())],
    ]


def _same(one: object, other: object) -> bool:
    """Equal; of instants that the two clocks made, nearly."""
    if isinstance(one, datetime) and isinstance(other, datetime):
        far = one.year == other.year == datetime.max.year
        return far or abs(one.replace(tzinfo=UTC) - other.replace(tzinfo=UTC)) < timedelta(seconds=30)
    return one == other


@pytest.mark.parametrize("seed", range(12))
async def test_signals_children_and_slots_are_as_in_postgresql(database: Database, seed: int) -> None:
    async with database.connection() as real:
        tenant = await make_tenant(real, f"t{new_id().hex[-20:]}")
        history = History(Random(seed), tenant, await make_workflow(real, tenant))
        history.tables.workflows[tenant, history.workflow] = {"name": "Work", "version": 1}
        simulated = SimulatedDatabase(history.tables, _at_once)
        for _ in range(_STEPS):
            step = history.next()
            async with simulated.connection() as mirror:
                assert _plain(await step(real)) == _plain(await step(mirror))
            for query, rows in zip(
                (_ROWS, _SLOTS, _SIGNALS, _WAITS, _APPROVALS), _simulated(history.tables), strict=True
            ):
                stored = await real.fetch(query, tenant)
                assert len(stored) == len(rows)
                for row, other in zip(stored, rows, strict=True):
                    assert not {name for name, value in row.items() if not _same(value, other[name])}, (row, other)
