"""No function finds or changes with one tenant's id what belongs to another: each one that takes a tenant is called
with the ids of another tenant's rows, and those rows stay as they are.
"""

import inspect
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any
from uuid import UUID

import asyncpg
import pytest

import libs.common.db as package
from libs.common.clock import new_id
from libs.common.db import (
    api_keys,
    approvals,
    audit,
    backfills,
    cleaning,
    collections,
    concurrency,
    controlling,
    deliveries,
    dispatching,
    erasures,
    event_views,
    event_waits,
    events,
    execution_views,
    executions,
    finding,
    idempotency,
    jobs,
    live_states,
    local_results,
    metering,
    notifications,
    queue_views,
    record_search,
    records,
    reports,
    rerunning,
    schedule_control,
    schedule_gaps,
    schedule_runs,
    schedule_views,
    scheduled_tasks,
    schedules,
    secrets,
    signals,
    slots,
    tenant_limits,
    tenants,
    triggers,
    versions,
    webhook_calls,
    webhook_secrets,
    whole_tenants,
    workflows,
)
from libs.common.db.accepting import insert_accepted, put_off
from libs.common.db.pool import Connection, Database
from libs.common.domain.events import NewEvent
from libs.common.domain.notifications import Notification
from libs.common.domain.pure_actions import ActionFailed
from libs.common.domain.record_filters import RecordFilter, RecordOrder
from libs.common.domain.records import Record, RecordChange, RecordKey
from libs.common.errors import NotFound
from tests.factories import (
    action_row,
    call_row,
    execution_change,
    make_execution,
    make_task,
    make_tenant,
    make_trigger,
    make_workflow,
    trigger_row,
)

NOW = datetime.now(UTC)
PAGE: dict[str, Any] = {"after": None, "limit": 50, "offset": 0}
EVENTS: dict[str, Any] = {"first_id": None, "before_id": None, "limit": 50, "offset": 0}
ALL = execution_views.ExecutionFilter()
HASH = b"\x07" * 32
FIRST_ID, LAST_ID = UUID(int=0), UUID(int=2**128 - 1)
_TABLES = """
SELECT c.relname AS name FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
"""
_ALL_ROWS = f"""
SELECT string_agg(format('SELECT %L, t::text FROM %I t WHERE tenant_id = $1', name, name), ' UNION ALL ')
       || ' ORDER BY 1, 2' FROM ({_TABLES}) tables
"""


@dataclass
class Owned:
    """Rows of one tenant, of every kind."""

    tenant: UUID
    workflow: UUID
    trigger: UUID
    schedule: UUID
    pending: UUID
    running: UUID
    paused: UUID
    waiting: UUID
    asking: UUID
    approval: UUID
    event: UUID
    ended: UUID
    call: UUID
    key: UUID
    worker: UUID
    queued: UUID
    job: jobs.OpenJob
    record: UUID
    notification: UUID
    task: UUID

    def job_of(self, tenant_id: UUID) -> jobs.OpenJob:
        return jobs.OpenJob(tenant_id, self.job.id, "cancel", "{}", UUID(int=2**128 - 1), None)


async def noted_tenant(connection: Connection, slug: str) -> UUID:
    """A tenant with a row in its audit log, that has used something and is warned."""
    tenant = await make_tenant(connection, slug)
    await audit.insert_audit_rows(connection, [audit.AuditRow(tenant, new_id(), "a.b", "x", None, "", "", "")])
    await tenant_limits.note_warnings(connection, [warned_of(tenant)])
    await connection.execute(
        "INSERT INTO usage (tenant_id, hour, executions, actions, action_seconds, calls, bytes, mails, tokens, cost)"
        " VALUES ($1, $2, 1, 1, 1, 1, 1, 1, 1, 1)", tenant, NOW,
    )  # fmt: skip
    return tenant


