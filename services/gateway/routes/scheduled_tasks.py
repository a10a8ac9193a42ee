"""Scheduled tasks: create, look, change, delete, run now, pause, resume; and their executions."""

from datetime import datetime
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import msgspec
from litestar import Response, Router, delete, get, patch, post, put
from litestar.params import FromPath, QueryParameter

from libs.common.db import execution_views
from libs.common.db.scheduled_tasks import StoredTask, list_tasks
from libs.common.domain.json_merge import merge_patch
from libs.common.domain.scheduled_task import ActionTask, ReportTask, ScheduledTask, TaskType
from libs.common.errors import Fault, InvalidInput
from services.gateway.auth import caller_of, parts_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest, read_object
from services.gateway.documents import TENANT_SECURITY, problems, takes
from services.gateway.paging import DEFAULT_LIMIT, Cursor, From, Limit, Offset, Page, To, page, window
from services.gateway.preconditions import etag
from services.gateway.routes.executions import ExecutionSummary, Statuses, TriggerKind, filter_of, summary_of
from services.gateway.routes.schedules import Fire, Fired, Pause, Standing, fire_now, pause_now, resume_now
from services.gateway.task_publishing import change_task, create_task, find_task, remove_task

NamePart: TypeAlias = Annotated[str | None, QueryParameter(max_length=200, description="Part of the name, in any case")]
OfType: TypeAlias = Annotated[TaskType | None, QueryParameter(name="type", description="Only tasks of this type")]


class Task(msgspec.Struct, frozen=True):
    """A task and where its schedule stands. `created_by`, `updated_by`: the `X-User-ID` of who did; `runs`: slots that
    have run; `next_run_at`: null when it is disabled or has come to its end.
    """

    id: UUID
    name: str
    description: str
    type: TaskType
    enabled: bool
    schedule: dict[str, Any]
    config: dict[str, Any]
    max_retries: int
    timeout_seconds: float | None
    version: int
    created_at: datetime
    created_by: str | None
    updated_at: datetime
    updated_by: str | None
    trigger_id: UUID
    next_run_at: datetime | None
    paused: bool
    paused_at: datetime | None
    paused_note: str | None
    paused_by: str | None
    runs: int


BODIES = (ScheduledTask, ActionTask, ReportTask)


@get("/scheduled-tasks", responses=problems(400, 403, 422), summary="List scheduled tasks")
async def list_all(
    request: AnyRequest,
    name: NamePart = None,
    type_name: OfType = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    offset: Offset = 0,
) -> Page[Task]:
    """Newest first."""
    if name is not None and "\0" in name:
        raise InvalidInput([Fault("name", "must not hold the character U+0000")])
    wanted = window(limit, cursor, offset)
    async with tenant_of(request).transaction() as connection:
        rows = await list_tasks(
            connection, caller_of(request).tenant_id, name=name, type_name=type_name,
            after=wanted.after_id, limit=wanted.rows, offset=wanted.offset,
        )  # fmt: skip
    return page(rows, wanted, _shown, lambda row: row.id)


@post(
    "/scheduled-tasks", operation_class=takes(ScheduledTask), responses=problems(400, 402, 403, 409, 413, 415, 422),
    summary="Create a scheduled task",
)  # fmt: skip
async def create(request: AnyRequest) -> Response[Task]:
    """Answers 201 with the task; it counts from now."""
    stored = await create_task(parts_of(request), caller_of(request), await read_object(request))
    headers = {"ETag": etag(stored.version), "Location": f"/api/v1/scheduled-tasks/{stored.id}"}
    return Response(_shown(stored), status_code=201, headers=headers)


@get("/scheduled-tasks/{task_id:uuid}", responses=problems(400, 403, 404), summary="Show a scheduled task")
async def show(request: AnyRequest, task_id: FromPath[UUID]) -> Response[Task]:
    """The task as it is now; `ETag` is its version."""
    async with tenant_of(request).transaction() as connection:
        return _answer(await find_task(connection, caller_of(request), task_id))


@put(
    "/scheduled-tasks/{task_id:uuid}", operation_class=takes(ScheduledTask),
    responses=problems(400, 402, 403, 404, 409, 412, 413, 415, 422), summary="Replace a scheduled task",
)  # fmt: skip
async def replace(request: AnyRequest, task_id: FromPath[UUID]) -> Response[Task]:
    """A new schedule counts from now, an unchanged one goes on. With `If-Match`, 412 when somebody was faster."""
    raw, if_match = await read_object(request), request.headers.get("if-match")
    return _answer(await change_task(parts_of(request), caller_of(request), task_id, if_match, lambda _: raw))


