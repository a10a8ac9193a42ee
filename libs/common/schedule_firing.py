"""From a schedule to its runs: what its slots, a click or a back-fill give, and storing that.

The plan is pure over what was read; `start` makes it true in the caller's transaction, which holds the trigger's row.
So there is one execution for each row of the ledger that has run, and overlap is judged by rows alone.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

import msgspec

from libs.common.accept import Acceptor, NewExecution
from libs.common.clock import id_time, new_id
from libs.common.db.accepting import put_off
from libs.common.db.controlling import cancel_executions
from libs.common.db.pool import Connection
from libs.common.db.schedule_gaps import Gap
from libs.common.db.schedule_runs import OpenRuns, RunRow, add_runs
from libs.common.db.schedules import DueSchedule, FiringRow, Move
from libs.common.domain.firing_policy import (
    Judge,
    Verdict,
    due_slots,
    first_slot_from,
    missed_reason,
    run_input,
    window_seconds,
)
from libs.common.domain.schedule import dispatch_delay
from libs.common.domain.schedule_config import ScheduleConfig
from libs.common.telemetry.spans import first_place, is_on, record_beginning

NOTHING_OPEN = OpenRuns([], [])


class Planned(msgspec.Struct, frozen=True):
    """One slot: its row, and the run or the firing that waits, if there is one. `delay_seconds`: the jitter."""

    row: FiringRow
    execution: NewExecution | None = None
    run: RunRow | None = None
    delay_seconds: float = 0.0

    @property
    def slot(self) -> tuple[UUID, UUID, datetime]:
        """What the ledger knows it by."""
        return self.row.tenant_id, self.row.trigger_id, self.row.planned_at


class Plan(msgspec.Struct):
    """What a pass makes of one schedule. `cancelled`: executions that a newer one replaces; `next_run_at`: None: it is
    due no more; `gap`: slots before the window.
    """

    schedule: DueSchedule
    slots: list[Planned]
    cancelled: list[UUID]
    next_run_at: datetime | None
    runs: int
    gap: Gap | None = None

    @property
    def behind(self) -> bool:
        """It is due again at once."""
        return self.next_run_at is not None and self.next_run_at <= self.schedule.now

    def move(self) -> Move:
        """Where the schedule stands afterwards."""
        ran = next((one.row for one in reversed(self.slots) if one.execution is not None), None)
        ran_at = None if ran is None else ran.actual_at
        lag = None if ran is None else ran.lag_ms
        return Move(self.schedule.tenant_id, self.schedule.trigger_id, self.next_run_at, self.runs, ran_at, lag)


def plan(due: DueSchedule, config: ScheduleConfig, opened: OpenRuns, suppressed: str | None, most_slots: int) -> Plan:
    """The plan for a due schedule, of at most so many slots; `suppressed`: why none of them runs."""
    judge = Judge(
        config, runs=due.runs, running=len(opened.running), waiting=len(opened.waiting), suppressed=suppressed
    )
    made = Plan(due, [], [], None, due.runs)
    if judge.exhausted:
        return made
    window = due.now - timedelta(seconds=window_seconds(config))
    made.gap = _gap(due, config, window, suppressed)
    first = due.planned_at if due.planned_at >= window else first_slot_from(config, window)
    made.next_run_at = first
    for slot, following in islice(due_slots(config, first, due.now), most_slots):
        superseded = following is not None and following <= due.now
        verdict = judge.judge((due.now - slot).total_seconds(), superseded=superseded)
        made.slots.append(planned_slot(due, config, slot, verdict))
        if verdict.act == "replace":
            made.cancelled += opened.running
        made.next_run_at = None if judge.exhausted else following
        if judge.exhausted:
            break
    made.runs = judge.runs
    return made


def _gap(due: DueSchedule, config: ScheduleConfig, until: datetime, suppressed: str | None) -> Gap | None:
    if due.planned_at >= until:
        return None
    outcome = "missed" if suppressed is None else "suppressed"
    reason = suppressed or missed_reason(config, (due.now - due.planned_at).total_seconds())
    return Gap(due.tenant_id, due.trigger_id, new_id(), due.config, due.planned_at, until, outcome, reason)


def planned_slot(
    due: DueSchedule, config: ScheduleConfig, slot: datetime, verdict: Verdict, *,
    given: bytes | None = None, actor: str | None = None, run_id: UUID | None = None, place: str = "",
) -> Planned:  # fmt: skip
    """One firing as it was judged. `given`: the input, when it is not the schedule's own; `run_id`: of the execution,
    also of one that is to be when its turn comes; `place`: in the trace of who asked for it, if anybody did.
    """
    run_id = run_id or new_id()
    content = run_input(config, slot) if given is None else given
    execution = run = None
    if verdict.act in ("run", "replace"):
        execution = NewExecution(
            due.tenant_id,
            due.workflow_id,
            due.version,
            due.trigger_id,
            due.key,
            "schedule",
            content,
            actor,
            place or first_place(run_id),
            id=run_id,
        )
        if config.overlap != "allow":
            run = RunRow(due.tenant_id, due.trigger_id, run_id, waits=False, planned_at=slot)
    elif verdict.act == "wait":
        run = RunRow(due.tenant_id, due.trigger_id, run_id, True, slot, content.decode(), actor)
    row = FiringRow(
        due.tenant_id, due.trigger_id, slot, due.now, verdict.outcome, run_id if execution else None,
        verdict.reason,
    )  # fmt: skip
    delay = dispatch_delay(config, due.trigger_id, slot).total_seconds() if execution is not None else 0.0
    return Planned(row, execution, run, delay)


async def start(
    connection: Connection, acceptor: Acceptor, planned: Sequence[Planned], cancelled: Sequence[tuple[UUID, UUID]] = ()
) -> list[NewExecution]:
    """The runs exist, what waits is noted, and what they replace (tenant, execution) ends. Returns what the caller
    announces after its commit; a run that jitter puts off is left to the scheduler's sweep.
    """
    executions = [one.execution for one in planned if one.execution is not None]
    if executions:
        await acceptor.accept_within(connection, executions)
        _tell_beginnings(executions)
    await add_runs(connection, [one.run for one in planned if one.run is not None])
    late = {
        one.execution.id: (one.execution.tenant_id, one.execution.id, one.row.planned_at, one.delay_seconds)
        for one in planned
        if one.execution is not None and one.delay_seconds > (one.row.actual_at - one.row.planned_at).total_seconds()
    }
    await put_off(connection, list(late.values()))
    for tenant_id in sorted({tenant_id for tenant_id, _ in cancelled}):
        await cancel_executions(connection, tenant_id, [one for tenant, one in cancelled if tenant == tenant_id])
    return [one for one in executions if one.id not in late]


def _tell_beginnings(executions: Sequence[NewExecution]) -> None:
    """Those that nobody asked for begin a trace; it has their id."""
    for new in executions if is_on() else ():
        if new.traceparent[3:35] == new.id.hex:
            record_beginning(
                "schedule", new.traceparent, id_time(new.id), tenant=new.tenant_id, trigger=new.trigger_id,
                execution=new.id,
            )  # fmt: skip
