"""What the statements on slots of concurrency keys do to the tables."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from libs.common.db import concurrency, slots
from tests.simulation.tables import Answer, Flaw, Statement, Tables, named

_Slot = dict[str, Any]


class OnSlots:
    """Statements of `slots` and `concurrency`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.statements: dict[str, Statement] = {
            **named(slots, lock=self._lock, delete=self._delete, promote=self._promote, wake=self._wake,
                    watch=self._watch),
            **named(concurrency, hold_living=self._hold_living, queue_up=self._queue_up, replace=self._replace,
                    turn_away=self._turn_away, tell=self._tell),
        }  # fmt: skip

    # slots

    def _lock(
        self, tenants: Sequence[UUID], workflows: Sequence[UUID], keys: Sequence[str], owners: Sequence[UUID],
        ids: Sequence[UUID],
    ) -> Answer:  # fmt: skip
        wanted = set(zip(tenants, workflows, keys, strict=True))
        wanted |= {_key_of(one) for one in self._rows(owners, ids)}
        for key in sorted(wanted):
            self._tables.lock("keys", key)
        return [{"pg_advisory_xact_lock": None} for _ in wanted]

    def _rows(self, tenants: Sequence[UUID], ids: Sequence[UUID]) -> list[_Slot]:
        found = (self._tables.slots.get(pair) for pair in zip(tenants, ids, strict=True))
        return [one for one in found if one is not None]

    def _of(self, key: tuple[Any, ...]) -> list[_Slot]:
        """All that hold or queue for a key, oldest first."""
        found = [one for one in self._tables.slots.values() if _key_of(one) == key]
        return sorted(found, key=lambda one: one["execution_id"])

    def _put(self, slot: _Slot, **now: Any) -> None:
        self._tables.write("slots", (slot["tenant_id"], slot["execution_id"]), {**slot, **now})

    def _remove(self, slot: _Slot) -> None:
        self._tables.write("slots", (slot["tenant_id"], slot["execution_id"]), None)

    def _delete(self, tenants: Sequence[UUID], ids: Sequence[UUID]) -> Answer:
        rows = [] if self._tables.flaw is Flaw.SLOTS_ARE_KEPT else self._rows(tenants, ids)
        for one in rows:
            self._remove(one)
        return [{name: one[name] for name in ("tenant_id", "workflow_id", "key")} for one in rows]

    def _promote(self, *keys: Sequence[Any]) -> Answer:
        answer: Answer = []
        for key in zip(*keys, strict=True):
            if not (rows := self._of(key)):
                continue
            free = rows[-1]["capacity"] - sum(one["state"] == "held" for one in rows)
            queue = [one for one in rows if one["state"] == "queued" and one["replaced_by"] is None]
            if self._tables.flaw is Flaw.NEXT_IN_QUEUE_IS_FORGOTTEN:
                queue = queue if len(queue) == len(rows) else []
            for one in queue[: max(0, free)]:
                self._put(one, state="held")
                answer.append({"tenant_id": one["tenant_id"], "execution_id": one["execution_id"]})
        return answer

    def _wake(self, tenants: Sequence[UUID], ids: Sequence[UUID]) -> Answer:
        t = self._tables
        if t.flaw is Flaw.HOLDERS_ARE_NOT_WOKEN:
            return []
        holders = {one["execution_id"] for one in self._rows(tenants, ids) if one["state"] == "held"}
        for row in t.pairs(tenants, ids):
            waits = row.status == "waiting" and row.control is None
            if row.id in holders and waits and t.is_free("executions", row.id):
                t.put(row, wake_at=t.now())
        return []

    def _watch(self, tenant_id: UUID, id_: UUID, limit: int) -> Answer:
        watched = [
            one for place, one in sorted(self._tables.slots.items())
            if place > (tenant_id, id_) and (one["state"] == "held" or one["replaced_by"] is not None)
        ]  # fmt: skip
        return [
            {"tenant_id": one["tenant_id"], "execution_id": one["execution_id"], "finding": self._finding(one),
             "replaced_by": one["replaced_by"]}
            for one in watched[:limit]
        ]  # fmt: skip

    def _finding(self, slot: _Slot) -> str | None:
        row = self._tables.executions.get(slot["execution_id"])
        if row is None or row.ended:
            return "ended"
        if slot["replaced_by"] is not None and row.control != "cancel":
            return "unasked"
        waits = row.status == "waiting" and row.control is None and row.wake_at is not None
        late = slot["state"] == "held" and slot["told_at"] is None and waits
        return "unwoken" if late and row.wake_at is not None and row.wake_at > self._tables.now() else None

    # concurrency

    def _hold_living(self, tenants: Sequence[UUID], ids: Sequence[UUID]) -> Answer:
        pairs = sorted(zip(tenants, ids, strict=True))
        living = [row for row in self._tables.pairs(*map(list, zip(*pairs, strict=True))) if not row.ended]
        for row in living:
            self._tables.lock("executions", row.id)
        return [{"tenant_id": row.tenant_id, "id": row.id} for row in living]

    def _queue_up(self, *columns: Sequence[Any]) -> Answer:
        names = ("tenant_id", "workflow_id", "execution_id", "key", "capacity")
        new = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
        fresh = [one for one in new if (one["tenant_id"], one["execution_id"]) not in self._tables.slots]
        for one in fresh:
            self._put({**one, "state": "queued", "replaced_by": None, "told_at": None})
        return [{"tenant_id": one["tenant_id"], "execution_id": one["execution_id"]} for one in fresh]

    def _replace(self, *keys: Sequence[Any]) -> Answer:
        answer: Answer = []
        for key in zip(*keys, strict=True):
            newest = [one for one in reversed(self._of(key)) if one["replaced_by"] is None]
            for one in newest[newest[0]["capacity"] :] if newest else ():
                by = newest[0]["execution_id"]
                self._put(one, replaced_by=by)
                answer.append({"tenant_id": one["tenant_id"], "execution_id": one["execution_id"], "replaced_by": by})
        return answer

    def _turn_away(self, tenants: Sequence[UUID], ids: Sequence[UUID], skips: Sequence[bool]) -> Answer:
        answer: Answer = []
        for tenant_id, id_, skip in zip(tenants, ids, skips, strict=True):
            for one in self._rows([tenant_id], [id_]):
                if one["state"] == "queued" and (skip or one["replaced_by"] is not None):
                    held = [other["execution_id"] for other in self._of(_key_of(one)) if other["state"] == "held"]
                    holder = one["replaced_by"] or next(iter(held), None)
                    self._remove(one)
                    answer.append({"tenant_id": tenant_id, "execution_id": id_, "holder": holder})
        return answer

    def _tell(self, tenants: Sequence[UUID], ids: Sequence[UUID]) -> Answer:
        rows = self._rows(tenants, ids)
        for one in rows:
            if one["state"] == "held" and one["told_at"] is None:
                self._put(one, told_at=self._tables.now())
        return [{name: one[name] for name in ("tenant_id", "execution_id", "state")} for one in rows]


def _key_of(slot: _Slot) -> tuple[Any, ...]:
    return slot["tenant_id"], slot["workflow_id"], slot["key"]
