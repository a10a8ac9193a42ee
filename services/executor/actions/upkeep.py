"""`make_report` and `clean_up`: the tenant's own history, on connections of their own.

Both are harmless to do twice: a report only reads, and what a clean-up has deleted stays deleted; one that is made
again counts what was left.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from libs.common.clock import Clock, first_id_at
from libs.common.db import cleaning, reports
from libs.common.db.pool import Database
from libs.common.domain.action_config import read_config
from libs.common.domain.configs.upkeep import ALL_OLD, CleanUpConfig, MakeReportConfig
from libs.common.domain.execution import Failure
from libs.common.domain.pure_actions import ActionFailed
from libs.common.domain.report import report_document
from libs.common.errors import Unavailable
from services.executor.actions.base import Attempt

REPORT, CLEAN_UP = "make_report", "clean_up"
_SHARE_OF_TIME = 0.8
"""How much of its time an attempt works: the rest is for the batch that is under way."""

_FIRST_ID = UUID(int=0)


class ReportAction:
    """`make_report`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    async def run(self, config: dict[str, Any], attempt: Attempt) -> Any:
        """The numbers as they are now. Raises `ActionFailed`."""
        wanted: MakeReportConfig = read_config(config, MakeReportConfig)
        until = self._clock.now()
        since = until - timedelta(days=wanted.period_days)
        ids = first_id_at(since), first_id_at(until)
        tenant_id, patience = attempt.tenant_id, attempt.timeout_seconds
        try:
            async with self._database.connection() as connection:
                executions = await reports.count_executions(connection, tenant_id, *ids, patience)
                firings = await reports.count_firings(connection, tenant_id, since, until, patience)
                calls = await reports.count_calls(connection, tenant_id, *ids, patience)
        except Unavailable as error:
            raise ActionFailed(Failure("unavailable", error.detail)) from None
        return msgspec.to_builtins(report_document(since, until, executions, firings, calls))


class CleanUpAction:
    """`clean_up`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    async def run(self, config: dict[str, Any], attempt: Attempt) -> Any:
        """How many of each are gone, and whether that is all. Raises `ActionFailed`."""
        wanted: CleanUpConfig = read_config(config, CleanUpConfig)
        now = self._clock.now()
        before = now - timedelta(days=wanted.older_than_days)
        until = now + timedelta(seconds=attempt.timeout_seconds * _SHARE_OF_TIME)
        work = _Work(self._database, self._clock, attempt.tenant_id, before, until)
        try:
            gone = {what: await work.clean(what) for what in dict.fromkeys(wanted.what or ALL_OLD)}
        except Unavailable as error:
            raise ActionFailed(Failure("unavailable", error.detail)) from None
        return {"before": msgspec.to_builtins(before), **gone, "complete": work.complete}


class _Work:
    """One clean-up: a batch after the other, each a transaction, until nothing is left or the time is over."""

    def __init__(self, database: Database, clock: Clock, tenant_id: UUID, before: datetime, until: datetime) -> None:
        self._database, self._clock, self._tenant_id = database, clock, tenant_id
        self._before, self._until = before, until
        self.complete = True

    async def clean(self, what: str) -> int:
        """How many of these are gone."""
        return await (self._executions() if what == "executions" else self._rows(what))

    async def _executions(self) -> int:
        gone, after = 0, _FIRST_ID
        before_id = first_id_at(self._before)
        while after is not None and self._has_time():
            async with self._database.transaction() as connection:
                batch = await cleaning.delete_old_executions(
                    connection, self._tenant_id, self._before, after=after, before_id=before_id
                )
            gone, after = gone + batch.deleted, batch.last
        return gone

    async def _rows(self, what: str) -> int:
        gone, before_id = 0, first_id_at(self._before)
        while self._has_time():
            async with self._database.connection() as connection:
                batch = await _DELETE[what](connection, self._tenant_id, before_id)
            gone += batch
            if batch < cleaning.ROWS_AT_ONCE:
                break
        return gone

    def _has_time(self) -> bool:
        self.complete = self.complete and self._clock.now() < self._until
        return self.complete


_DELETE = {
    "webhook_calls": cleaning.delete_old_calls,
    "events": cleaning.delete_old_events,
    "notifications": cleaning.delete_old_notifications,
}
