"""The laws between executions: children and parents, who waits and who tells, slots, and what local actions wrote.

- Every attempt of `run_workflow` that began has started one execution; its record tells how that one really ended.
- What an execution that ends before its time has waited for has ended with it, or is asked to.
- What failed has started what runs because of a failure once; nothing else has.
- A local action has left its trace once for each record that says completed, and never without one.
- An action that asked somebody does what was decided, unless it was decided at the last moment.
- Only who holds a slot has begun; never more hold one than the limit says; whoever ends gives it back at that moment.
- When nothing goes on by itself, nobody sleeps who was told something, whose child has ended, or who could hold a slot.

Each look returns what is broken.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import msgspec

from tests.simulation.tables import Row, Tables
from tests.simulation.workload import Workflow

_FAILED = ("failed", "timed_out")


class Ties:
    """Looks at all tables, as they are committed."""

    def __init__(self, tables: Tables, workflows: Mapping[UUID, Workflow]) -> None:
        self._tables, self._workflows = tables, workflows

    def children_of(self, row: Row) -> list[Row]:
        """What its actions have run."""
        return [one for one in self._tables.executions.values() if _is_child(one, row, "workflow")]

    def moved(self, before: Row, after: Row) -> Iterator[str]:
        """The execution has changed."""
        if not after.ended or before.ended:
            return
        name = _short(after)
        if (after.tenant_id, after.id) in self._tables.slots:
            yield f"{name} ends and keeps its slot"
        if after.status != "completed":
            for child in self.children_of(after):
                if child.parent_position is not None and not child.ended and child.control != "cancel":
                    yield f"{name} is {after.status} and {_short(child)}, which it waits for, lives on"

    def recorded(self, row: Row, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Iterator[str]:
        """A record of the execution has changed."""
        concurrency = self._workflows[row.workflow_id].concurrency
        if concurrency is None or before is not None:
            return
        slot = self._tables.slots.get((row.tenant_id, row.id))
        if not row.ended and (slot is None or slot["state"] != "held"):
            yield f"{_short(row)}.{after['key']} begins without a slot"
        mine = [one for one in self._tables.slots.values() if one["workflow_id"] == row.workflow_id]
        if sum(one["state"] == "held" for one in mine) > concurrency.limit:
            yield f"more than {concurrency.limit} hold slots beside {_short(row)}"

    def judge(self, row: Row) -> Iterator[str]:
        """The execution has ended, and everything else too."""
        records = [row.attempts[place] for place in sorted(row.attempts)]
        yield from self._judge_children(row, [one for one in records if one["type"] == "run_workflow"])
        yield from self._judge_failure(row)
        for record in records:
            if _awaited(record) in ("approval", "doubt") or "approval_id" in _state(record):
                yield from self._judge_approval(row, record)
        yield from self._judge_traces(row, records)

    def _judge_children(self, row: Row, records: list[dict[str, Any]]) -> Iterator[str]:
        told: list[str] = []
        for record in records:
            value = _state(record) or _output(record)
            if "execution_id" not in value:
                continue
            told.append(value["execution_id"])
            child = self._tables.executions.get(UUID(value["execution_id"]))
            if child is None or child.parent_id != row.id:
                yield f"{_short(row)}.{record['key']} tells of a child that is not there"
            else:
                yield from self._judge_answer(row, record, child)
        children = sorted(str(child.id) for child in self.children_of(row))
        if sorted(told) != children and not is_unstorable(row):  # what its records said is gone
            yield f"{_short(row)} has {len(children)} children and records of {len(told)}"

    def _judge_answer(self, row: Row, record: dict[str, Any], child: Row) -> Iterator[str]:
        """A record of a child that was waited for says how it ended."""
        if not _state(record):
            return
        name, output = f"{_short(row)}.{record['key']}", _output(record)
        if record["status"] == "completed" and (output["status"], child.status) != ("completed", "completed"):
            yield f"{name} is completed, its child {child.status}"
        if record["status"] == "failed" and _error(record) == "child_failed" and child.status == "completed":
            yield f"{name} is failed, its child completed"

    def _judge_failure(self, row: Row) -> Iterator[str]:
        count = sum(_is_child(one, row, "failure") for one in self._tables.executions.values())
        must = self._workflows[row.workflow_id].on_failure and row.status in _FAILED and row.trigger_type != "failure"
        if count != must:
            yield f"{_short(row)} is {row.status}, and {count} run because of it"

    def _judge_approval(self, row: Row, record: dict[str, Any]) -> Iterator[str]:
        name, one = f"{_short(row)}.{record['key']}", self._tables.approvals.get(UUID(_state(record)["approval_id"]))
        if one is None:
            yield f"{name} waits for an approval that is not there"
        elif record["status"] == "completed" and record["type"] == "wait":
            if _output(record)["approved"] != (one["decision"] == "approve"):
                yield f"{name} says {_output(record)}, decided was {one['decision']}"
        elif _error(record) == "timeout" and record["type"] == "wait" and one["decision"] is not None:
            yield f"{name} had no answer in time, decided was {one['decision']}"
        elif _error(record) == "rejected" and one["decision"] != "reject":
            yield f"{name} is rejected, decided was {one['decision']}"

    def _judge_traces(self, row: Row, records: list[dict[str, Any]]) -> Iterator[str]:
        done = [one["type"] for one in records if one["status"] == "completed"]
        mine = str(row.id)
        made = [one for one in self._tables.records.values() if msgspec.json.decode(one["data"])["by"] == mine]
        raised = [
            one for one in self._tables.events.values() if one["execution_id"] == row.id and one["source"] == "action"
        ]
        for name, traces in (("create_record", made), ("emit_event", raised)):
            if done.count(name) != len(traces):
                yield f"{_short(row)} has {done.count(name)} records of {name}, which happened {len(traces)} times"

    def judge_sleeper(self, row: Row) -> Iterator[str]:
        """The execution waits for ever, unless somebody does something."""
        name, reasons = _short(row), 0
        if row.control == "pause":
            return
        slot = self._tables.slots.get((row.tenant_id, row.id))
        if slot is not None and slot["state"] == "queued":
            reasons += 1
            if not self._is_full(row):
                yield f"{name} queues, and a slot is free"
        for (position, iteration, _), record in row.attempts.items():
            if record["status"] != "waiting" or (what := _awaited(record)) is None:
                continue
            reasons += 1
            if (row.tenant_id, row.id, position, iteration) in self._tables.signals:
                yield f"{name}.{record['key']} was told something and sleeps"
            child = self._tables.executions.get(UUID(_state(record)["execution_id"])) if what == "execution" else None
            if child is not None and child.ended:
                yield f"{name}.{record['key']} waits for {_short(child)}, which has ended"
        if reasons == 0:
            yield f"{name} waits for nothing"

    def _is_full(self, row: Row) -> bool:
        concurrency = self._workflows[row.workflow_id].concurrency
        mine = [one for one in self._tables.slots.values() if one["workflow_id"] == row.workflow_id]
        return concurrency is not None and sum(one["state"] == "held" for one in mine) >= concurrency.limit


def is_unstorable(row: Row) -> bool:
    """Whether it ended because the database refused its records."""
    return row.error is not None and '"unstorable"' in row.error


def _is_child(one: Row, parent: Row, why: str) -> bool:
    return one.parent_id == parent.id and one.trigger_type == why


def _state(record: Mapping[str, Any]) -> dict[str, Any]:
    return {} if record["state"] is None else msgspec.json.decode(record["state"])


def _output(record: Mapping[str, Any]) -> dict[str, Any]:
    return {} if record["output"] is None else msgspec.json.decode(record["output"])


def _error(record: Mapping[str, Any]) -> str:
    return "" if record["error"] is None else msgspec.json.decode(record["error"])["class"]


def _awaited(record: Mapping[str, Any]) -> str | None:
    return _state(record).get("for")


def _short(row: Row) -> str:
    return f"e{row.id.int & 0xFFFF}"
