"""The simulated database gives the answers of PostgreSQL: the same sequences of the product's own query functions are
put to both, and answers, rows and records are compared after every step.

A simulation is worth what its model is worth; `tests/simulation` explores what follows from these answers.
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
from libs.common.db.announced import Announced, not_taken
from libs.common.db.controlling import cancel_executions, pause_execution, resume_execution, wishes_for
from libs.common.db.executions import (
    ActionRow,
    ExecutionChange,
    change_executions,
    load_pending,
    load_records,
    lost_executions,
    release_execution,
    release_executions_of,
    wake_due_executions,
)
from libs.common.db.pool import Connection, Database
from libs.common.db.workers import beat, dead_workers, retire
from tests.factories import action_row, execution_change, new_execution
from tests.simulation.database import SimulatedDatabase
from tests.simulation.tables import INFINITY, Answer, Row, Tables

_STEPS = 60
_HOUR = timedelta(hours=1)
_STATUSES = ("running",) * 6 + ("waiting",) * 5 + ("completed", "failed")
_ACTION_STATUSES = ("started", "completed", "failed", "waiting", "unknown")
_ROWS = """
SELECT id, status, epoch, worker, wake_at, output::text, error::text, total, executed, failed, skipped, started_at,
       finished_at, control
  FROM executions WHERE tenant_id = ANY ($1::uuid[]) ORDER BY id
"""
_RECORDS = """
SELECT execution_id, position, iteration, attempt, key, type, status, input::text, output::text, error::text,
       started_at, finished_at, wake_at, state::text
  FROM action_executions WHERE tenant_id = ANY ($1::uuid[]) ORDER BY execution_id, position, iteration, attempt
"""

Step = Callable[[Connection], Awaitable[object]]


@dataclass
class History:
    """Steps by chance, of two tenants, some workers and executions. `epochs`: what each execution's was, at most."""

    chance: Random
    tenants: list[UUID] = field(default_factory=lambda: [new_id(), new_id()])
    workers: list[UUID] = field(default_factory=lambda: [new_id() for _ in range(3)])
    executions: list[tuple[UUID, UUID]] = field(default_factory=list[tuple[UUID, UUID]])
    tables: Tables = field(default_factory=lambda: Tables(lambda: datetime.now(UTC)))

    def next(self) -> Step:
        """The next step. Most executions are met in the state in which the step does something."""
        if len(self._open()) < 3 or self.chance.random() < 0.03:
            return self._accept()
        return self.chance.choice(
            [self._change] * 8 + [self._control] * 3 + [self._wake, self._rescue, self._let_go, self._read, self._lease]
        )()

    def _open(self) -> list[tuple[UUID, UUID]]:
        return [one for one in self.executions if not self.tables.executions[one[1]].ended]

    def _one(self) -> tuple[UUID, UUID]:
        return self.chance.choice(self._open() if self.chance.random() < 0.9 else self.executions)

    def _accept(self) -> Step:
        new = [new_execution(self.chance.choice(self.tenants), self.tenants[0]) for _ in range(2)]
        self.executions += [(one.tenant_id, one.id) for one in new]
        return lambda connection: insert_accepted(connection, [one.row() for one in new])

    def _change(self) -> Step:
        """A flush of several executions: most believe what is true, some are late, some are of a foreign tenant."""
        chosen = list({self._one() for _ in range(self.chance.randint(1, 4))})
        changes, worker = [self._one_change(*one) for one in chosen], self._worker()
        holders = [row.worker for _, id_ in chosen if (row := self.tables.executions[id_]).worker is not None]
        if holders and self.chance.random() < 0.8:
            worker = self.chance.choice(holders)
        return lambda connection: change_executions(connection, worker, changes)

    def _one_change(self, tenant_id: UUID, execution_id: UUID) -> ExecutionChange:
        row, status = self.tables.executions[execution_id], self.chance.choice(_STATUSES)
        claims = row.status != "running" if self.chance.random() < 0.9 else self.chance.random() < 0.5
        epoch = row.epoch + claims + self.chance.choice((0, 0, 0, 0, 0, 0, -1, 1))
        if self.chance.random() < 0.05:
            tenant_id = self.tenants[tenant_id == self.tenants[0]]
        records = {place: self._record(*place) for place in self._places()}
        change = execution_change(tenant_id, execution_id, epoch, status, claims=claims, records=list(records.values()))
        return change if status != "waiting" else _parked(change, self._instant())

    def _places(self) -> list[tuple[int, int, int]]:
        return [
            (self.chance.randint(0, 2), self.chance.randint(0, 1), self.chance.randint(1, 2))
            for _ in range(self.chance.randint(0, 3))
        ]

    def _record(self, position: int, iteration: int, attempt: int) -> ActionRow:
        chance, status = self.chance, self.chance.choice(_ACTION_STATUSES)
        more = {"wake_at": self._instant()} if status in ("waiting", "failed") else {}
        return action_row(
            status, position, iteration=iteration, attempt=attempt, type=chance.choice(("log", "for_each")),
            input=chance.choice((None, '{"a": 1}')), output=chance.choice((None, '{"b": 2}')),
            state=chance.choice((None, "{}")), **more,
        )  # fmt: skip

    def _control(self) -> Step:
        tenant_id, execution_id = self._one()
        match self.chance.choice(("cancel", "pause", "pause", "resume", "resume")):
            case "cancel":
                ids = [execution_id, *(id_ for _, id_ in self.executions[:1])]
                return lambda connection: cancel_executions(connection, tenant_id, ids)
            case "pause":
                return lambda connection: pause_execution(connection, tenant_id, execution_id)
            case _:
                return lambda connection: resume_execution(connection, tenant_id, execution_id)

    def _wake(self) -> Step:
        patience = self.chance.choice((0.0, 60.0, 10_000.0))
        overtaken = self.chance.choice((None, self._instant()))
        return lambda connection: wake_due_executions(connection, 1_000, patience, overtaken)

    def _rescue(self) -> Step:
        dead = self.chance.sample(self.workers, self.chance.randint(0, 2))
        return lambda connection: release_executions_of(connection, dead)

    def _let_go(self) -> Step:
        tenant_id, execution_id = self._one()
        epoch = self.tables.executions[execution_id].epoch - self.chance.choice((0, 0, 1))
        return lambda connection: release_execution(connection, tenant_id, execution_id, epoch)

    def _read(self) -> Step:
        wanted = [*self.executions, (self.tenants[0], new_id()), (self.tenants[0], self.executions[-1][1])]
        worker = self._worker()
        held = [(*one, self.chance.choice((0, 1, self._epoch(one[1])))) for one in wanted]

        async def read(connection: Connection) -> object:
            pending = [_plain(row, "tenant_id", "id", "epoch") for row in await load_pending(connection, wanted)]
            records = [_plain(row, "execution_id", "status") for row in await load_records(connection, wanted)]
            wishes = await wishes_for(connection, worker)
            lost = await lost_executions(connection, held)
            untaken = await not_taken(connection, [Announced(*one, datetime.min.replace(tzinfo=UTC)) for one in held])
            ids = [one.id for one in untaken]
            return tuple(str(sorted(map(str, answer))) for answer in (pending, records, wishes, lost, ids))

        return read

    def _epoch(self, execution_id: UUID) -> int:
        row = self.tables.executions.get(execution_id)
        return 0 if row is None else row.epoch

    def _lease(self) -> Step:
        worker, retires = self._worker(), self.chance.random() < 0.3

        async def lease(connection: Connection) -> object:
            await (retire(connection, worker) if retires else beat(connection, worker, "executor"))
            return sorted(one for one in await dead_workers(connection) if one in self.workers)

        return lease

    def _worker(self) -> UUID:
        return self.chance.choice(self.workers)

    def _instant(self) -> datetime:
        """Long ago or far from now, so that two clocks agree on what is due."""
        return self.chance.choice((datetime.now(UTC) - _HOUR, datetime.now(UTC) + _HOUR, INFINITY))


