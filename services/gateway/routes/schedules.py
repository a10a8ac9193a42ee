"""Schedules: which there are, their ledger, and what people do to them: pause, resume, fire now, back-fill."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath, QueryParameter

from libs.common.accept import NewExecution
from libs.common.clock import new_id
from libs.common.db.backfills import insert_backfill
from libs.common.db.idempotency import claim_key
from libs.common.db.pool import Connection
from libs.common.db.schedule_control import pause_schedules, resume_schedule
from libs.common.db.schedule_gaps import Gap, add_gaps
from libs.common.db.schedule_runs import Place, open_runs
from libs.common.db.schedule_views import FiringView, ListWindow, ScheduleView, list_firings, list_schedules
from libs.common.db.schedules import DueSchedule, lock_schedule, write_manual_firing
from libs.common.db.triggers import find_trigger
from libs.common.domain.firing_policy import FiringOutcome, Judge, first_slot_from, read_schedule
from libs.common.domain.schedule_text import describe
from libs.common.errors import Conflict, Fault, IdempotencyMismatch, InvalidInput, NotFound
from libs.common.schedule_firing import Planned, planned_slot, start
from services.gateway.auditing import note
from services.gateway.auth import caller_of, parts_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest, read_object, read_struct, to_struct
from services.gateway.documents import TENANT_SECURITY, problems, takes
from services.gateway.paging import DEFAULT_LIMIT, Cursor, From, Limit, Offset, Page, To, page, window
from services.gateway.parts import Caller
from services.gateway.routes.jobs import JobMade
from services.gateway.routes.running import idempotency_key, traceparent_of
from services.gateway.schedule_order import Sort, cursor_position, read_after

MAX_BACKFILL_DAYS = 366
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)

Search: TypeAlias = Annotated[
    str | None, QueryParameter(max_length=200, description="Part of the key or of the workflow's name")
]
Paused: TypeAlias = Annotated[bool | None, QueryParameter(description="Only those that are paused, or are not")]
Outcome: TypeAlias = Annotated[FiringOutcome | None, QueryParameter(description="Only slots with this outcome")]


class Schedule(msgspec.Struct, frozen=True):
    """A schedule and where it stands. `next_run_at`: null when it is switched off or has come to its end; `runs`: slots
    that have run; `last_run_at`, `last_lag_ms`: when the newest of them was taken, and how late.
    """

    trigger_id: UUID
    workflow_id: UUID
    workflow_name: str
    key: str
    description: str
    config: dict[str, Any]
    enabled: bool
    next_run_at: datetime | None
    paused: bool
    paused_at: datetime | None
    paused_note: str | None
    paused_by: str | None
    runs: int
    last_run_at: datetime | None
    last_lag_ms: int | None


class Firing(msgspec.Struct, frozen=True):
    """A due slot and what became of it (`kind` manual: fired by hand). `outcome` null: it waits for the run before it
    to end; `lag_ms`: from the planned to the actual time.
    """

    planned_at: datetime
    actual_at: datetime
    lag_ms: int
    kind: str
    outcome: str | None
    execution_id: UUID | None
    reason: str | None


class Pause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why, for those who wonder."""

    note: Annotated[str, msgspec.Meta(max_length=1000, pattern=r"^[^\x00]*$(?!\n)")] | None = None