async def everything_of(connection: Connection, slug: str = "owner", hashed: bytes = HASH) -> Owned:
    """A tenant with a row in every table. `hashed`: of its API key."""
    tenant, worker, key, job = await noted_tenant(connection, slug), new_id(), new_id(), new_id()
    workflow = await make_workflow(connection, tenant)
    trigger = await make_trigger(connection, tenant, workflow, token="t", slug="paid")
    schedule = await make_trigger(connection, tenant, workflow, key="s", type="schedule")
    described = webhook_secrets.NewWebhookSecret(trigger, trigger, "whsec_")
    await webhook_secrets.set_webhook_secrets(connection, tenant, [], [described])
    pending = await make_held(connection, tenant, workflow)
    running = await make_execution(connection, tenant, workflow, "running", worker=worker, records=[action_row()])
    paused = await make_execution(connection, tenant, workflow)
    await controlling.pause_execution(connection, tenant, paused)
    waiting = await make_execution(connection, tenant, workflow, "waiting")
    async with connection.transaction():
        await signals.send_signals(connection, [signals.Signal(tenant, waiting, 0, 0, "event", "{}")])
    asking = await make_execution(connection, tenant, workflow, "waiting", records=[action_row("waiting")])
    approval = await make_approval(connection, tenant, asking)
    event = NewEvent(tenant, new_id(), "order", "{}", "api", dedupe_id="1")
    async with connection.transaction():
        await events.raise_events(connection, [event])
    await event_waits.add_event_waits(connection, [event_waits.EventWait(tenant, waiting, 1, 0, "deal", None, "{}")])
    ended = await make_execution(connection, tenant, workflow, "completed", records=[action_row()])
    call = call_row(tenant, trigger, ended)
    await insert_accepted(connection, [], [call])
    await api_keys.insert_api_key(
        connection, tenant, key, name="k", role="owner", prefix="sb_", hashed=hashed, expires_at=None
    )
    await idempotency.claim_key(connection, tenant, "k", HASH, pending)
    await deliveries.claim_deliveries(connection, [deliveries.Delivery(tenant, trigger, HASH, ended)])
    await secrets.put_secret(connection, tenant, "token", sealed=b"sealed", key_id="1")
    await jobs.insert_job(connection, tenant, job, "cancel", jobs.JobFilter(("pending",)), None)
    await schedules.write_firings(connection, [schedules.FiringRow(tenant, trigger, NOW, NOW, "fired", ended, None)])
    await schedule_runs.add_runs(connection, [schedule_runs.RunRow(tenant, trigger, pending, False, NOW)])
    await schedule_gaps.add_gaps(connection, [gap_of(tenant, trigger)])
    await backfills.insert_backfill(connection, tenant, job, trigger, NOW, NOW, None)
    await collections.insert_collection(connection, tenant, "notes", description="", schema=None, now=NOW)
    note, told = record_of(tenant, new_id()), new_id()
    await records.write_records(connection, [RecordChange(None, note)])
    await notifications.insert_notifications(connection, [notification_of(tenant, told)])
    await local_results.keep_results(connection, [((tenant, ended, "k"), {})])
    task, queued = await make_task(connection, tenant), await make_execution(connection, tenant, workflow)
    await concurrency.enter(connection, [slot_entry(tenant, workflow, one) for one in (running, queued)])
    await triggers.set_next_runs(connection, tenant, [(schedule, NOW)])
    return Owned(
        tenant=tenant, workflow=workflow, trigger=trigger, schedule=schedule, pending=pending, running=running,
        paused=paused, waiting=waiting, asking=asking, approval=approval, event=event.id, ended=ended, call=call.id,
        key=key, worker=worker, queued=queued, job=jobs.OpenJob(tenant, job, "cancel", "{}", job, None), record=note.id,
        notification=told, task=task,
    )  # fmt: skip


async def make_approval(connection: Connection, tenant: UUID, execution: UUID) -> UUID:
    """A question to people that the execution asks."""
    approval = new_id()
    await approvals.ask_approvals(connection, [approvals.NewApproval(tenant, approval, execution, 0, 0, "t", "", None)])
    return approval


async def make_held(connection: Connection, tenant: UUID, workflow: UUID) -> UUID:
    """An execution that waits for its tenant's turn."""
    made = await make_execution(connection, tenant, workflow)
    await dispatching.hold_executions(connection, [dispatching.Ticket(tenant, made, 0)])
    return made


def slot_entry(tenant: UUID, workflow: UUID, execution: UUID) -> concurrency.Entry:
    """One that wants a slot of the only key there is."""
    return concurrency.Entry(tenant, workflow, execution, "k", 1, "queue")


def gap_of(tenant: UUID, trigger: UUID) -> schedule_gaps.Gap:
    return schedule_gaps.Gap(tenant, trigger, trigger, "{}", NOW, NOW, "missed", "late")


