"""Duty: gives firings that waited for the run before them their turn, in the order of their coming.

What waits and what runs are rows, so an end is seen whoever was restarted meanwhile. One firing of a schedule is let go
at a time, by whoever holds its trigger's row; those that somebody else holds are left for the next look. While anything
waits, a look is never far: the end of a run tells nobody, so that it costs other runs nothing.
"""

from collections.abc import Sequence
from datetime import timedelta

from libs.common.accept import Acceptor, NewExecution
from libs.common.clock import id_time
from libs.common.db.pool import Connection, Database
from libs.common.db.schedule_runs import Place, RunRow, drop_runs, next_turns, open_runs
from libs.common.db.schedules import (
    DueSchedule,
    FiringRow,
    lock_free_schedules,
    note_runs,
    schedules_gone,
    settle_waiting,
)
from libs.common.domain.firing_policy import LATE_SECONDS, Verdict, read_schedule
from libs.common.schedule_firing import Planned, planned_slot, start

_BATCH = 500
_WATCH_SECONDS = 0.1
"""Between two looks while something waits."""
_ID_KEEPS = timedelta(hours=20)
_GONE = "the schedule was deleted while the slot waited for the run before it"


class Turns:
    """Lets go what waits for its turn."""

    name = "turns"
    least = 0.05
    most = 2.0

    def __init__(self, database: Database, acceptor: Acceptor) -> None:
        self._database, self._acceptor = database, acceptor

    async def work(self) -> bool | float:
        """One firing of each of some schedules; there may be more where there was one."""
        async with self._database.connection() as connection:
            places, any_waits = await next_turns(connection, _BATCH)
        if places:
            async with self._database.transaction() as connection:
                new, settled = await self._take_turns(connection, places)
            self._acceptor.announce(new)
            if settled:
                return True
        return _WATCH_SECONDS if any_waits else False

    async def _take_turns(self, connection: Connection, places: Sequence[Place]) -> tuple[list[NewExecution], bool]:
        """The runs to announce, and whether anything got its outcome."""
        locked = {Place(due.tenant_id, due.trigger_id): due for due in await lock_free_schedules(connection, places)}
        missing = [place for place in places if place not in locked]
        gone = await schedules_gone(connection, missing) if missing else set[Place]()
        opened = await open_runs(connection, [*locked, *[place for place in missing if place in gone]])
        turns, planned, given_up = list[RunRow](), list[Planned](), list[RunRow]()
        for place, runs in opened.items():
            due = locked.get(place)
            if due is None:
                given_up += runs.waiting
            elif not runs.running:
                turn = runs.waiting if due.suppressed is not None else runs.waiting[:1]
                turns += turn
                planned += [_planned(due, waited) for waited in turn]
        await drop_runs(connection, [*turns, *given_up])
        await settle_waiting(connection, [*[one.row for one in planned], *map(_given_up, given_up)])
        await note_runs(connection, [one.row for one in planned if one.execution is not None])
        return await start(connection, self._acceptor, planned), bool(turns or given_up)


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


def _given_up(waited: RunRow) -> FiringRow:
    """The outcome of what waited for a schedule that is gone."""
    return FiringRow(
        waited.tenant_id, waited.trigger_id, waited.planned_at, waited.planned_at, "suppressed", None, _GONE
    )
