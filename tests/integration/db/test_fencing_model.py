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


By = Literal["newcomer", "holder", "former", "thief", "guesser"]
"""Who writes: one that takes it, the last that took it, the one before, another at the row's epoch, or the last one at
an epoch that it never had.
"""


class Write(NamedTuple):
    """`twice`: as after a lost answer."""

    by: By
    status: str = "running"
    claims: bool = False
    worker: int = 0
    twice: bool = False


Event = Write | Literal["release", "wake", "cancel"]

writes = st.builds(
    Write,
    by=st.sampled_from(["newcomer", "newcomer", "newcomer", "holder", "holder", "former", "thief", "guesser"]),
    status=st.sampled_from(["running"] * 6 + ["waiting"] * 2 + ["completed", "failed"]),
    claims=st.booleans(),
    worker=st.integers(0, 1),
    twice=st.booleans(),
)
events = st.lists(
    st.one_of(writes, writes, writes, st.sampled_from(["release"] * 4 + ["wake"] * 3 + ["cancel"])),
    min_size=8,
    max_size=20,
)


@dataclass
class Model:
    """What the row must be. `records`: the positions that are on record; `takers`: who took it, at which epoch."""

    workers: list[UUID] = field(default_factory=lambda: [new_id(), new_id()])
    status: str = "pending"
    epoch: int = 0
    worker: UUID | None = None
    records: set[int] = field(default_factory=set[int])
    takers: list[tuple[UUID, int]] = field(default_factory=list[tuple[UUID, int]])

    def writer(self, event: Write) -> tuple[UUID, int]:
        """The worker that writes, and the epoch that it believes in."""
        before, last = [(self.workers[0], 0), (self.workers[0], 0), *self.takers][-2:]
        other = self.workers[last[0] == self.workers[0]]
        return {
            "newcomer": (self.workers[event.worker], self.epoch + 1),
            "holder": last,
            "former": before,
            "thief": (other, self.epoch),
            "guesser": (last[0], self.epoch + (2 if event.worker else -1)),
        }[event.by]

    def write(self, worker: UUID, epoch: int, status: str, *, claims: bool) -> bool:
        """Whether it counts."""
        takes = claims and (self.status, self.epoch) == ("pending", epoch - 1)
        if not takes and (self.status, self.epoch, self.worker) != ("running", epoch, worker):
            return False
        self.status, self.epoch, self.worker = status, epoch, worker if status == "running" else None
        self.takers += [(worker, epoch)] if takes else []
        return True

    def release(self) -> None:
        if self.status == "running":
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
        (worker, epoch), claims = model.writer(event), event.claims or event.by == "newcomer"
        records = [action_row("completed", position)]
        change = execution_change(TENANT, execution, epoch, event.status, claims=claims, records=records)
        for _ in range(1 + event.twice):
            counts = model.write(worker, epoch, event.status, claims=claims)
            model.records |= {position} if counts else set()
            assert await change_executions(connection, worker, [change]) == ({execution} if counts else set())
    elif event == "release":
        await release_executions_of(connection, [model.worker] if model.worker else [])
        model.release()
    elif event == "wake":
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


TAKE, PARK, ZOMBIE = Write("newcomer"), Write("newcomer", "waiting", twice=True), Write("former", "completed")


@given(history=events)
@example([TAKE, "release", TAKE, ZOMBIE, Write("thief", "failed", claims=True), Write("guesser"), "cancel"])
@example([Write("guesser", claims=True, worker=1), TAKE, Write("guesser"), Write("guesser", claims=True, worker=1)])
@example([PARK, "wake", Write("holder", claims=True), Write("newcomer", "completed", worker=1, twice=True), ZOMBIE])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_an_execution_is_written_by_its_holder_only_whatever_happens(
    database: Database, history: list[Event]
) -> None:
    model = Model()
    async with database.connection() as connection:
        execution = await make_execution(connection, TENANT, WORKFLOW)
        for position, event in enumerate(history):
            await happen(connection, execution, model, event, position)
            assert await stored(connection, execution) == (model.status, model.epoch, model.worker, model.records)
