"""Duty: runs slots of the past that somebody wants to run after all, some a second, oldest first.

Batch and progress are one transaction under the trigger's lock, so a kill repeats nothing, and what has run does not
run again. Overlap is judged as for any other firing.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice

from libs.common.accept import Acceptor, NewExecution
from libs.common.db.backfills import Backfill, advance_backfill, claim_backfill
from libs.common.db.partitions import make_days_of_firings
from libs.common.db.pool import Connection, Database
from libs.common.db.schedule_runs import OpenRuns, Place, open_runs
from libs.common.db.schedules import DueSchedule, lock_schedule, slots_that_ran, write_backfilled, write_firings
from libs.common.domain.firing_policy import Judge, due_slots, first_slot_from, read_schedule
from libs.common.schedule_firing import Planned, planned_slot, start

_BATCH = 50
_PAUSE_SECONDS = 1.0
"""Between two batches of one back-fill: so many slots a second at most."""


class Backfills:
    """Works off back-fills."""

    name = "backfills"
    least = 0.25
    most = 5.0

    def __init__(self, database: Database, acceptor: Acceptor) -> None:
        self._database, self._acceptor = database, acceptor

    async def work(self) -> bool:
        """One batch of one back-fill; more while there is one that is due."""
        async with self._database.transaction() as connection:
            one = await claim_backfill(connection)
            if one is None:
                return False
            new = await self._go_on(connection, one)
        self._acceptor.announce(new)
        return True

    async def _go_on(self, connection: Connection, one: Backfill) -> list[NewExecution]:
        due = await lock_schedule(connection, one.tenant_id, one.trigger_id)
        if due is None or due.is_off:
            await advance_backfill(connection, one, None, pause_seconds=0, done=0, passed_over=0)
            return []
        config = read_schedule(due.config)
        coming = list(islice(due_slots(config, first_slot_from(config, one.from_at), one.until_at), _BATCH))
        ran = await slots_that_ran(connection, one.tenant_id, one.trigger_id, [slot for slot, _ in coming])
        place = Place(one.tenant_id, one.trigger_id)
        opened = (await open_runs(connection, [place]))[place]
        planned = _planned(one, due, opened, [slot for slot, _ in coming if slot not in ran])
        await make_days_of_firings(connection, [slot.row.planned_at for slot in planned])
        chosen = [slot for slot in planned if slot.row.outcome != "skipped_overlap"]
        await write_backfilled(connection, [slot.row for slot in chosen])
        await write_firings(connection, [slot.row for slot in planned if slot.row.outcome == "skipped_overlap"])
        replaces = config.overlap == "cancel_running" and chosen
        cancelled = [(one.tenant_id, running) for running in opened.running] if replaces else []
        new = await start(connection, self._acceptor, chosen, cancelled)
        await advance_backfill(
            connection, one, _rest(one, coming), pause_seconds=_PAUSE_SECONDS, done=len(chosen),
            passed_over=len(coming) - len(chosen),
        )  # fmt: skip
        return new


def _planned(one: Backfill, due: DueSchedule, opened: OpenRuns, wanted: Sequence[datetime]) -> list[Planned]:
    config = read_schedule(due.config)
    judge = Judge(config, runs=0, running=len(opened.running), waiting=len(opened.waiting), suppressed=None)
    return [
        planned_slot(due, config, slot, judge.overlap("caught_up", superseded=slot != wanted[-1]), actor=one.actor)
        for slot in wanted
    ]


def _rest(one: Backfill, coming: Sequence[tuple[datetime, datetime | None]]) -> datetime | None:
    """Where it goes on; None: nowhere."""
    if len(coming) < _BATCH:
        return None
    rest = coming[-1][0] + timedelta(microseconds=1)
    return rest if rest <= one.until_at else None