def backfill_of(tenant: UUID, owned: Owned) -> backfills.Backfill:
    return backfills.Backfill(tenant, owned.job.id, owned.trigger, NOW, NOW, None)


def warned_of(tenant: UUID, name: str = "workflows") -> tenant_limits.Warned:
    return tenant_limits.Warned(tenant, name, NOW.date(), 10, 8)


async def used_by(connection: Connection, tenant_id: UUID) -> int:
    """The executions that a tenant has paid for."""
    used = await metering.sum_usage(connection, tenant_id, NOW - timedelta(hours=1), NOW + timedelta(hours=1))
    return used.executions


def record_of(tenant_id: UUID, record_id: UUID, **data: Any) -> Record:
    return Record(tenant_id, "notes", record_id, 1, data, [], None, None, NOW, NOW)


def notification_of(tenant_id: UUID, notification_id: UUID) -> Notification:
    return Notification(tenant_id, notification_id, "", "info", "Title", "Message", None, None, NOW)


async def lock_and_update_collection(connection: Connection, tenant_id: UUID) -> object:
    if await collections.lock_collection(connection, tenant_id, "notes") is None:
        return None
    return await collections.update_collection(connection, tenant_id, "notes", description="x", schema=None, now=NOW)


async def found_by_action(connection: Connection, tenant_id: UUID) -> object:
    """None when there is no such collection."""
    try:
        return await finding.find_for_action(connection, tenant_id, {"collection": "notes"}, NOW, 5.0)
    except ActionFailed:
        return None


async def claimed_data_key(connection: Connection, tenant_id: UUID) -> object:
    await tenants.claim_data_key(connection, tenant_id, b"fresh")
    return await tenants.find_data_key(connection, tenant_id)


async def decided(connection: Connection, tenant_id: UUID, approval: UUID) -> object:
    """None when there is no such approval."""
    try:
        return await approvals.decide(connection, tenant_id, approval, "approve", None, None)
    except NotFound:
        return None


async def batch_of(connection: Connection, tenant_id: UUID) -> int:
    """How many of a tenant's executions were old."""
    soon = NOW + timedelta(hours=1)
    batch = await cleaning.delete_old_executions(connection, tenant_id, soon, after=FIRST_ID, before_id=LAST_ID)
    return batch.deleted


async def counted(connection: Connection, tenant_id: UUID) -> int:
    """How many executions a tenant's report has."""
    return (await reports.count_executions(connection, tenant_id, FIRST_ID, LAST_ID, 5.0))[0].total


Call = Callable[[Connection, UUID, Owned], Awaitable[object]]

