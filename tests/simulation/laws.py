"""What must hold in every world, whatever happens: looked at when a row changes, when an effect starts, and at the end.

- An execution moves only along the table of statuses; it ends once, and what has ended never changes again.
- What is recorded completed stays so, and no attempt is made after it. A record is closed once.
- An effect starts only when its attempt is on record and under no claim of somebody else, once for each record.
- Every record of an effect tells what the world outside really did; what was cancelled was interrupted.
- Where nothing fails a running execution that somebody cancels has ended within seconds.
- In the end everything has ended, no record is open, and the counts are those of the records.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import msgspec

from libs.common.domain.execution import NEXT_STATUSES, TERMINAL, ExecutionStatus
from libs.common.domain.steps import CRASH_LIMIT
from tests.simulation.tables import Row
from tests.simulation.ties import Ties, is_unstorable
from tests.simulation.workload import Workflow

_OPEN = ("started", "waiting")
_CLOSED = ("completed", "failed", "skipped", "cancelled", "unknown")
_CANCEL_SECONDS = 4.0
_LOCAL = ("create_record", "emit_event", "run_workflow")
_VALUES = ("output", "error", "state", "started_at", "finished_at")


@dataclass(slots=True)
class Performed:
    """One start of an effect. `attempt`: which of its records it is, if that is sure; `outcome` is empty while it runs,
    and for ever if its process was killed.
    """

    execution_id: UUID
    key: str
    iteration: int
    attempt: int | None = None
    outcome: str = ""


@dataclass(slots=True)
class Laws:
    """Collects what breaks them. `tell` is given every event, for the one who replays a seed; `now`: seconds; `calm`:
    whether nothing ever fails here, so that wishes must be heard soon.
    """

    tell: Callable[[str], None]
    now: Callable[[], float]
    calm: bool
    broken: list[str] = field(default_factory=list[str])
    performed: list[Performed] = field(default_factory=list[Performed])
    asked: dict[UUID, float] = field(default_factory=dict[UUID, float])
    """When somebody wanted an execution cancelled that was running."""
    workflows: dict[UUID, Workflow] = field(default_factory=dict[UUID, Workflow])
    ties: Ties | None = None
    """The laws between executions, of which this one knows nothing."""

    def _demand(self, holds: object, what: str) -> None:
        if not holds:
            self.tell(f"BROKEN {what}")
            self.broken.append(what)

    def appeared(self, row: Row) -> None:
        """Part of `database.Watch`."""
        self.tell(f"{_short(row.id)} is there")

    def moved(self, before: Row, after: Row) -> None:
        """Part of `database.Watch`."""
        self.tell(f"{_short(after.id)} {before.status}/{before.epoch} -> {after.status}/{after.epoch} {after.control}")
        self._look_at_ties(lambda ties: ties.moved(before, after))
        unwanted = {"parent_position": None, "parent_iteration": None}  # nobody waits for it any more
        forgotten = replace(before, **unwanted) == replace(after, **unwanted)
        self._demand(not before.ended or forgotten, f"{_short(after.id)} changes after its end")
        self._demand(after.epoch >= before.epoch, f"the epoch of {_short(after.id)} goes back")
        if after.control == "cancel":
            self.asked.setdefault(after.id, self.now())
        if self.calm and after.ended and before.status == "running" and after.id in self.asked:
            late = self.now() - self.asked[after.id] > _CANCEL_SECONDS
            self._demand(not late, f"{_short(after.id)} is {after.status} long after it was to be cancelled")
        if before.status != after.status:
            allowed = NEXT_STATUSES[ExecutionStatus(before.status)]
            self._demand(after.status in allowed, f"{_short(after.id)} goes from {before.status} to {after.status}")

    def recorded(self, row: Row, before: dict[str, Any] | None, after: dict[str, Any]) -> None:
        """Part of `database.Watch`."""
        name, status = _name(row, after), after["status"]
        self.tell(f"{name} is {status}")
        self._look_at_ties(lambda ties: ties.recorded(row, before, after))
        if before is None:
            done = [one for one in _of(row, after["key"], after["iteration"]) if one["status"] == "completed"]
            earlier = [one for one in done if one["attempt"] < after["attempt"]]
            self._demand(not earlier, f"{name} begins after it was completed")
        elif before["status"] in _CLOSED:
            values = ("output",) if after["type"] in _LOCAL else _VALUES  # their run tells of them once more
            same = before["status"] == status and all(before[value] == after[value] for value in values)
            self._demand(same, f"{name} was {before['status']} and becomes {status}")
        else:
            begun_here = before["status"] == "waiting" or after["state"] is not None
            self._demand(status != "waiting" or begun_here, f"{name} waits after it was started")

    def begin(self, row: Row, worker: UUID | None, key: str, iteration: int) -> int:
        """An effect starts; returns its number. `row`: its execution as it is stored."""
        self.performed.append(one := Performed(row.id, key, iteration))
        mine, records = self._starts(row.id, key, iteration), _of(row, key, iteration)
        name = f"{_short(row.id)}.{key}[{iteration}]"
        self.tell(f"{name} starts, number {len(self.performed) - 1}")
        self._demand(mine <= len(records), f"{name} starts {mine} times with {len(records)} attempts on record")
        last = records[-1]["status"] if records else "nothing"
        if row.worker == worker:
            one.attempt = records[-1]["attempt"] if records else None
            self._demand(last == "started", f"{name} starts and {last} is on record")
        return len(self.performed) - 1

    def end(self, number: int, outcome: str) -> None:
        """The effect did what it does."""
        self.performed[number].outcome = outcome
        self.tell(f"number {number}: {outcome}")

    def judge_sleepers(self, rows: Iterable[Row]) -> None:
        """These wait, and nothing goes on by itself any more."""
        for row in rows:
            self._look_at_ties(lambda ties, row=row: ties.judge_sleeper(row))

    def _look_at_ties(self, look: Callable[[Ties], Iterable[str]]) -> None:
        for what in () if self.ties is None else look(self.ties):
            self._demand(False, what)

    def judge_all(self, rows: Iterable[Row]) -> None:
        """Everything, after the end."""
        for row in rows:
            self._judge(row)
            self._look_at_ties(lambda ties, row=row: ties.judge(row))
            cancelled = {
                (record["key"], record["iteration"], record["attempt"])
                for record in row.attempts.values() if record["status"] == "cancelled"
            }  # fmt: skip
            for one in self.performed:
                if one.execution_id == row.id and one.outcome:
                    wrong = (one.key, one.iteration, one.attempt) in cancelled
                    self._demand(not wrong, f"{_short(row.id)}.{one.key} is cancelled on record and {one.outcome}")

    def _judge(self, row: Row) -> None:
        """An execution that has ended, after everything."""
        name, records = _short(row.id), [row.attempts[place] for place in sorted(row.attempts)]
        still = [_name(row, one) for one in records if one["status"] in _OPEN]
        self._demand(not still, f"{name} ended as {row.status}, open are {', '.join(still)}")
        told: set[int] = set()
        for record in records:
            if record["type"] == "http_request":
                self._judge_effect(row, record, told)
        if row.status in ("completed", "failed", "timed_out") and not is_unstorable(row):
            self._judge_counts(row, records)
        self._judge_end(row, records)

    def _judge_effect(self, row: Row, record: dict[str, Any], told: set[int]) -> None:
        number = _number(record)
        if number is None:
            return
        one, name = self.performed[number], _name(row, record)
        there = (one.execution_id, one.key, one.iteration) == (row.id, record["key"], record["iteration"])
        self._demand(there and one.outcome == record["status"], f"{name} is {record['status']}, number {number} not")
        self._demand(number not in told, f"{name} tells again of number {number}")
        told.add(number)

    def _judge_counts(self, row: Row, records: list[dict[str, Any]]) -> None:
        finals = {(one["position"], one["iteration"]): one["status"] for one in records}
        counted = [list(finals.values()).count(status) for status in ("completed", "failed")]
        self._demand(
            row.executed == sum(counted) <= row.total and row.failed == counted[1],
            f"{_short(row.id)} counts {row.executed} of {row.total}, {row.failed} failed; its records say {counted}",
        )

    def _judge_end(self, row: Row, records: list[dict[str, Any]]) -> None:
        """It ended as it would have without any fault, unless somebody or its own time ended it."""
        self._demand(ExecutionStatus(row.status) in TERMINAL, f"{_short(row.id)} stays {row.status}")
        doubts = sum(1 for one in records if one["status"] == "unknown")
        if row.status in ("completed", "failed") and doubts <= CRASH_LIMIT and not is_unstorable(row):
            expected = self.workflows[row.workflow_id].expected if self._is_undisturbed(row) else ""
            self._demand(expected in ("", row.status), f"{_short(row.id)} is {row.status} instead of {expected}")

    def _is_undisturbed(self, row: Row) -> bool:
        """Whether nothing but faults that are to be survived has touched it and those that it started."""
        if row.trigger_type not in ("manual", "workflow"):
            return False
        return self.ties is None or all(
            child.status == self.workflows[child.workflow_id].expected for child in self.ties.children_of(row)
        )

    def _starts(self, execution_id: UUID, key: str, iteration: int) -> int:
        wanted = (execution_id, key, iteration)
        return sum(1 for one in self.performed if (one.execution_id, one.key, one.iteration) == wanted)


def _of(row: Row, key: str, iteration: int) -> list[dict[str, Any]]:
    """The attempts of an action, the last one last."""
    return [
        one for _, one in sorted(row.attempts.items()) if one["key"] == key and one["iteration"] == iteration
    ]  # fmt: skip


def _number(record: dict[str, Any]) -> int | None:
    """The number of the start that a record tells of."""
    if record["status"] == "completed" and record["output"] is not None:
        return msgspec.json.decode(record["output"])["number"]
    if record["status"] == "failed" and record["error"] is not None:
        message: str = msgspec.json.decode(record["error"])["message"]
        return int(message.removeprefix("number ")) if message.startswith("number ") else None
    return None


def _name(row: Row, record: dict[str, Any]) -> str:
    return f"{_short(row.id)}.{record['key']}[{record['iteration']}]#{record['attempt']}"


def _short(identifier: UUID) -> str:
    return f"e{identifier.int & 0xFFFF}"
