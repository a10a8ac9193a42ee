"""Any order of claims, late writes, rescues, wake-ups and cancellations: one execution does what three lines of a model
say, answer by answer, and holds exactly the records of the writes that counted.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from uuid import UUID

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from libs.common.clock import new_id
from libs.common.db.controlling import cancel_executions
from libs.common.db.executions import change_executions, release_executions_of, wake_due_executions
from libs.common.db.pool import Connection, Database
from tests.factories import action_row, execution_change, make_execution

TENANT, WORKFLOW = new_id(), new_id()


class Write(NamedTuple):
    """Worker number `worker` writes, `ahead` epochs ahead of the row's; `twice` as after a lost answer."""

    worker: int
    ahead: int
    status: str
    claims: bool
    twice: bool = False


Event = Write | tuple[Literal["release"], int] | tuple[Literal["wake", "cancel"]]

writes = st.builds(
    Write,
    worker=st.integers(0, 2),
    ahead=st.sampled_from([0, 0, 0, 1, 1, 1, -1, 2]),
    status=st.sampled_from(["running", "running", "running", "waiting", "completed", "failed"]),
    claims=st.booleans(),
    twice=st.booleans(),
)
releases = st.tuples(st.just("release"), st.integers(0, 2))
others = st.sampled_from([("wake",), ("wake",), ("cancel",)])
events = st.lists(st.one_of(writes, writes, writes, releases, others), min_size=4, max_size=14)


@dataclass
class Model:
    """What the row must be. `records`: the positions that are on record."""

    workers: list[UUID] = field(default_factory=lambda: [new_id() for _ in range(3)])
    status: str = "pending"
    epoch: int = 0
    worker: UUID | None = None
    records: set[int] = field(default_factory=set[int])

    def write(self, worker: UUID, epoch: int, event: Write, position: int) -> bool:
        """Whether it counts."""
        holds = (self.status, self.epoch, self.worker) == ("running", epoch, worker)
        if not (holds or (event.claims and (self.status, self.epoch) == ("pending", epoch - 1))):
            return False
        self.status, self.epoch, self.worker = event.status, epoch, worker if event.status == "running" else None
        self.records.add(position)
        return True

    def release(self, worker: UUID) -> None:
        if self.worker == worker:
            self.status, self.epoch, self.worker = "pending", self.epoch + 1, None

    def wake(self) -> None:
        if self.status == "waiting":
            self.status = "pending"

    def cancel(self) -> None:
        if self.status in ("pending", "waiting"):
            self.status, self.epoch = "cancelled", self.epoch + 1


async def happen(connection: Connection, execution: UUID, model: Model, event: Event, position: int) -> None:
    """The event happens to the row and to the model."""
    if isinstance(event, Write):
        worker, epoch = model.workers[event.worker], model.epoch + event.ahead
        records = [action_row("completed", position)]
        change = execution_change(TENANT, execution, epoch, event.status, claims=event.claims, records=records)
        for _ in range(1 + event.twice):
            written = await change_executions(connection, worker, [change])
            assert written == ({execution} if model.write(worker, epoch, event, position) else set())
    elif event[0] == "release":
        await release_executions_of(connection, [model.workers[event[1]]])
        model.release(model.workers[event[1]])
    elif event[0] == "wake":
        await wake_due_executions(connection, 100_000, 0.0)
        model.wake()
    else:
        await cancel_executions(connection, TENANT, [execution])
        model.cancel()


async def stored(connection: Connection, execution: UUID) -> tuple[object, ...]:
    row = await connection.fetchrow("SELECT status, epoch, worker FROM executions WHERE id = $1", execution)
    assert row is not None
    records = await connection.fetch("SELECT position FROM action_executions WHERE execution_id = $1", execution)
    return (*row.values(), {record["position"] for record in records})


@given(history=events)
@example([Write(0, 1, "running", True), ("release", 0), Write(0, -1, "completed", False), Write(1, 1, "running", True)])
@example([Write(0, 1, "waiting", True, True), ("wake",), Write(0, 0, "running", False), Write(1, 1, "completed", True)])
@example([Write(0, 1, "running", True), Write(1, 0, "failed", True), ("cancel",), Write(0, 0, "waiting", False)])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_an_execution_is_written_by_its_holder_only_whatever_happens(
    database: Database, history: list[Event]
) -> None:
    model = Model()
    async with database.connection() as connection:
        execution = await make_execution(connection, TENANT, WORKFLOW)
        for position, event in enumerate(history):
            await happen(connection, execution, model, event, position)
            assert await stored(connection, execution) == (model.status, model.epoch, model.worker, model.records)