class Fire(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With which input, instead of the schedule's own."""

    input: dict[str, Any] | None = None


class BackfillRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The slots of which time, both ends included."""

    since: Annotated[datetime, msgspec.Meta(tz=True)] = msgspec.field(name="from")
    to: Annotated[datetime, msgspec.Meta(tz=True)]


class Standing(msgspec.Struct, frozen=True):
    """Where a schedule stands now."""

    trigger_id: UUID
    next_run_at: datetime | None
    paused: bool
    paused_note: str | None = None


class Fired(msgspec.Struct, frozen=True):
    """A run that will happen: at once, or (`waiting`) when the run before it has ended."""

    execution_id: UUID
    status: Literal["pending", "waiting"]


BODIES = (Pause, Fire, BackfillRange)


@get("/schedules", responses=problems(400, 403, 422), summary="List schedules")
async def list_all(
    request: AnyRequest,
    search: Search = None,
    paused: Paused = None,
    sort: Sort = "next_run_at",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    offset: Offset = 0,
) -> Page[Schedule]:
    """The next due first, unless `sort` says otherwise; those without a value to sort by come last."""
    wanted = window(limit, cursor, offset)
    after, descending = read_after(wanted.after, sort), sort.startswith("-")
    async with tenant_of(request).transaction() as connection:
        rows = await list_schedules(
            connection, caller_of(request).tenant_id, search, paused=paused,
            page=ListWindow(sort.removeprefix("-"), descending, after, wanted.rows, wanted.offset),
        )  # fmt: skip
    return page(rows, wanted, lambda row: _shown(row.view), lambda row: cursor_position(row, sort))


@get("/triggers/{trigger_id:uuid}/firings", responses=problems(400, 403, 404, 409, 422), summary="List firings")
async def list_ledger(
    request: AnyRequest,
    trigger_id: FromPath[UUID],
    outcome: Outcome = None,
    created_from: From = None,
    created_to: To = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    offset: Offset = 0,
) -> Page[Firing]:
    """The ledger of a schedule, newest slot first: every due slot once. `from` and `to` are about the planned time."""
    wanted, tenant_id = window(limit, cursor, offset), caller_of(request).tenant_id
    before = _instant(wanted.after_name) if wanted.after_name is not None else _LATEST
    async with tenant_of(request).transaction() as connection:
        await _check_schedule(connection, tenant_id, trigger_id)
        rows = await list_firings(
            connection, tenant_id, trigger_id, outcome, since=_aware(created_from, _EARLIEST),
            before=min(before, _aware(created_to, _LATEST)), limit=wanted.rows, offset=wanted.offset,
        )  # fmt: skip
    return page(rows, wanted, _firing, lambda row: row.planned_at.isoformat())


@post(
    "/triggers/{trigger_id:uuid}/pause", operation_class=takes(Pause, required=False), status_code=200,
    responses=problems(400, 403, 404, 409, 415, 422), summary="Pause a schedule",
)  # fmt: skip
async def pause(request: AnyRequest, trigger_id: FromPath[UUID]) -> Standing:
    """Its slots are suppressed, each with a row in the ledger, until it is resumed. It may be fired by hand."""
    return await pause_now(request, trigger_id)


async def pause_now(request: AnyRequest, trigger_id: UUID) -> Standing:
    """The schedule is paused as the body says. Raises `NotFound` or `Conflict`."""
    caller = caller_of(request)
    body = to_struct(await read_object(request), Pause) if await request.body() else Pause()
    async with tenant_of(request).transaction() as connection:
        due = await _locked(connection, caller, trigger_id)
        await pause_schedules(connection, [(caller.tenant_id, trigger_id, body.note, caller.actor)])
        row = await find_trigger(connection, caller.tenant_id, due.trigger_id)
        await note(connection, "schedule.paused", trigger_id, None, body)
    return Standing(trigger_id, None if row is None else row.next_run_at, True, body.note)


@post(
    "/triggers/{trigger_id:uuid}/resume", status_code=200, responses=problems(400, 403, 404, 409),
    summary="Resume a schedule",
)  # fmt: skip
async def resume(request: AnyRequest, trigger_id: FromPath[UUID]) -> Standing:
    """Slots run again from now on; those before stay suppressed. 409 when it is not paused."""
    return await resume_now(request, trigger_id)


async def resume_now(request: AnyRequest, trigger_id: UUID) -> Standing:
    """The schedule goes on. Raises `NotFound`, or `Conflict` when it is not paused."""
    caller = caller_of(request)
    async with tenant_of(request).transaction() as connection:
        due = await _locked(connection, caller, trigger_id)
        if due.paused_at is None:
            raise Conflict("The schedule is not paused.")
        row, next_run_at = await find_trigger(connection, caller.tenant_id, trigger_id), None
        if row is not None and row.next_run_at is not None:
            next_run_at = row.next_run_at
            if next_run_at < due.now:
                next_run_at = first_slot_from(read_schedule(due.config), due.now)
            await add_gaps(connection, _passed_while_paused(due))
        await resume_schedule(connection, caller.tenant_id, trigger_id, next_run_at)
        await note(connection, "schedule.resumed", trigger_id)
    return Standing(trigger_id, next_run_at, False)


@post(
    "/triggers/{trigger_id:uuid}/fire", operation_class=takes(Fire, required=False), status_code=202,
    responses=problems(400, 402, 403, 404, 409, 413, 415, 422), summary="Fire a schedule now",
)  # fmt: skip
async def fire(request: AnyRequest, trigger_id: FromPath[UUID]) -> Response[Fired]:
    """As if a slot were due now, also while it is paused; overlap is judged by the schedule's policy, and 409 when that
    passes it over. With `Idempotency-Key` a retry within 24 hours starts nothing new.
    """
    return await fire_now(request, trigger_id)


async def fire_now(request: AnyRequest, trigger_id: UUID) -> Response[Fired]:
    """The schedule has fired as headers and body say. Raises `NotFound`, `Conflict` or `IdempotencyMismatch`."""
    caller, key, raw = caller_of(request), idempotency_key(request), await request.body()
    body = to_struct(await read_object(request), Fire) if raw else Fire()
    parts, run_id, new = parts_of(request), new_id(), list[NewExecution]()
    await parts.limits.admit_start(caller.tenant_id, len(raw))
    async with tenant_of(request).transaction() as connection:
        due = await _locked(connection, caller, trigger_id)
        if key is not None:
            request_hash = hashlib.sha256(trigger_id.bytes + raw).digest()
            known_hash, known_id = await claim_key(connection, caller.tenant_id, key, request_hash, run_id)
            if known_hash != request_hash:
                raise IdempotencyMismatch("This Idempotency-Key was used with another request.")
            if known_id != run_id:
                return _fired(known_id, "pending", replayed=True)
        planned, cancelled = await _plan_by_hand(connection, caller, due, body, run_id, traceparent_of(request))
        new = await start(connection, parts.acceptor, [planned], [(caller.tenant_id, one) for one in cancelled])
        await note(connection, "schedule.fired", trigger_id, None, {"execution_id": run_id})
    parts.acceptor.announce(new)
    return _fired(run_id, "pending" if planned.execution is not None else "waiting", replayed=False)


@post(
    "/triggers/{trigger_id:uuid}/backfill", operation_class=takes(BackfillRange), status_code=202,
    responses=problems(400, 403, 404, 409, 415, 422), summary="Run past slots after all",
)  # fmt: skip
async def backfill(request: AnyRequest, trigger_id: FromPath[UUID]) -> Response[JobMade]:
    """In the background, at most 50 slots a second, oldest first; what has run does not run again. Look at the job for
    how far it is.
    """
    caller, body, job_id = caller_of(request), await read_struct(request, BackfillRange), new_id()
    async with tenant_of(request).transaction() as connection:
        due = await _locked(connection, caller, trigger_id)
        _check_range(body, due.now)
        if due.is_off:
            raise Conflict("The trigger or its workflow is disabled.")
        await insert_backfill(connection, caller.tenant_id, job_id, trigger_id, body.since, body.to, caller.actor)
        await note(connection, "schedule.backfilled", trigger_id, None, body)
    return Response(JobMade(job_id), status_code=202, headers={"Location": f"/api/v1/jobs/{job_id}"})


@post(
    "/triggers/{trigger_id:uuid}/register-schedule", status_code=200, responses=problems(400, 403, 404, 409),
    summary="Register a schedule",
)  # fmt: skip
async def register(request: AnyRequest, trigger_id: FromPath[UUID]) -> Standing:
    """Nothing is left to do, as a schedule counts from when it is stored; answers when it is due next."""
    tenant_id = caller_of(request).tenant_id
    async with tenant_of(request).transaction() as connection:
        due = await _locked(connection, caller_of(request), trigger_id)
        row = await find_trigger(connection, tenant_id, trigger_id)
    return Standing(trigger_id, None if row is None else row.next_run_at, due.paused_at is not None, due.paused_note)


async def _plan_by_hand(
    connection: Connection, caller: Caller, due: DueSchedule, body: Fire, run_id: UUID, asked_at: str
) -> tuple[Planned, list[UUID]]:
    """The firing, in the ledger, and what it replaces. Raises `Conflict` when it must not run now."""
    if due.is_off:
        raise Conflict("The trigger or its workflow is disabled.")
    config, place = read_schedule(due.config), Place(due.tenant_id, due.trigger_id)
    opened = (await open_runs(connection, [place]))[place]
    judge = Judge(config, runs=0, running=len(opened.running), waiting=len(opened.waiting), suppressed=None)
    verdict = judge.overlap("fired", superseded=False)
    if verdict.act == "pass":
        raise Conflict(f"The schedule does not overlap: {verdict.reason}.")
    given = {**(config.input if body.input is None else body.input), "scheduled_for": due.now}
    planned = planned_slot(
        due,
        config,
        due.now,
        verdict,
        given=msgspec.json.encode(given),
        actor=caller.actor,
        run_id=run_id,
        place=asked_at,
    )
    planned = msgspec.structs.replace(planned, delay_seconds=0.0)
    if not await write_manual_firing(connection, planned.row):
        raise Conflict("The schedule fires at this very moment.")
    return planned, opened.running if verdict.act == "replace" else []


def _passed_while_paused(due: DueSchedule) -> list[Gap]:
    """Slots of the pause that the scheduler has not looked at yet."""
    if due.planned_at >= due.now:
        return []
    reason = due.suppressed or "paused"
    return [Gap(due.tenant_id, due.trigger_id, new_id(), due.config, due.planned_at, due.now, "suppressed", reason)]


def _fired(execution_id: UUID, status: Literal["pending", "waiting"], *, replayed: bool) -> Response[Fired]:
    headers = {"Location": f"/api/v1/executions/{execution_id}"}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(Fired(execution_id, status), status_code=202, headers=headers)


async def _locked(connection: Connection, caller: Caller, trigger_id: UUID) -> DueSchedule:
    """The schedule, kept from the scheduler until the transaction ends. Raises `NotFound` or `Conflict`."""
    due = await lock_schedule(connection, caller.tenant_id, trigger_id)
    if due is None:
        await _check_schedule(connection, caller.tenant_id, trigger_id)
        raise NotFound("There is no such trigger.")
    return due


async def _check_schedule(connection: Connection, tenant_id: UUID, trigger_id: UUID) -> None:
    row = await find_trigger(connection, tenant_id, trigger_id)
    if row is None:
        raise NotFound("There is no such trigger.")
    if row.type != "schedule":
        raise Conflict("This trigger is not a schedule.")


def _check_range(body: BackfillRange, now: datetime) -> None:
    faults: list[Fault] = []
    if body.to > now:
        faults.append(Fault("to", "must not lie in the future"))
    if body.since > body.to:
        faults.append(Fault("from", "must not be after to"))
    if body.since < now - timedelta(days=MAX_BACKFILL_DAYS):
        faults.append(Fault("from", f"must not be more than {MAX_BACKFILL_DAYS} days ago"))
    if faults:
        raise InvalidInput(faults)


def _shown(row: ScheduleView) -> Schedule:
    return Schedule(
        row.trigger_id, row.workflow_id, row.workflow_name, row.key, describe(read_schedule(row.config)),
        msgspec.json.decode(row.config), row.enabled, row.next_run_at, row.paused_at is not None, row.paused_at,
        row.paused_note, row.paused_by, row.runs, row.last_run_at, row.last_lag_ms,
    )  # fmt: skip


def _firing(row: FiringView) -> Firing:
    lag = round((row.actual_at - row.planned_at).total_seconds() * 1000)
    return Firing(row.planned_at, row.actual_at, lag, row.kind, row.outcome, row.execution_id, row.reason)


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput([Fault("cursor", "is not a `next_cursor` of this list")]) from None


def _aware(instant: datetime | None, default: datetime) -> datetime:
    if instant is None:
        return default
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


ROUTER = Router(
    "/api/v1",
    route_handlers=[list_all, list_ledger, pause, resume, fire, backfill, register],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Schedules"],
)