@patch(
    "/scheduled-tasks/{task_id:uuid}", operation_class=takes(None),
    responses=problems(400, 402, 403, 404, 409, 412, 413, 415, 422), summary="Change a scheduled task",
)  # fmt: skip
async def change(request: AnyRequest, task_id: FromPath[UUID]) -> Response[Task]:
    """JSON Merge Patch (RFC 7396): what is given replaces, null removes, lists are replaced whole."""
    raw, if_match = await read_object(request), request.headers.get("if-match")
    stored = await change_task(
        parts_of(request), caller_of(request), task_id, if_match, lambda old: merge_patch(old, raw)
    )
    return _answer(stored)


@delete("/scheduled-tasks/{task_id:uuid}", responses=problems(400, 403, 404, 412), summary="Delete a scheduled task")
async def remove(request: AnyRequest, task_id: FromPath[UUID]) -> None:
    """It runs no more and its name is free; its executions stay readable."""
    await remove_task(parts_of(request), caller_of(request), task_id, request.headers.get("if-match"))


@get(
    "/scheduled-tasks/{task_id:uuid}/executions", responses=problems(400, 403, 404, 422),
    summary="List the executions of a scheduled task",
)  # fmt: skip
async def list_executions(
    request: AnyRequest,
    task_id: FromPath[UUID],
    statuses: Statuses = None,
    trigger_kind: TriggerKind = None,
    created_from: From = None,
    created_to: To = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    offset: Offset = 0,
) -> Page[ExecutionSummary]:
    """Newest first, each with its status, duration and output."""
    caller, wanted, parts = caller_of(request), window(limit, cursor, offset), parts_of(request)
    chosen, after = filter_of(statuses, trigger_kind, created_from, created_to), wanted.after_id
    async with tenant_of(request).transaction() as connection:
        await find_task(connection, caller, task_id)
        found = await execution_views.list_workflow_executions(
            connection, caller.tenant_id, task_id, chosen, after=after, limit=wanted.rows, offset=wanted.offset,
            value_bytes=parts.settings.large_value_bytes,
        )  # fmt: skip
    return page(found, wanted, summary_of, lambda row: row.id)


@post(
    "/scheduled-tasks/{task_id:uuid}/run", operation_class=takes(Fire, required=False), status_code=202,
    responses=problems(400, 402, 403, 404, 409, 413, 415, 422), summary="Run a scheduled task now",
)  # fmt: skip
async def run(request: AnyRequest, task_id: FromPath[UUID]) -> Response[Fired]:
    """As if a slot were due now, also while it is paused; 409 when it does not overlap and a run goes on. With
    `Idempotency-Key` a retry within 24 hours starts nothing new.
    """
    return await fire_now(request, await _trigger_of(request, task_id))


@post(
    "/scheduled-tasks/{task_id:uuid}/pause", operation_class=takes(Pause, required=False), status_code=200,
    responses=problems(400, 403, 404, 409, 415, 422), summary="Pause a scheduled task",
)  # fmt: skip
async def pause(request: AnyRequest, task_id: FromPath[UUID]) -> Standing:
    """Its slots are suppressed until it is resumed."""
    return await pause_now(request, await _trigger_of(request, task_id))


@post(
    "/scheduled-tasks/{task_id:uuid}/resume", status_code=200, responses=problems(400, 403, 404, 409),
    summary="Resume a scheduled task",
)  # fmt: skip
async def resume(request: AnyRequest, task_id: FromPath[UUID]) -> Standing:
    """Slots run again from now on. 409 when it is not paused."""
    return await resume_now(request, await _trigger_of(request, task_id))


async def _trigger_of(request: AnyRequest, task_id: UUID) -> UUID:
    async with tenant_of(request).transaction() as connection:
        return (await find_task(connection, caller_of(request), task_id)).trigger_id


def _answer(stored: StoredTask) -> Response[Task]:
    return Response(_shown(stored), headers={"ETag": etag(stored.version)})


def _shown(row: StoredTask) -> Task:
    sent: dict[str, Any] = msgspec.json.decode(row.document)
    return Task(
        row.id, sent["name"], sent.get("description", ""), sent["type"], row.enabled, sent["schedule"],
        sent.get("config", {}), sent.get("max_retries", 0), sent.get("timeout_seconds"), row.version, row.created_at,
        row.created_by, row.updated_at, row.updated_by, row.trigger_id, row.next_run_at, row.paused_at is not None,
        row.paused_at, row.paused_note, row.paused_by, row.runs,
    )  # fmt: skip


ROUTER = Router(
    "/api/v1",
    route_handlers=[list_all, create, show, replace, change, remove, list_executions, run, pause, resume],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Scheduled tasks"],
)
