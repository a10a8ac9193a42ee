"""What the statements on events, on the tenant's records and on what local actions gave do to the tables."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from libs.common.db import collections, ended_runs, event_ids, event_triggers, events, local_results, records
from tests.simulation.tables import Answer, Flaw, Statement, Tables, named

_EVENT = (
    "tenant_id", "id", "type", "data", "source", "depth", "execution_id", "dedupe_id", "actor", "started", "told",
    "outcomes",
)  # fmt: skip
_RECORD = (
    "tenant_id", "collection", "id", "version", "data", "tags", "created_by", "updated_by", "created_at", "updated_at"
)  # fmt: skip


class OnData:
    """Statements of `events`, `event_ids`, `event_triggers`, `collections`, `records` and `local_results`, as far as
    the actions of a world need them.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.statements: dict[str, Statement] = {
            **named(events, log=self._log, outcomes=self._outcomes),
            **named(event_ids, claim=self._claim, find=self._find_claims),
            **named(event_triggers, find=self._find_triggers, on_ends=self._nobody),
            **named(ended_runs, load=self._nobody),
            **named(collections, hold=self._hold, make=self._make),
            **named(records, insert=self._insert),
            **named(local_results, find=self._find_results, keep=self._keep_results),
        }  # fmt: skip

    # ends of executions as events: nobody listens

    def _nobody(self, *_: object) -> Answer:
        return []

    # events

    def _log(self, *columns: Sequence[Any]) -> Answer:
        for values in zip(*columns, strict=True):
            self._tables.write("events", values[1], dict(zip(_EVENT, values, strict=True)))
        return []

    def _outcomes(self, tenants: Sequence[UUID], ids: Sequence[UUID]) -> Answer:
        found = [(tenant, self._tables.events.get(id_)) for tenant, id_ in zip(tenants, ids, strict=True)]
        return [
            {"id": one["id"], "outcomes": one["outcomes"]}
            for tenant, one in found if one is not None and one["tenant_id"] == tenant
        ]  # fmt: skip

    def _claim(self, *columns: Sequence[Any]) -> Answer:
        for tenant_id, dedupe_id, request_hash, event_id in sorted(zip(*columns, strict=True)):
            self._tables.lock("event_ids", (tenant_id, dedupe_id))
            if (tenant_id, dedupe_id) not in self._tables.event_ids:
                claim = {"request_hash": request_hash, "event_id": event_id}
                self._tables.write("event_ids", (tenant_id, dedupe_id), claim)
        return []

    def _find_claims(self, tenants: Sequence[UUID], ids: Sequence[str]) -> Answer:
        known = self._tables.event_ids
        return [
            {"tenant_id": pair[0], "dedupe_id": pair[1], **known[pair]}
            for pair in zip(tenants, ids, strict=True) if pair in known
        ]  # fmt: skip

    def _find_triggers(self, _tenants: Sequence[UUID], _patterns: Sequence[str]) -> Answer:
        return []  # no workflow of a world is started by an event

    # the tenant's data

    def _hold(self, tenants: Sequence[UUID], names: Sequence[str]) -> Answer:
        answer: Answer = []
        for place in sorted(set(zip(tenants, names, strict=True))):
            if (made := self._tables.collections.get(place)) is not None:
                plain = {"description": "", "schema": None, "version": 1, "created_at": made, "updated_at": made}
                answer.append({"tenant_id": place[0], "name": place[1], **plain})
        return answer

    def _make(self, tenants: Sequence[UUID], names: Sequence[str], now: Any) -> Answer:
        for place in sorted(zip(tenants, names, strict=True)):
            self._tables.lock("collections", place)
            if place not in self._tables.collections:
                self._tables.write("collections", place, now)
        return []

    def _insert(self, *columns: Sequence[Any]) -> Answer:
        for values in zip(*columns, strict=True):
            self._tables.write("records", values[2], dict(zip(_RECORD, values, strict=True)))
        return []

    # local_results

    def _find_results(self, tenants: Sequence[UUID], ids: Sequence[UUID], keys: Sequence[str]) -> Answer:
        if self._tables.flaw is Flaw.RESULTS_ARE_NOT_KEPT:
            return []
        known = self._tables.local_results
        return [
            {"tenant_id": place[0], "execution_id": place[1], "key": place[2], "output": known[place]}
            for place in zip(tenants, ids, keys, strict=True) if place in known
        ]  # fmt: skip

    def _keep_results(self, *columns: Sequence[Any]) -> Answer:
        for *place, output in zip(*columns, strict=True):
            assert self._tables.flaw is Flaw.RESULTS_ARE_NOT_KEPT or tuple(place) not in self._tables.local_results, (
                "local_results_pkey"
            )
            self._tables.write("local_results", tuple(place), output)
        return []
