"""A pass over due schedules: every due slot gets its row in the ledger, unique by (trigger, slot), and at most one
execution. For whoever holds the triggers' rows: the scheduler, and an edit, before which what is due is fired.

Ledger, executions and the schedules' next slots become true in the caller's transaction. What lies before the catch-up
window is noted as a gap, so that a long time away delays no slot of now. The database's clock is the clock.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from libs.common.accept import Acceptor, NewExecution
from libs.common.clock import new_id
from libs.common.db.events import RaisedEvent
from libs.common.db.partitions import DAYS_BACK, make_days_of_firings
from libs.common.db.pool import Connection
from libs.common.db.schedule_control import pause_schedules
from libs.common.db.schedule_gaps import Gap, add_gaps
from libs.common.db.schedule_runs import OpenRuns, Place, open_runs
from libs.common.db.schedules import (
    DueSchedule,
    FiringRow,
    keep_failing,
    lock_due_schedules,
    move_schedules_on,
    write_firings,
)
from libs.common.domain.firing_policy import read_schedule
from libs.common.domain.schedule_config import ScheduleConfig
from libs.common.schedule_alerts import Alert, raise_alerts
from libs.common.schedule_firing import NOTHING_OPEN, Plan, Planned, plan, start
from libs.common.telemetry import metrics

_SLOTS_A_PASS = 5_000
"""So many slots in one transaction; a longer arrears within the windows is worked off in several passes."""
_EDITED = "the schedule was edited before the slot was taken"
_UNREADABLE = "the schedule cannot be read; it is switched off until it is stored again"

_log = structlog.get_logger(__name__)


class Pass(msgspec.Struct, frozen=True):
    """What a pass made of some schedules; `tell` it once it is committed."""

    plans: Sequence[Plan]
    new: Sequence[NewExecution]
    raised: Sequence[RaisedEvent]

    def tell(self, acceptor: Acceptor) -> None:
        """The executors know of it, and the metrics."""
        acceptor.announce(self.new)
        acceptor.announce_raised(self.raised)
        _observe(self.plans)


_NOTHING = Pass([], [], [])


async def fire_due(connection: Connection, acceptor: Acceptor, due: Sequence[DueSchedule]) -> Pass:
    """Fires what is due of these schedules, which the transaction has locked; one of many slots may be due still."""
    plans = await _plans(connection, due)
    fresh = await _write_ledger(connection, plans)
    cancelled = [(one.schedule.tenant_id, execution) for one in plans for execution in one.cancelled]
    new = await start(connection, acceptor, fresh, cancelled)
    await add_gaps(connection, [one.gap for one in plans if one.gap is not None])
    await move_schedules_on(connection, [one.move() for one in plans])
    raised = await raise_alerts(connection, [alert for one in plans for alert in _alerts(one)])
    return Pass(plans, new, raised)


async def fire_before_edit(connection: Connection, acceptor: Acceptor, tenant_id: UUID, workflow_id: UUID) -> Pass:
    """What is due of a workflow's schedules is fired as they are, for whoever is about to change them: no edit drops a
    slot. Of more slots than a pass takes the rest is missed.
    """
    due = await lock_due_schedules(connection, tenant_id, workflow_id)
    if not due:
        return _NOTHING
    made = await fire_due(connection, acceptor, due)
    await add_gaps(connection, [gap for one in made.plans if (gap := _rest(one)) is not None])
    return made


def _rest(one: Plan) -> Gap | None:
    """Slots that are due still."""
    due, start = one.schedule, one.next_run_at
    if start is None or not one.behind:
        return None
    return Gap(due.tenant_id, due.trigger_id, new_id(), due.config, start, due.now, "missed", _EDITED)


async def _plans(connection: Connection, due: Sequence[DueSchedule]) -> list[Plan]:
    read = [_read(one) for one in due]
    guarded = [
        Place(one.tenant_id, one.trigger_id)
        for one, config in zip(due, read, strict=True)
        if config is not None and config.overlap != "allow"
    ]
    failing = await _pause_failing(connection, due, read)
    opened, most = await open_runs(connection, guarded), max(1, _SLOTS_A_PASS // len(due))
    return [
        _plan_or_switch_off(
            failing.get(Place(one.tenant_id, one.trigger_id), one),
            config,
            opened.get(Place(one.tenant_id, one.trigger_id), NOTHING_OPEN),
            most,
        )
        for one, config in zip(due, read, strict=True)
    ]


async def _pause_failing(
    connection: Connection, due: Sequence[DueSchedule], read: Sequence[ScheduleConfig | None]
) -> dict[Place, DueSchedule]:
    """Schedules whose last runs have all failed are paused; returns those, as they stand now."""
    limits = {
        Place(one.tenant_id, one.trigger_id): (one, config.pause_after_failures)
        for one, config in zip(due, read, strict=True)
        if config is not None and config.pause_after_failures is not None and one.suppressed is None
    }
    wanted = [(one.tenant_id, one.trigger_id, failures, one.resumed_at) for one, failures in limits.values()]
    paused: dict[Place, DueSchedule] = {}
    for tenant_id, trigger_id in await keep_failing(connection, wanted):
        one, failures = limits[Place(tenant_id, trigger_id)]
        note = f"the last {failures} runs have failed" if failures > 1 else "the last run has failed"
        paused[Place(tenant_id, trigger_id)] = msgspec.structs.replace(one, paused_at=one.now, paused_note=note)
    await pause_schedules(
        connection, [(one.tenant_id, one.trigger_id, one.paused_note, None) for one in paused.values()]
    )
    alerts = [
        Alert(one.tenant_id, one.trigger_id, "schedule.auto_paused", note=one.paused_note) for one in paused.values()
    ]
    await raise_alerts(connection, alerts)  # what they start is left to the sweep, which is never far
    return paused


def _read(due: DueSchedule) -> ScheduleConfig | None:
    """None: its config cannot be read."""
    try:
        return read_schedule(due.config)
    except Exception:  # noqa: BLE001 - it stops no other; what becomes of it follows from the None
        return None


def _plan_or_switch_off(due: DueSchedule, config: ScheduleConfig | None, opened: OpenRuns, most_slots: int) -> Plan:
    """The plan; a schedule that can't be read is switched off and says so in its ledger, and stops no other."""
    try:
        if config is not None:
            return plan(due, config, opened, due.suppressed, most_slots)
    except Exception:  # noqa: BLE001 - see above; it is logged with its trace
        _log.exception("schedule cannot be worked out", trigger_id=str(due.trigger_id))
    _log.error("schedule switched off", trigger_id=str(due.trigger_id), tenant_id=str(due.tenant_id))
    row = FiringRow(due.tenant_id, due.trigger_id, due.planned_at, due.now, "suppressed", None, _UNREADABLE)
    return Plan(due, [Planned(row)], [], None, due.runs)


