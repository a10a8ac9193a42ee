"""Duty: gives firings that waited for the run before them their turn, in the order of their coming.

What waits and what runs are rows, so an end is seen whoever was restarted meanwhile. One firing of a schedule is let go
at a time, by whoever holds its trigger's row.
"""

from datetime import timedelta

from libs.common.accept import Acceptor, NewExecution
from libs.common.clock import id_time
from libs.common.db.pool import Connection, Database
from libs.common.db.schedule_runs import OpenRuns, Place, RunRow, drop_runs, next_turns, open_runs
from libs.common.db.schedules import DueSchedule, FiringRow, lock_schedule, settle_waiting
from libs.common.domain.firing_policy import LATE_SECONDS, Verdict, read_schedule
from libs.common.schedule_firing import Planned, planned_slot, start

_BATCH = 100
_ID_KEEPS = timedelta(hours=20)
_GONE = "the schedule was deleted while the slot waited for the run before it"


class Turns:
    """Lets go what waits for its turn."""

    name = "turns"
    least = 0.05
    most = 2.0

    def __init__(self, database: Database, acceptor: Acceptor) -> None:
        self._database, self._acceptor = database, acceptor

    async def work(self) -> bool:
        """One firing of each of some schedules; there may be more where there was one."""
        async with self._database.connection() as connection:
            places = await next_turns(connection, _BATCH)
        for place in places:
            async with self._database.transaction() as connection:
                new = await self._take_turn(connection, place)
            self._acceptor.announce(new)
        return bool(places)

    async def _take_turn(self, connection: Connection, place: Place) -> list[NewExecution]:
        due = await lock_schedule(connection, *place)
        opened = (await open_runs(connection, [place]))[place]
        if due is None:
            return await _give_up(connection, opened)
        if opened.running or not opened.waiting:
            return []
        turn = opened.waiting if due.suppressed is not None else opened.waiting[:1]
        planned = [_planned(due, waited) for waited in turn]
        await drop_runs(connection, turn)
        await settle_waiting(connection, [one.row for one in planned])
        return await start(connection, self._acceptor, planned)


def _planned(due: DueSchedule, waited: RunRow) -> Planned:
    """The firing whose turn it is; while the schedule must not run it is passed over."""
    lag = (due.now - waited.planned_at).total_seconds()
    verdict = Verdict("run", "fired" if lag <= LATE_SECONDS else "late", "waited for the run before it")
    if due.suppressed is not None:
        verdict = Verdict("pass", "suppressed", due.suppressed)
    given = (waited.input or "{}").encode()
    # An id says on which day its execution is kept; after a long wait that day may have been retired.
    run_id = waited.id if due.now - id_time(waited.id) < _ID_KEEPS else None
    return planned_slot(
        due, read_schedule(due.config), waited.planned_at, verdict, given=given, actor=waited.actor, run_id=run_id
    )


async def _give_up(connection: Connection, opened: OpenRuns) -> list[NewExecution]:
    """What waited for a schedule that is gone has its outcome."""
    rows = [
        FiringRow(one.tenant_id, one.trigger_id, one.planned_at, one.planned_at, "suppressed", None, _GONE)
        for one in opened.waiting
    ]
    await settle_waiting(connection, rows)
    await drop_runs(connection, opened.waiting)
    return []
