"""What the statements on signals, children, waits for events and approvals do to the tables."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from libs.common.db import approvals, children, event_waits, signals
from tests.simulation.tables import Answer, Flaw, Row, Statement, Tables, named

_PLACE = ("tenant_id", "execution_id", "position", "iteration")
_CHILD = (
    "tenant_id", "id", "workflow_id", "version", "trigger_type", "input", "actor", "traceparent", "parent_id",
    "parent_position", "parent_iteration",
)  # fmt: skip
_APPROVAL = (
    "tenant_id", "id", "execution_id", "position", "iteration", "title", "message", "expires_at"
)  # fmt: skip


class OnSignals:
    """Statements of `signals`, `children`, `event_waits` and `approvals`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.statements: dict[str, Statement] = {
            **named(signals, lock=self._lock, send=self._send, read=self._read, wake=self._wake, clear=self._clear,
                    close=self._close),
            **named(children, find=self._find_workflows, insert=self._insert, forget=self._forget, ended=self._ended,
                    open=self._open),
            **named(event_waits, add=self._add_waits, find=self._find_waits, remove=self._remove_waits),
            **named(approvals, ask=self._ask, decide=self._decide, find=self._find_approval),
        }  # fmt: skip

    # signals

    def _lock(self, tenants: Sequence[UUID], ids: Sequence[UUID]) -> Answer:
        if self._tables.flaw is not Flaw.SIGNALS_DO_NOT_LOCK:
            for row in self._living(tenants, ids):
                self._tables.lock("executions", row.id)
        return []

    def _living(self, tenants: Sequence[UUID], ids: Sequence[UUID]) -> list[Row]:
        told = sorted(set(zip(tenants, ids, strict=True)))
        return [row for row in self._tables.pairs([one[0] for one in told], [one[1] for one in told]) if not row.ended]

    def _send(self, *columns: Sequence[Any]) -> Answer:
        t, new = self._tables, list[UUID]()
        living = {row.id for row in self._living(columns[0], columns[1])}
        self._make_due(living)
        for *place, kind, value in zip(*columns, strict=True):
            if place[1] in living and tuple(place) not in t.signals:
                t.write("signals", tuple(place), {"kind": kind, "value": value, "sent_at": t.now()})
                new.append(place[1])
        return [{"execution_id": id_} for id_ in new]

    def _make_due(self, ids: set[UUID]) -> list[Row]:
        rows = [self._tables.executions[id_] for id_ in sorted(ids)]
        waiting = [row for row in rows if row.status == "waiting" and row.control != "pause"]
        for row in waiting:
            self._tables.put(row, wake_at=min(row.wake_at or self._tables.now(), self._tables.now()))
        return waiting

    def _read(self, tenants: Sequence[UUID], ids: Sequence[UUID]) -> Answer:
        wanted = set(zip(tenants, ids, strict=True))
        found = sorted(self._tables.signals.items())
        return [
            {**dict(zip(_PLACE, place, strict=True)), "kind": one["kind"], "value": one["value"]}
            for place, one in found if place[:2] in wanted and one["kind"] != "timeout"
        ]  # fmt: skip

    def _wake(self, *places: Sequence[Any]) -> Answer:
        if self._tables.flaw is Flaw.PARKED_ARE_NOT_LOOKED_AFTER:
            return []
        signals = self._tables.signals
        told = {
            place[1] for place in zip(*places, strict=True)
            if place in signals and signals[place]["kind"] != "timeout"
        }  # fmt: skip
        return [{"id": row.id} for row in self._make_due(told)]

    def _close(self, *places: Sequence[Any]) -> Answer:
        t, living = self._tables, {row.id for row in self._living(places[0], places[1])}
        for place in zip(*places, strict=True):
            if place[1] in living and place not in t.signals:
                t.write("signals", place, {"kind": "timeout", "value": "null", "sent_at": t.now()})
        return []

    def _clear(self, *places: Sequence[Any]) -> Answer:
        for place in zip(*places, strict=True):
            if place in self._tables.signals:
                self._tables.write("signals", place, None)
        return []

    # children

    def _find_workflows(self, tenants: Sequence[UUID], names: Sequence[str], ids: Sequence[UUID | None]) -> Answer:
        answer: Answer = []
        for place, (tenant_id, name, id_) in enumerate(zip(tenants, names, ids, strict=True), 1):
            for (tenant, workflow_id), one in self._tables.workflows.items():
                if tenant == tenant_id and (workflow_id == id_ or one["name"] == name):
                    answer.append(
                        {"place": place, "id": workflow_id, "version": one["version"], "enabled": True,
                         "input_schema": None}
                    )  # fmt: skip
                    break
        return answer

    def _insert(self, seconds: float, *columns: Sequence[Any]) -> Answer:
        t = self._tables
        for values in zip(*columns, strict=True):
            if values[1] not in t.executions:
                row = Row(
                    **dict(zip(_CHILD, values, strict=True)), trigger_id=None,
                    wake_at=t.now() + timedelta(seconds=seconds),
                )  # fmt: skip
                t.add(row)
        return []

    def _forget(self, *columns: Sequence[Any]) -> Answer:
        places = set(zip(*columns, strict=True))
        for row in list(self._tables.executions.values()):
            if (row.tenant_id, row.parent_id, row.parent_position, row.parent_iteration) in places:
                self._tables.put(row, parent_position=None, parent_iteration=None)
        return []

    def _ended(self, tenants: Sequence[UUID], ids: Sequence[UUID]) -> Answer:
        if self._tables.flaw is Flaw.PARENTS_ARE_NOT_TOLD:
            return []
        names = ("tenant_id", "parent_id", "parent_position", "parent_iteration", "id", "status", "output", "error")
        rows = self._tables.pairs(tenants, ids)
        return [
            {name: getattr(row, name) for name in names}
            for row in rows if row.ended and row.parent_position is not None
        ]  # fmt: skip

    def _open(self, tenants: Sequence[UUID], ids: Sequence[UUID]) -> Answer:
        if self._tables.flaw is Flaw.CHILDREN_LIVE_ON:
            return []
        parents = set(zip(tenants, ids, strict=True))
        return [
            {"tenant_id": row.tenant_id, "id": row.id}
            for row in self._tables.executions.values()
            if (row.tenant_id, row.parent_id) in parents and row.parent_position is not None and not row.ended
        ]  # fmt: skip

    # event_waits

    def _add_waits(self, *columns: Sequence[Any]) -> Answer:
        for *place, event, match, scope in zip(*columns, strict=True):
            self._tables.write("event_waits", tuple(place), {"event": event, "match": match, "scope": scope})
        return []

    def _find_waits(self, tenants: Sequence[UUID], events: Sequence[str]) -> Answer:
        wanted = set(zip(tenants, events, strict=True))
        return [
            {**dict(zip(_PLACE, place, strict=True)), **one}
            for place, one in self._tables.event_waits.items() if (place[0], one["event"]) in wanted
        ]  # fmt: skip

    def _remove_waits(self, *places: Sequence[Any]) -> Answer:
        for place in zip(*places, strict=True):
            if place in self._tables.event_waits:
                self._tables.write("event_waits", place, None)
        return []

    # approvals

    def _ask(self, *columns: Sequence[Any]) -> Answer:
        t = self._tables
        for values in zip(*columns, strict=True):
            new = dict(zip(_APPROVAL, values, strict=True))
            row = t.executions.get(new["execution_id"])
            if row is not None and row.tenant_id == new["tenant_id"] and new["id"] not in t.approvals:
                undecided = {"decided_at": None, "decision": None, "comment": None, "actor": None}
                t.write(
                    "approvals", new["id"], {**new, "workflow_id": row.workflow_id, "asked_at": t.now(), **undecided}
                )
        return []

    def _decide(
        self, tenant_id: UUID, id_: UUID, decision: str, comment: str | None, actor: str | None
    ) -> Answer:  # fmt: skip
        t = self._tables
        one = t.approvals.get(id_)
        if one is None or one["tenant_id"] != tenant_id or one["decided_at"] is not None:
            return []
        if one["expires_at"] is not None and one["expires_at"] <= t.now():
            return []
        decided = {**one, "decided_at": t.now(), "decision": decision, "comment": comment, "actor": actor}
        t.write("approvals", id_, decided)
        return [{name: decided[name] for name in ("execution_id", "position", "iteration", "decided_at")}]

    def _find_approval(self, tenant_id: UUID, id_: UUID) -> Answer:
        t = self._tables
        one = t.approvals.get(id_)
        if one is None or one["tenant_id"] != tenant_id:
            return []
        names = (
            "id", "execution_id", "workflow_id", "title", "message", "asked_at", "expires_at", "decided_at", "decision",
            "comment", "actor",
        )  # fmt: skip
        row = t.executions.get(one["execution_id"])
        expired = None if one["expires_at"] is None else one["expires_at"] <= t.now()
        return [{**{name: one[name] for name in names}, "ended": row is None or row.ended, "expired": expired}]