async def _write_ledger(connection: Connection, plans: Sequence[Plan]) -> list[Planned]:
    """The slots stand in the ledger; returns those that did not before."""
    slots = [slot for one in plans for slot in one.slots]
    oldest = _ledger_start(plans[0].schedule.now)
    if old := {slot.row.planned_at for slot in slots if slot.row.planned_at < oldest}:
        await make_days_of_firings(connection, old)
    fresh = await write_firings(connection, [slot.row for slot in slots])
    return [slot for slot in slots if slot.slot in fresh]


def _ledger_start(now: datetime) -> datetime:
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=DAYS_BACK)


def _alerts(one: Plan) -> list[Alert]:
    """An event for the slots that were missed, and one for those that were late, if there are any."""
    alerts: list[Alert] = []
    for outcome in ("missed", "late"):
        if found := [slot.row.planned_at for slot in one.slots if slot.row.outcome == outcome]:
            due = one.schedule
            alerts.append(Alert(due.tenant_id, due.trigger_id, f"schedule.{outcome}", len(found), found[0], found[-1]))
    return alerts


def _observe(plans: Sequence[Plan]) -> None:
    for one in plans:
        for slot in one.slots:
            row = slot.row
            metrics.observe_firing(
                row.trigger_id, row.outcome or "waiting", (row.actual_at - row.planned_at).total_seconds()
            )
