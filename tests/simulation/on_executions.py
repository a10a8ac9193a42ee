"""What the statements on executions, their records, workers and versions do to the tables."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from libs.common.db import accepting, announced, controlling, executions, versions, workers
from tests.simulation.tables import (
    INFINITY,
    LONG_AGO,
    PARKED,
    UNSTORABLE,
    Answer,
    Flaw,
    Row,
    Statement,
    Tables,
    named,
    record_of,
)

_ACCEPTED = (
    "tenant_id", "id", "workflow_id", "version", "trigger_id", "trigger_type", "input", "actor", "traceparent"
)  # fmt: skip
_RECORD = (
    "position", "iteration", "attempt", "key", "type", "status", "input", "output", "error", "started_at",
    "finished_at", "wake_at", "state",
)  # fmt: skip


def _announced(row: Row) -> dict[str, Any]:
    return {"tenant_id": row.tenant_id, "id": row.id, "epoch": row.epoch, "wake_at": row.wake_at}


class OnExecutions:
    """Statements of `executions`, `controlling`, `workers`, `accepting` and `versions`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.statements: dict[str, Statement] = {
            **named(executions, change=self._change, wake=self._wake, release_of_dead=self._rescue,
                    release=self._release, lost=self._lost, load=self._load, load_records=self._load_records,
                    settle=self._settle),
            **named(announced, newest=self._newest, not_taken=self._not_taken),
            **named(controlling, cancel=self._cancel, pause=self._pause, resume=self._resume, wishes=self._wishes),
            **named(workers, beat=self._beat, dead=self._dead, retire=self._retire),
            **named(accepting, accept=self._accept),
            **named(versions, load=self._load_versions),
        }  # fmt: skip

    # executions

    def _change(self, worker: UUID, *columns: list[Any]) -> Answer:
        t = self._tables
        heads, records = list(zip(*columns[:14], strict=True)), list(zip(*columns[14:], strict=True))
        assert len({head[1] for head in heads}) == len(heads), "one statement writes an execution twice"
        written: set[UUID] = set()
        if any(UNSTORABLE in (record[9] or "") for record in records):
            raise asyncpg.DataError("unstorable")
        for tenant_id, id_, epoch, claims, status, wake_at, output, error, *counts, started_at, finished_at in heads:
            row = t.executions.get(id_)
            if row is None or row.tenant_id != tenant_id or not self._may_write(row, worker, epoch, claims=claims):
                continue
            if wake_at is not None and t.flaw is not Flaw.PAUSE_IS_FORGOTTEN:
                wake_at = {"cancel": t.now(), "pause": INFINITY}.get(row.control or "", wake_at)
            total, executed, failed, skipped = counts
            t.put(
                row, status=status, epoch=epoch, worker=worker if status == "running" else None, wake_at=wake_at,
                output=output, error=error, total=total, executed=executed, failed=failed, skipped=skipped,
                started_at=row.started_at or started_at, finished_at=finished_at,
            )  # fmt: skip
            written.add(id_)
        if t.flaw is not Flaw.RECORDS_ARE_LOST:
            for record in records:
                if record[1] in written:
                    self._write(record[1], record[2:])
        answered = [head[1] for head in heads] if t.flaw is Flaw.ANSWERS_FOR_ALL else written
        return [{"id": id_} for id_ in answered]

    def _may_write(self, row: Row, worker: UUID, epoch: int, *, claims: bool) -> bool:
        flaw = self._tables.flaw
        fenced, owned = flaw is not Flaw.NO_EPOCH_CHECK, flaw is not Flaw.NO_OWNER_CHECK
        if row.status == "running":
            return (row.epoch == epoch or not fenced) and (row.worker == worker or not owned)
        return claims and row.status == "pending" and (row.epoch == epoch - 1 or not fenced)

    def _write(self, id_: UUID, values: Sequence[Any]) -> None:
        new = dict(zip(_RECORD, values, strict=True))
        place = (new["position"], new["iteration"], new["attempt"])
        old = self._tables.executions[id_].attempts.get(place)
        if old is not None:
            new |= {"key": old["key"], "type": old["type"], "input": new["input"] or old["input"]}
        self._tables.record(id_, place, **new)

    def _settle(self, *columns: list[Any]) -> Answer:
        for tenant_id, id_, *place, status, output, state, finished_at, wake_at in zip(*columns, strict=True):
            row, where = self._tables.executions.get(id_), (place[0], place[1], place[2])
            if row is not None and row.tenant_id == tenant_id and where in row.attempts:
                self._tables.record(
                    id_, where, status=status, output=output, state=state, finished_at=finished_at, wake_at=wake_at
                )
        return []

    def _wake(self, limit: int, patience: float, pause: float, overtaken: datetime | None) -> Answer:
        t = self._tables
        now, long_due = t.now(), t.now() - timedelta(seconds=patience)
        if t.flaw is Flaw.PENDING_ARE_NOT_SWEPT:
            long_due = LONG_AGO
        due = [
            row for row in t.executions.values()
            if row.wake_at is not None and row.wake_at <= now
            and (row.status == "waiting" or row.wake_at <= long_due or row.wake_at < (overtaken or LONG_AGO))
            and t.is_free("executions", row.id)
        ]  # fmt: skip
        due.sort(key=lambda row: row.wake_at or now)
        following = INFINITY if t.flaw is Flaw.WAKE_IS_FINAL else now + timedelta(seconds=pause)
        return [t.put(row, status="pending", wake_at=following) for row in due[:limit]]

    def _newest(self, seconds: float) -> Answer:
        t = self._tables
        now, most = t.now(), t.now() + timedelta(seconds=seconds)
        found = [row for row in t.executions.values() if row.status == "pending" and now < (row.wake_at or now) <= most]
        found.sort(key=lambda row: row.wake_at or now, reverse=True)
        return [_announced(row) for row in found[:1]]

    def _not_taken(self, *columns: list[Any]) -> Answer:
        untaken: Answer = []
        for tenant_id, id_, epoch, wake_at in zip(*columns, strict=True):
            for row in self._tables.find(tenant_id, [id_], "pending"):
                untaken += [{**_announced(row), "wake_at": wake_at}] if row.epoch == epoch else []
        return untaken

    def _rescue(self, dead: Sequence[UUID]) -> Answer:
        t = self._tables
        more = -1 if t.flaw is Flaw.RESCUE_TURNS_BACK else 1
        past = t.now() - timedelta(hours=1)
        return [
            t.put(row, status="pending", epoch=row.epoch + more, worker=None, wake_at=past)
            for row in list(t.executions.values()) if row.worker in dead
        ]  # fmt: skip

    def _lost(self, tenants: list[UUID], ids: list[UUID], epochs: list[int]) -> Answer:
        theirs = {(row.tenant_id, row.id): row.epoch for row in self._tables.pairs(tenants, ids)}
        held = zip(tenants, ids, epochs, strict=True)
        return [{"id": id_} for tenant_id, id_, epoch in held if theirs.get((tenant_id, id_)) != epoch]

    def _release(self, tenant_id: UUID, id_: UUID, epoch: int, seconds: float) -> Answer:
        t = self._tables
        wake_at = t.now() + timedelta(seconds=seconds)
        return [
            t.put(row, status="pending", epoch=epoch + 1, worker=None, wake_at=wake_at)
            for row in t.find(tenant_id, [id_], "running") if row.epoch == epoch
        ]  # fmt: skip

    def _load(self, tenants: Sequence[UUID], ids: Sequence[UUID]) -> Answer:
        found = [row for row in self._tables.pairs(tenants, ids) if row.status == "pending"]
        return [{**record_of(row), "trigger_key": None} for row in found]

    def _load_records(self, tenants: Sequence[UUID], ids: Sequence[UUID]) -> Answer:
        if self._tables.flaw is Flaw.RECORDS_ARE_NOT_READ:
            return []
        mine = self._tables.pairs(tenants, ids)
        return [{**row.attempts[place], "execution_id": row.id} for row in mine for place in sorted(row.attempts)]

    # controlling

    def _cancel(
        self, tenants: Sequence[UUID], ids: Sequence[UUID], messages: Sequence[str], error_class: str
    ) -> Answer:  # fmt: skip
        t, now = self._tables, self._tables.now()
        wanted = dict(zip(zip(tenants, ids, strict=True), messages, strict=True))
        answer: Answer = []
        for tenant_id, id_ in sorted(wanted):
            for row in t.find(tenant_id, [id_], *PARKED, "running"):
                if row.status == "running":
                    t.put(row, control="cancel")
                else:
                    error = f'{{"class" : "{error_class}", "message" : "{wanted[tenant_id, id_]}"}}'
                    t.put(
                        row, status="cancelled", wake_at=None, finished_at=now, epoch=row.epoch + 1, control=None,
                        error=error,
                    )  # fmt: skip
                    self._close_records(row, now)
                answer.append({"tenant_id": tenant_id, "id": id_, "ended": row.status != "running"})
        return answer

    def _close_records(self, row: Row, now: datetime) -> None:
        if self._tables.flaw is Flaw.CANCEL_LEAVES_RECORDS_OPEN:
            return
        for place, one in row.attempts.items():
            if one["status"] in ("started", "waiting"):
                doubtful = one["status"] == "started" and one["type"] != "for_each"
                status = "unknown" if doubtful else "cancelled"
                self._tables.record(row.id, place, status=status, wake_at=None, finished_at=now)

    def _pause(self, tenant_id: UUID, id_: UUID) -> Answer:
        for row in self._tables.find(tenant_id, [id_], *PARKED, "running"):
            if row.control is None and row.status == "running":
                return [self._tables.put(row, control="pause")]
            if row.control is None:
                parked = {"status": "waiting", "wake_at": INFINITY, "epoch": row.epoch + 1}
                return [self._tables.put(row, control="pause", **parked)]
        return []

    def _resume(self, tenant_id: UUID, id_: UUID) -> Answer:
        t = self._tables
        found = [row for row in t.find(tenant_id, [id_], *PARKED, "running") if row.control == "pause"]
        return [t.put(row, control=None, wake_at=t.now() if row.status == "waiting" else row.wake_at) for row in found]

    def _wishes(self, worker: UUID) -> Answer:
        return [
            {"id": row.id, "control": row.control}
            for row in self._tables.executions.values() if row.worker == worker and row.control is not None
        ]  # fmt: skip

    # workers, accepting, versions

    def _beat(self, worker: UUID, _service: str) -> Answer:
        self._tables.write("workers", worker, self._tables.now())
        return []

    def _dead(self, lease_seconds: float) -> Answer:
        t = self._tables
        if t.flaw is Flaw.DEAD_ARE_NOT_FOUND:
            return []
        oldest = t.now() - timedelta(seconds=0 if t.misjudges() else lease_seconds)
        return [{"id": worker} for worker, beat_at in t.workers.items() if beat_at < oldest]

    def _retire(self, worker: UUID) -> Answer:
        if worker in self._tables.workers:
            self._tables.write("workers", worker, LONG_AGO)
        return []

    def _accept(self, seconds: float, *columns: list[Any]) -> Answer:
        t = self._tables
        for values in zip(*columns[:9], strict=True):
            assert values[1] not in t.executions, "executions_pkey"
            wake_at = t.now() + timedelta(seconds=seconds)
            t.add(Row(**dict(zip(_ACCEPTED, values, strict=True)), wake_at=wake_at))
        return []

    def _load_versions(self, tenants: list[UUID], workflows: list[UUID], numbers: list[int]) -> Answer:
        keys = [versions.VersionKey(*key) for key in zip(tenants, workflows, numbers, strict=True)]
        known = self._tables.versions
        return [{**key._asdict(), "definition": known[key], "slug": "acme"} for key in keys if key in known]