OF_OTHERS: dict[str, Call] = {
    "audit.list_audit_rows": lambda c, t, _: audit.list_audit_rows(c, t, audit.AuditFilter(), limit=9, offset=0),
    "api_keys.list_api_keys": lambda c, t, _: api_keys.list_api_keys(c, t, **PAGE),
    "api_keys.find_api_key": lambda c, t, o: api_keys.find_api_key(c, t, o.key),
    "api_keys.note_key_uses": lambda c, t, o: api_keys.note_key_uses(c, [(t, o.key, NOW)]),
    "api_keys.revoke_api_key": lambda c, t, o: api_keys.revoke_api_key(c, t, o.key),
    "collections.find_collection": lambda c, t, _: collections.find_collection(c, t, "notes"),
    "collections.lock_collection": lambda c, t, _: collections.lock_collection(c, t, "notes"),
    "collections.list_collections": lambda c, t, _: collections.list_collections(c, t, after=None, limit=50, offset=0),
    "collections.hold_collections": lambda c, t, _: collections.hold_collections(c, [(t, "notes")], [], NOW),
    "collections.update_collection": lambda c, t, _: lock_and_update_collection(c, t),
    "approvals.ask_approvals": lambda c, t, o: approvals.ask_approvals(
        c, [approvals.NewApproval(t, new_id(), o.asking, 1, 0, "other", "", None)]
    ),
    "approvals.find_approval": lambda c, t, o: approvals.find_approval(c, t, o.approval),
    "approvals.list_approvals": lambda c, t, _: approvals.list_approvals(c, t, "pending", **PAGE),
    "approvals.list_approvals of all": lambda c, t, _: approvals.list_approvals(c, t, None, **PAGE),
    "approvals.decide": lambda c, t, o: decided(c, t, o.approval),
    "cleaning.delete_old_executions": lambda c, t, _: batch_of(c, t),
    "cleaning.delete_old_calls": lambda c, t, _: cleaning.delete_old_calls(c, t, LAST_ID),
    "cleaning.delete_old_events": lambda c, t, _: cleaning.delete_old_events(c, t, LAST_ID),
    "cleaning.delete_old_notifications": lambda c, t, _: cleaning.delete_old_notifications(c, t, LAST_ID),
    "controlling.cancel_executions": lambda c, t, o: controlling.cancel_executions(c, t, [o.pending, o.running]),
    "controlling.pause_execution": lambda c, t, o: controlling.pause_execution(c, t, o.pending),
    "controlling.resume_execution": lambda c, t, o: controlling.resume_execution(c, t, o.paused),
    "deliveries.find_deliveries": lambda c, t, o: deliveries.find_deliveries(c, [(t, o.trigger, HASH)]),
    "metering.sum_usage": lambda c, t, _: used_by(c, t),
    "dispatching.hold_executions": lambda c, t, o: dispatching.hold_executions(
        c, [dispatching.Ticket(t, o.queued, 0)]
    ),
    "dispatching.release_held": lambda c, t, _: dispatching.release_held(c, [(t, 9)], 99),
    "queue_views.list_queued": lambda c, t, _: queue_views.list_queued(c, t),
    "queue_views.find_place": lambda c, t, o: queue_views.find_place(c, t, o.pending),
    "queue_views.find_pace": lambda c, t, _: queue_views.find_pace(c, t, UUID(int=2**128 - 1)),
    "queue_views.list_open_waits": lambda c, t, o: queue_views.list_open_waits(c, t, o.asking),
    "executions.release_execution": lambda c, t, o: executions.release_execution(c, t, o.running, 1),
    "event_views.find_event": lambda c, t, o: event_views.find_event(c, t, o.event),
    "event_views.list_events": lambda c, t, _: event_views.list_events(c, t, None, **EVENTS),
    "event_views.list_events of a type": lambda c, t, _: event_views.list_events(c, t, "order", **EVENTS),
    "event_waits.drop_event_waits": lambda c, t, o: event_waits.drop_event_waits(c, [(t, o.waiting)]),
    "execution_views.find_execution": lambda c, t, o: execution_views.find_execution(c, t, o.ended),
    "execution_views.list_executions": lambda c, t, _: execution_views.list_executions(c, t, ALL, **PAGE),
    "execution_views.list_workflow_executions": lambda c, t, o: execution_views.list_workflow_executions(
        c, t, o.workflow, ALL, **PAGE
    ),
    "execution_views.load_value": lambda c, t, o: execution_views.load_value(c, t, o.ended, "input"),
    "execution_views.load_attempt_value": lambda c, t, o: execution_views.load_attempt_value(
        c, t, o.ended, (0, 0, 1), "output"
    ),
    "execution_views.list_attempts": lambda c, t, o: execution_views.list_attempts(c, t, o.ended),
    "executions.change_executions": lambda c, t, o: executions.change_executions(
        c, o.worker, [execution_change(t, o.running, 1, "completed", records=[action_row(position=1)])]
    ),
    "executions.load_pending": lambda c, t, o: executions.load_pending(c, [(t, o.pending)]),
    "executions.load_records": lambda c, t, o: executions.load_records(c, [(t, o.ended)]),
    "jobs.find_job": lambda c, t, o: jobs.find_job(c, t, o.job.id),
    "jobs.next_executions": lambda c, t, o: jobs.next_executions(
        c, o.job_of(t), jobs.JobFilter(("pending", "completed")), 50
    ),
    "jobs.advance_job": lambda c, t, o: jobs.advance_job(
        c, o.job_of(t), UUID(int=0), done=1, passed_over=0, finished=True
    ),
    "finding.find_for_action": lambda c, t, _: found_by_action(c, t),
    "local_results.find_results": lambda c, t, o: local_results.find_results(c, [(t, o.ended, "k")]),
    "notifications.list_notifications": lambda c, t, _: notifications.list_notifications(
        c, t, user=None, unread=None, **PAGE
    ),
    "notifications.mark_read": lambda c, t, o: notifications.mark_read(c, t, o.notification, NOW),
    "notifications.mark_all_read": lambda c, t, _: notifications.mark_all_read(c, t, None, NOW),
    "record_search.search_records": lambda c, t, _: record_search.search_records(
        c, t, "notes", RecordFilter(), RecordOrder(), **PAGE, patience_seconds=5
    ),
    "records.find_record": lambda c, t, o: records.find_record(c, t, "notes", o.record),
    "records.lock_records": lambda c, t, o: records.lock_records(c, [RecordKey(t, "notes", o.record)]),
    "records.write_records": lambda c, t, o: records.write_records(
        c, [RecordChange(record_of(t, o.record), record_of(t, o.record, changed=True))]
    ),
    "live_states.load_states": lambda c, t, o: live_states.load_states(c, t, [o.pending, o.ended]),
    "live_states.newest_ids": lambda c, t, _: live_states.newest_ids(c, t, NOW - timedelta(hours=1), 50),
    "live_states.open_ids": lambda c, t, _: live_states.open_ids(c, t, 50),
    "live_states.count_from": lambda c, t, _: live_states.count_from(c, t, UUID(int=0), 50),
    "live_states.changed_since": lambda c, t, o: live_states.changed_since(
        c, t, NOW - timedelta(hours=1), UUID(int=0), workflow_id=o.workflow, execution_id=o.ended, limit=50
    ),
    "reports.count_executions": lambda c, t, _: counted(c, t),
    "reports.count_firings": lambda c, t, _: reports.count_firings(c, t, NOW, NOW + timedelta(seconds=1), 5.0),
    "reports.count_calls": lambda c, t, _: reports.count_calls(c, t, FIRST_ID, LAST_ID, 5.0),
    "rerunning.find_repeatable": lambda c, t, o: rerunning.find_repeatable(c, t, o.ended),
    "rerunning.repeat_execution": lambda c, t, o: rerunning.repeat_execution(
        c, t, o.ended, new_id=new_id(), version=1, input_json="{}", actor=None, traceparent="",
        actions=[(0, "a0", "log")],
    ),
    "accepting.put_off": lambda c, t, o: put_off(c, [(t, o.pending, NOW, 60.0)]),
    "backfills.advance_backfill": lambda c, t, o: backfills.advance_backfill(
        c, backfill_of(t, o), NOW, pause_seconds=1, done=1, passed_over=0
    ),
    "schedules.move_schedules_on": lambda c, t, o: schedules.move_schedules_on(
        c, [schedules.Move(t, o.trigger, NOW, 1, NOW, 1)]
    ),
    "schedule_control.pause_schedules": lambda c, t, o: schedule_control.pause_schedules(
        c, [(t, o.schedule, "why", None)]
    ),
    "schedule_control.resume_schedule": lambda c, t, o: schedule_control.resume_schedule(c, t, o.schedule, NOW),
    "schedule_views.list_schedules": lambda c, t, _: schedule_views.list_schedules(
        c, t, None, paused=None, page=schedule_views.ListWindow("name", True, None, 50, 0)
    ),
    "schedule_views.list_firings": lambda c, t, o: schedule_views.list_firings(
        c, t, o.trigger, None, since=NOW, before=NOW + timedelta(seconds=1), limit=50, offset=0
    ),
    "scheduled_tasks.find_task": lambda c, t, o: scheduled_tasks.find_task(c, t, o.task),
    "scheduled_tasks.lock_task": lambda c, t, o: scheduled_tasks.lock_task(c, t, o.task),
    "scheduled_tasks.list_tasks": lambda c, t, _: scheduled_tasks.list_tasks(c, t, name=None, type_name=None, **PAGE),
    "schedules.lock_schedule": lambda c, t, o: schedules.lock_schedule(c, t, o.schedule),
    "schedules.lock_due_schedules": lambda c, t, o: schedules.lock_due_schedules(c, t, o.workflow),
    "schedules.slots_that_ran": lambda c, t, o: schedules.slots_that_ran(c, t, o.trigger, [NOW]),
    "schedule_gaps.advance_gaps": lambda c, t, o: schedule_gaps.advance_gaps(c, [], [gap_of(t, o.trigger)]),
    "schedule_runs.drop_runs": lambda c, t, o: schedule_runs.drop_runs(
        c, [schedule_runs.RunRow(t, o.trigger, o.pending, False, NOW)]
    ),
    "secrets.list_secrets": lambda c, t, _: secrets.list_secrets(c, t, **PAGE),
    "secrets.find_secret": lambda c, t, _: secrets.find_secret(c, t, "token"),
    "secrets.delete_secret": lambda c, t, _: secrets.delete_secret(c, t, "token"),
    "secrets.load_sealed": lambda c, t, _: secrets.load_sealed(c, [(t, "token")]),
    "signals.send_signals": lambda c, t, o: signals.send_signals(
        c, [signals.Signal(t, o.pending, 0, 0, "event", "{}")]
    ),
    "signals.close_places": lambda c, t, o: signals.close_places(c, [signals.Place(t, o.waiting, 5, 0)]),
    "signals.signals_of": lambda c, t, o: signals.signals_of(c, [(t, o.waiting)]),
    "signals.wake_signalled": lambda c, t, o: signals.wake_signalled(c, [signals.Place(t, o.waiting, 0, 0)]),
    "controlling.cancel_replaced": lambda c, t, o: controlling.cancel_replaced(
        c, [controlling.Replaced(t, o.queued, o.running)]
    ),
    "slots.leave": lambda c, t, o: slots.leave(c, [slots.Place(t, o.running)]),
    "slots.queued_for": lambda c, t, o: slots.queued_for(c, t, o.queued),
    "triggers.taken_slugs": lambda c, t, _: triggers.taken_slugs(c, t, new_id(), ["paid"]),
    "triggers.list_triggers": lambda c, t, o: triggers.list_triggers(c, t, [o.workflow]),
    "triggers.find_trigger": lambda c, t, o: triggers.find_trigger(c, t, o.trigger),
    "triggers.sync_triggers": lambda c, t, o: triggers.sync_triggers(c, t, o.workflow, []),
    "triggers.set_next_runs": lambda c, t, o: triggers.set_next_runs(c, t, [(o.trigger, NOW)]),
    "versions.load_versions": lambda c, t, o: versions.load_versions(c, [versions.VersionKey(t, o.workflow, 1)]),
    "webhook_calls.find_logged_call": lambda c, t, o: webhook_calls.find_logged_call(c, t, o.call),
    "webhook_calls.list_calls": lambda c, t, o: webhook_calls.list_calls(
        c, t, o.trigger, webhook_calls.CallFilter(), limit=50, offset=0
    ),
    "webhook_calls.replayable_ids": lambda c, t, o: webhook_calls.replayable_ids(
        c, t, o.trigger, webhook_calls.CallFilter(), 50
    ),
    "webhook_calls.load_replayable": lambda c, t, o: webhook_calls.load_replayable(c, t, [o.call]),
    "webhook_calls.find_call": lambda c, t, o: webhook_calls.find_call(c, t, o.call),
    "webhook_secrets.list_webhook_secrets": lambda c, t, o: webhook_secrets.list_webhook_secrets(c, t, o.trigger, NOW),
    "webhook_secrets.note_secret_uses": lambda c, t, o: webhook_secrets.note_secret_uses(
        c, [(t, o.trigger, o.trigger, NOW)]
    ),
    "webhook_secrets.rotate_webhook_secret": lambda c, t, o: webhook_secrets.rotate_webhook_secret(
        c, t, webhook_secrets.NewWebhookSecret(o.trigger, new_id(), "new"), NOW
    ),
    "webhook_secrets.seal_webhook_secrets": lambda c, t, o: webhook_secrets.seal_webhook_secrets(
        c, t, o.trigger, b"other"
    ),
    "webhook_secrets.set_webhook_secrets": lambda c, t, o: webhook_secrets.set_webhook_secrets(c, t, [o.trigger], []),
    "whole_tenants.delete_some": lambda c, t, _: whole_tenants.delete_some(
        c, t, whole_tenants.TenantTable("executions", "executions", "id"), 50
    ),
    "workflows.advance_workflow": lambda c, t, o: workflows.advance_workflow(
        c, t, o.workflow, "Mine", enabled=False, version=7
    ),
    "workflows.insert_version": lambda c, t, o: workflows.insert_version(c, t, o.workflow, 2, "{}", None),
    "workflows.find_workflow": lambda c, t, o: workflows.find_workflow(c, t, o.workflow),
    "workflows.resolve_workflow": lambda c, t, o: workflows.resolve_workflow(c, t, str(o.workflow)),
    "workflows.lock_workflow": lambda c, t, o: workflows.lock_workflow(c, t, o.workflow),
    "workflows.list_workflows": lambda c, t, _: workflows.list_workflows(c, t, name=None, enabled=None, **PAGE),
    "workflows.find_startable": lambda c, t, o: workflows.find_startable(c, t, o.workflow),
    "workflows.set_workflow_enabled": lambda c, t, o: workflows.set_workflow_enabled(c, t, o.workflow, enabled=False),
    "workflows.delete_workflow": lambda c, t, o: workflows.delete_workflow(c, t, o.workflow),
    "workflows.list_versions": lambda c, t, o: workflows.list_versions(c, t, o.workflow, **PAGE),
    "workflows.find_version": lambda c, t, o: workflows.find_version(c, t, o.workflow, 1),
}  # fmt: skip
"""They are about rows that exist: with the owner's id they find or change something."""

