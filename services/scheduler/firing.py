"""Duty: fires schedules. Every due slot gets its row in the ledger, unique by (trigger, slot), and at most one
execution.

Ledger, executions and the schedule's next slot are one transaction: a scheduler killed anywhere in it has done
nothing, and two schedulers never hold the same schedule. A slot later than the catch-up window is written as missed,
not run.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from libs.common.accept import Acceptor, NewExecution
from libs.common.db.partitions import DAYS_BACK
from libs.common.db.pool import Database
from libs.common.db.schedules import (
    DueSchedule,
    FiringRow,
    claim_due_schedules,
    move_schedules_on,
    write_firings,
)
from libs.common.domain.schedule import next_run
from libs.common.domain.trigger import ScheduleConfig
from libs.common.telemetry import metrics

_BATCH = 200
_SLOTS_A_PASS = 500
"""So many slots of one schedule at a time; a longer arrears is worked off in several passes."""
_LATE_SECONDS = 5.0
_CATCHUP_SECONDS = 60.0

_log = structlog.get_logger(__name__)
_decode_config = msgspec.json.Decoder(ScheduleConfig).decode


class Firing:
    """Turns due slots into executions."""

    name = "firing"
    least = 0.1
    most = 0.5

    def __init__(self, database: Database, acceptor: Acceptor) -> None:
        self._database, self._acceptor = database, acceptor

    async def work(self) -> bool:
        """One batch; more when it was full or a schedule is still behind."""
        async with self._database.transaction() as connection:
            due = await claim_due_schedules(connection, _BATCH)
            if not due:
                return False
            plans = [_plan_or_switch_off(schedule) for schedule in due]
            fresh = await write_firings(connection, [row for plan in plans for row in plan.firings])
            new = [
                execution
                for plan in plans
                for row, execution in plan.executions
                if (row.tenant_id, row.trigger_id, row.planned_at) in fresh
            ]
            if new:
                await self._acceptor.accept_within(connection, new)
            await move_schedules_on(
                connection, [(p.schedule.tenant_id, p.schedule.trigger_id, p.next_run_at) for p in plans]
            )
        self._acceptor.announce(new)
        _observe(plans)
        return len(due) == _BATCH or any(plan.behind for plan in plans)


class _Plan(msgspec.Struct, frozen=True):
    """What one due schedule gives: its slots, the executions of those that run, and when it is due next."""

    schedule: DueSchedule
    firings: list[FiringRow]
    executions: list[tuple[FiringRow, NewExecution]]
    next_run_at: datetime | None

    @property
    def behind(self) -> bool:
        return self.next_run_at is not None and self.next_run_at <= self.schedule.now


def _plan_or_switch_off(schedule: DueSchedule) -> _Plan:
    """The plan; a schedule that can't be read is switched off and says so in its ledger, and stops no other."""
    try:
        return _plan(schedule)
    except Exception:  # noqa: BLE001 - see above; it is logged with its trace
        _log.exception("schedule switched off", trigger_id=str(schedule.trigger_id), tenant_id=str(schedule.tenant_id))
        planned_at = max(schedule.planned_at, _ledger_start(schedule.now))
        reason = "the schedule cannot be read; it is switched off until it is stored again"
        row = FiringRow(schedule.tenant_id, schedule.trigger_id, planned_at, schedule.now, "suppressed", None, reason)
        return _Plan(schedule, [row], [], None)


def _plan(schedule: DueSchedule) -> _Plan:
    config = _decode_config(schedule.config)
    plan = _Plan(schedule, [], [], None)
    slots = _due_slots(config, schedule)
    for _ in range(_SLOTS_A_PASS):
        slot = next(slots)
        if slot is None or slot > schedule.now:
            return msgspec.structs.replace(plan, next_run_at=slot)
        _add_slot(plan, config, slot)
    return msgspec.structs.replace(plan, next_run_at=next(slots))


def _due_slots(config: ScheduleConfig, schedule: DueSchedule) -> Iterator[datetime | None]:
    """The planned slot and those after it; slots older than the ledger keeps days for are passed over."""
    oldest = _ledger_start(schedule.now)
    slot = schedule.planned_at if schedule.planned_at >= oldest else next_run(config, oldest)
    while True:
        yield slot
        slot = None if slot is None else next_run(config, slot)


def _ledger_start(now: datetime) -> datetime:
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=DAYS_BACK)


def _add_slot(plan: _Plan, config: ScheduleConfig, slot: datetime) -> None:
    schedule, lag = plan.schedule, (plan.schedule.now - slot).total_seconds()
    outcome, reason = _judge(schedule, config, lag)
    execution = _execution(schedule, slot) if outcome in ("fired", "late") else None
    row = FiringRow(
        schedule.tenant_id,
        schedule.trigger_id,
        slot,
        schedule.now,
        outcome,
        execution.id if execution else None,
        reason,
    )
    plan.firings.append(row)
    if execution is not None:
        plan.executions.append((row, execution))


def _judge(schedule: DueSchedule, config: ScheduleConfig, lag: float) -> tuple[str, str | None]:
    if not schedule.runnable:
        return "suppressed", "the trigger, its workflow or its tenant is switched off"
    window = _CATCHUP_SECONDS if config.catchup_seconds is None else config.catchup_seconds
    if lag > max(window, _LATE_SECONDS):
        return "missed", f"{lag:.0f} s late; the catch-up window is {window:g} s"
    return ("late" if lag > _LATE_SECONDS else "fired"), None


def _execution(schedule: DueSchedule, slot: datetime) -> NewExecution:
    return NewExecution(
        schedule.tenant_id, schedule.workflow_id, schedule.version, schedule.trigger_id, schedule.key, "schedule",
        msgspec.json.encode({"scheduled_for": slot}),
    )  # fmt: skip


def _observe(plans: Sequence[_Plan]) -> None:
    for plan in plans:
        for row in plan.firings:
            metrics.observe_firing(row.outcome, (row.actual_at - row.planned_at).total_seconds())
