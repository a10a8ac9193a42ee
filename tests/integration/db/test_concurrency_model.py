"""Random histories of executions that enter, end, are cancelled, crash and come back, against a small model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal, NamedTuple
from uuid import UUID

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from libs.common.clock import new_id
from libs.common.db.concurrency import Entered, Entry, enter
from libs.common.db.controlling import cancel_executions
from libs.common.db.executions import change_executions, release_executions_of, wake_due_executions
from libs.common.db.pool import Connection, Database
from services.scheduler.slots import Slots
from tests.integration.db.slot_users import TENANT, WORKER, accepted, change_of, entry, follow, row, slots, write

SIZE = 8
"""So many executions, oldest first; those at even places have one key, those at odd ones another."""

Policy = Literal["queue", "skip", "cancel_running"]


class Enter(NamedTuple):
    """`crash`: the executor dies with the answer."""

    who: tuple[int, ...]
    policy: Policy = "queue"
    limit: int = 1
    crash: bool = False


class End(NamedTuple):
    """`leaves`: the slot is given back with it, as it should be."""

    who: int
    leaves: bool = True


class Cancel(NamedTuple):
    who: int


Event = Enter | End | Cancel | Literal["rescue", "wake", "mend"]

places = st.integers(0, SIZE - 1)
events = st.lists(
    st.one_of(
        *[
            st.builds(
                Enter,
                who=st.lists(places, min_size=1, max_size=3, unique=True).map(tuple),
                policy=st.sampled_from(["queue", "queue", "skip", "cancel_running"]),
                limit=st.integers(1, 3),
                crash=st.booleans(),
            )
        ]
        * 3,
        *[st.builds(End, who=places, leaves=st.sampled_from([True, True, False]))] * 2,
        st.builds(Cancel, who=places),
        st.sampled_from(["rescue", "wake", "mend"]),
    ),
    min_size=6,
    max_size=16,
)


@dataclass
class Slot:
    capacity: int
    state: Literal["held", "queued"] = "queued"
    replaced: bool = False


@dataclass
class Model:
    """What must be, by the place of each execution. `due`: of those that wait, who is woken."""

    status: list[str] = field(default_factory=lambda: ["pending"] * SIZE)
    slots: dict[int, Slot] = field(default_factory=dict[int, Slot])
    due: set[int] = field(default_factory=set[int])

    def of_key(self, one: int) -> list[int]:
        """Those with the key of that one, oldest first."""
        return sorted(other for other in self.slots if other % 2 == one % 2)

    def enter(self, event: Enter) -> list[str]:
        fresh = [one for one in event.who if one not in self.slots and self.status[one] != "ended"]
        self.slots |= {one: Slot(event.limit) for one in fresh}
        doomed = {one for key in fresh for one in self.replace(key)} if event.policy == "cancel_running" else set[int]()
        self.promote(fresh)
        for one in fresh:
            if self.slots[one].state == "queued" and (event.policy == "skip" or one in doomed):
                del self.slots[one]
        self.cancel(sorted(doomed - set(fresh)))
        return [self.slots[one].state if one in self.slots else "skipped" for one in event.who]

    def replace(self, key: int) -> set[int]:
        living = [one for one in reversed(self.of_key(key)) if not self.slots[one].replaced]
        older = living[self.slots[living[0]].capacity :] if living else []
        for one in older:
            self.slots[one].replaced = True
        return set(older)

    def promote(self, keys: Iterable[int]) -> None:
        for key in keys:
            mine = self.of_key(key)
            held = sum(self.slots[one].state == "held" for one in mine)
            queue = [one for one in mine if self.slots[one].state == "queued" and not self.slots[one].replaced]
            for one in queue[: max(0, self.slots[mine[-1]].capacity - held)] if mine else []:
                self.slots[one].state = "held"
                self.due |= {one} if self.status[one] == "waiting" else set()

    def cancel(self, who: Sequence[int]) -> None:
        parked = [one for one in who if self.status[one] in ("pending", "waiting")]
        for one in parked:
            self.status[one] = "ended"
        self.leave(parked)

    def leave(self, who: Sequence[int]) -> None:
        gone = [one for one in who if self.slots.pop(one, None)]
        self.due -= set(who)
        self.promote(gone)

    def follow(self, who: Sequence[int], answers: Sequence[str]) -> None:
        for one, answer in zip(who, answers, strict=True):
            if self.status[one] == "pending":
                self.status[one] = {"held": "running", "queued": "waiting", "skipped": "ended"}[answer]


@dataclass
class History:
    """One history: the executions, their workflow and the model."""

    connection: Connection
    database: Database
    ids: list[UUID]
    workflow: UUID = field(default_factory=new_id)
    model: Model = field(default_factory=Model)

    def entry(self, one: int, event: Enter) -> Entry:
        return entry(self.ids[one], workflow_id=self.workflow, key=f"{one % 2}", policy=event.policy, limit=event.limit)

    async def happen(self, event: Event) -> None:
        """It happens to the database and to the model."""
        model, connection = self.model, self.connection
        if isinstance(event, Enter):
            told: list[Entered] = await enter(connection, [self.entry(one, event) for one in event.who])
            answers = model.enter(event)
            assert [one.answer for one in told] == answers
            if not event.crash:
                await follow(connection, told)
                model.follow(event.who, answers)
        elif isinstance(event, End):
            await self.end(event)
        elif isinstance(event, Cancel):
            await cancel_executions(connection, TENANT, [self.ids[event.who]])
            model.cancel([event.who])
        elif event == "rescue":
            await release_executions_of(connection, [WORKER])
            model.status = ["pending" if status == "running" else status for status in model.status]
        elif event == "wake":
            await wake_due_executions(connection, 100_000, 1e6)
            for one in model.due:
                model.status[one] = "pending"
            model.due.clear()
        else:
            await Slots(self.database).work()
            model.leave([one for one in model.slots if model.status[one] == "ended"])

    async def end(self, event: End) -> None:
        if self.model.status[event.who] != "running":
            return
        change = await change_of(self.connection, self.ids[event.who], "completed")
        self.model.status[event.who] = "ended"
        if event.leaves:
            await write(self.connection, [change])
            self.model.leave([event.who])
        else:
            await change_executions(self.connection, WORKER, [change])

    async def compare(self) -> None:
        """The database is as the model says, and nobody queues for what is free."""
        found = await slots(self.connection)
        assert {self.ids.index(one): state for one, state in found.items()} == {
            one: slot.state for one, slot in self.model.slots.items()
        }
        for one, execution in enumerate(self.ids):
            status, _, due, _ = await row(self.connection, execution)
            assert ("ended" if status in ("completed", "cancelled") else status) == self.model.status[one]
            assert (status == "waiting" and bool(due)) == (one in self.model.due)
        for _, group in groupby(sorted(self.model.slots, key=lambda one: (one % 2, one)), lambda one: one % 2):
            of_key = [self.model.slots[one] for one in group]
            held = sum(slot.state == "held" for slot in of_key)
            is_free = held < of_key[-1].capacity
            assert not (is_free and any(slot.state == "queued" and not slot.replaced for slot in of_key))


@given(history=events)
@example([Enter((0, 2)), End(0, leaves=False), "mend", "wake", Enter((2,)), "rescue", Enter((2,))])
@example([Enter((0, 2, 4)), Enter((6,), "cancel_running"), End(0), Enter((6,), "cancel_running")])
@example([Enter((4,)), Enter((2,), "cancel_running"), Enter((0,), limit=3), Cancel(0), Enter((0,)), "mend"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_slots_are_as_the_model_says_whatever_happens(database: Database, history: list[Event]) -> None:
    async with database.connection() as connection:
        await connection.execute("DELETE FROM concurrency_slots")
        world = History(connection, database, await accepted(connection, SIZE))
        for event in history:
            await world.happen(event)
            await world.compare()