def _parked(change: ExecutionChange, until: datetime) -> ExecutionChange:
    return msgspec.structs.replace(change, wake_at=until)


async def _at_once(act: Callable[[], Answer], *, early: Answer | None) -> Answer:
    del early
    return act()


def _plain(row: Any, *names: str) -> tuple[object, ...]:
    return tuple(row[name] for name in names)


def _comparable(value: object, own: set[UUID]) -> object:
    """An answer without its order, and without the executions of other histories."""
    if isinstance(value, set | list):
        answers: list[Any] = list(value)  # pyright: ignore[reportUnknownArgumentType] - whatever a query answers
        return sorted(str(one) for one in answers if getattr(one, "id", one) in own or not hasattr(one, "epoch"))
    return value


def _same(one: object, other: object) -> bool:
    """Equal; of instants that the two clocks made, nearly."""
    if isinstance(one, datetime) and isinstance(other, datetime):
        both = one.replace(tzinfo=UTC), other.replace(tzinfo=UTC)  # the driver tells of infinity without a zone
        return both[0] == both[1] if INFINITY in both else abs(both[0] - both[1]) < timedelta(seconds=30)
    return one == other


def _assert_same(stored: list[Any], simulated: list[dict[str, Any]]) -> None:
    assert len(stored) == len(simulated)
    for row, mirror in zip(stored, simulated, strict=True):
        differences = {name: (value, mirror[name]) for name, value in row.items() if not _same(value, mirror[name])}
        assert not differences


def _simulated_rows(tables: Tables) -> list[dict[str, Any]]:
    names = [name for name in Row.__slots__ if name != "attempts"]
    return [{name: getattr(row, name) for name in names} for _, row in sorted(tables.executions.items())]


def _simulated_records(tables: Tables) -> list[dict[str, Any]]:
    return [
        {**record, "execution_id": id_}
        for id_, row in sorted(tables.executions.items()) for _, record in sorted(row.attempts.items())
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(15))
async def test_the_simulated_database_answers_as_postgresql_does(database: Database, seed: int) -> None:
    history = History(Random(seed))
    simulated = SimulatedDatabase(history.tables, _at_once)
    async with database.connection() as real, simulated.connection() as mirror:
        for _ in range(_STEPS):
            step = history.next()
            answer, mirrored = await step(real), await step(mirror)
            own = set(history.tables.executions)
            assert _comparable(answer, own) == _comparable(mirrored, own)
            _assert_same(await real.fetch(_ROWS, history.tenants), _simulated_rows(history.tables))
            _assert_same(await real.fetch(_RECORDS, history.tenants), _simulated_records(history.tables))