OF_ONE_S_OWN: dict[str, Call] = {
    "api_keys.insert_api_key": lambda c, t, o: api_keys.insert_api_key(
        c, t, o.key, name="k", role="owner", prefix="sb_", hashed=b"other", expires_at=None
    ),
    "collections.delete_collection": lambda c, t, _: collections.delete_collection(c, t, "notes", with_records=True),
    "collections.insert_collection": lambda c, t, _: collections.insert_collection(
        c, t, "notes", description="", schema=None, now=NOW
    ),
    "idempotency.claim_key": lambda c, t, o: idempotency.claim_key(c, t, "k", b"other", o.ended),
    "local_results.keep_results": lambda c, t, o: local_results.keep_results(c, [((t, o.ended, "k"), {})]),
    "notifications.insert_notifications": lambda c, t, _: notifications.insert_notifications(
        c, [notification_of(t, new_id())]
    ),
    "events.raise_events": lambda c, t, _: events.raise_events(
        c, [NewEvent(t, new_id(), "deal", "{}", "api", dedupe_id="1")]
    ),
    "event_waits.add_event_waits": lambda c, t, o: event_waits.add_event_waits(
        c, [event_waits.EventWait(t, o.waiting, 1, 0, "*", None, "{}")]
    ),
    "jobs.insert_job": lambda c, t, o: jobs.insert_job(c, t, o.job.id, "retry", jobs.JobFilter(()), None),
    "backfills.insert_backfill": lambda c, t, o: backfills.insert_backfill(c, t, new_id(), o.trigger, NOW, NOW, None),
    "schedule_gaps.add_gaps": lambda c, t, o: schedule_gaps.add_gaps(c, [gap_of(t, o.trigger)]),
    "schedule_runs.add_runs": lambda c, t, o: schedule_runs.add_runs(
        c, [schedule_runs.RunRow(t, o.trigger, o.ended, False, NOW)]
    ),
    "schedules.write_backfilled": lambda c, t, o: schedules.write_backfilled(
        c, [schedules.FiringRow(t, o.trigger, NOW, NOW, "caught_up", None, None)]
    ),
    "schedules.write_manual_firing": lambda c, t, o: schedules.write_manual_firing(
        c, schedules.FiringRow(t, o.trigger, NOW, NOW, "fired", None, None)
    ),
    "schedules.write_firings": lambda c, t, o: schedules.write_firings(
        c, [schedules.FiringRow(t, o.trigger, NOW, NOW, "missed", None, None)]
    ),
    "queue_views.find_load": lambda c, t, _: queue_views.find_load(c, t),
    "queue_views.find_standing": lambda c, t, _: queue_views.find_standing(c, t, 7),
    "secrets.put_secret": lambda c, t, _: secrets.put_secret(c, t, "token", sealed=b"other", key_id="1"),
    "erasures.begin_erasure": lambda c, t, _: erasures.begin_erasure(c, t, None),
    "tenant_limits.find_quota": lambda c, t, _: tenant_limits.find_quota(c, t),
    "tenant_limits.lock_quota": lambda c, t, _: tenant_limits.lock_quota(c, t),
    "tenant_limits.set_quota": lambda c, t, _: tenant_limits.set_quota(c, t, "free", "{}"),
    "tenant_limits.weigh_tenant": lambda c, t, _: tenant_limits.weigh_tenant(c, t),
    "tenants.claim_data_key": lambda c, t, _: tenants.claim_data_key(c, t, b"fresh"),
    "tenants.find_data_key": lambda c, t, _: claimed_data_key(c, t),
    "tenants.find_tenant": lambda c, t, _: tenants.find_tenant(c, t),
    "tenants.insert_tenant": lambda c, _, __: tenants.insert_tenant(c, new_id(), "third", "Third"),
    "tenants.rename_tenant": lambda c, t, _: tenants.rename_tenant(c, t, name="Renamed", slug=None),
    "tenants.set_tenant_status": lambda c, t, _: tenants.set_tenant_status(c, t, "suspended"),
    "workflows.insert_workflow": lambda c, t, o: workflows.insert_workflow(c, t, o.workflow, "Work", enabled=True),
}
"""They are about the caller itself or make new rows: the same ids and names are free for every tenant."""


def functions_of_tenants() -> set[str]:
    """Every public function of the query modules that has a parameter `tenant_id`."""
    found: set[str] = set()
    for info in pkgutil.iter_modules(package.__path__):
        module = import_module(f"{package.__name__}.{info.name}")
        for name, function in inspect.getmembers(module, inspect.iscoroutinefunction):
            is_own = function.__module__ == module.__name__ and not name.startswith("_")
            if is_own and "tenant_id" in inspect.signature(function).parameters:
                found.add(f"{info.name}.{name}")
    return found


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.connection() as made:
        yield made


async def rows_of(connection: Connection, tenant_id: UUID) -> dict[str, list[str]]:
    """Every row of a tenant as text, table by table."""
    rows: dict[str, list[str]] = {}
    for table, row in await connection.fetch(await connection.fetchval(_ALL_ROWS), tenant_id):
        rows.setdefault(table, []).append(row)
    return rows


async def outcome(connection: Connection, call: Call, tenant_id: UUID, owned: Owned) -> tuple[object, bool, bool]:
    """What a call answers (None when the database refuses it), and whether rows of the owner, or of the caller, have
    changed. It is taken back.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        before = await rows_of(connection, owned.tenant), await rows_of(connection, tenant_id)
        answer: object = None
        try:
            async with connection.transaction():
                answer = await call(connection, tenant_id, owned)
        except asyncpg.IntegrityConstraintViolationError:
            pass
        after = await rows_of(connection, owned.tenant), await rows_of(connection, tenant_id)
    finally:
        await transaction.rollback()
    return answer, before[0] != after[0], before[1] != after[1]


def test_every_function_that_takes_a_tenant_is_called_below() -> None:
    assert functions_of_tenants() - (OF_OTHERS.keys() | OF_ONE_S_OWN.keys()) == set()


async def test_a_row_of_another_tenant_is_not_found_and_not_changed(connection: Connection) -> None:
    owned, stranger = await everything_of(connection), await make_tenant(connection, "stranger")
    for name, call in OF_OTHERS.items():
        answer, owner_changed, stranger_changed = await outcome(connection, call, stranger, owned)
        assert (bool(answer), owner_changed, stranger_changed) == (False, False, False), name
        answer, owner_changed, _ = await outcome(connection, call, owned.tenant, owned)
        assert answer or owner_changed, f"{name} finds nothing even for the owner: the test shows nothing"


async def test_a_tenant_that_makes_or_changes_its_own_touches_no_other(connection: Connection) -> None:
    owned, stranger = await everything_of(connection), await make_tenant(connection, "stranger")
    for name, call in OF_ONE_S_OWN.items():
        answer, owner_changed, stranger_changed = await outcome(connection, call, stranger, owned)
        assert not owner_changed, name
        assert answer or stranger_changed, f"{name} does nothing: the test shows nothing"


async def test_a_trigger_cannot_be_moved_to_another_tenant_s_workflow(connection: Connection) -> None:
    owned, stranger = await everything_of(connection), await make_tenant(connection, "stranger")
    mine = await make_workflow(connection, stranger)
    before = await rows_of(connection, owned.tenant)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await triggers.sync_triggers(connection, stranger, owned.workflow, [trigger_row(owned.workflow)])
    with pytest.raises(asyncpg.UniqueViolationError):
        await triggers.sync_triggers(connection, stranger, mine, [trigger_row(mine, id=owned.trigger)])
    assert await rows_of(connection, owned.tenant) == before


async def test_the_owner_has_a_row_in_every_table(connection: Connection) -> None:
    """So that what is compared above is all there is."""
    owned = await everything_of(connection)
    tables = {row["name"] for row in await connection.fetch(_TABLES)}
    assert tables == (await rows_of(connection, owned.tenant)).keys()
