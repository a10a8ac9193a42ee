"""Cancelling and retrying many executions: a job that is done in the background, and how far it is."""

from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath

from libs.common.clock import first_id_at, new_id
from libs.common.db.jobs import Job, JobFilter, Kind, find_job, insert_job
from libs.common.errors import NotFound
from services.gateway.auditing import note
from services.gateway.auth import caller_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest, read_struct
from services.gateway.documents import TENANT_SECURITY, problems, takes

Trigger = Literal["manual", "schedule", "webhook", "event"]


class CancelMany(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which executions to cancel: those that have not ended and fit everything that is given."""

    status: list[Literal["pending", "running", "waiting"]] = msgspec.field(
        default_factory=lambda: ["pending", "running", "waiting"]
    )
    workflow_id: UUID | None = None
    trigger_type: Trigger | None = None
    since: datetime | None = msgspec.field(default=None, name="from")


class RetryMany(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which executions to run again: those that ended badly and fit everything that is given."""

    status: list[Literal["failed", "cancelled", "timed_out"]] = msgspec.field(default_factory=lambda: ["failed"])
    workflow_id: UUID | None = None
    trigger_type: Trigger | None = None
    since: datetime | None = msgspec.field(default=None, name="from")


class JobMade(msgspec.Struct, frozen=True):
    """A job that will be done; look at it at its `Location`."""

    job_id: UUID


BODIES = (CancelMany, RetryMany)


@post(
    "/executions/cancel", operation_class=takes(CancelMany), status_code=202, responses=problems(400, 403, 422),
    summary="Cancel many executions",
)  # fmt: skip
async def cancel_many(request: AnyRequest) -> Response[JobMade]:
    """In the background; executions that start from now on are left alone."""
    return await _make(request, "cancel", await read_struct(request, CancelMany))


@post(
    "/executions/retry", operation_class=takes(RetryMany), status_code=202, responses=problems(400, 403, 422),
    summary="Run many executions again",
)  # fmt: skip
async def retry_many(request: AnyRequest) -> Response[JobMade]:
    """In the background, each from the action that failed, on its original version and input."""
    return await _make(request, "retry", await read_struct(request, RetryMany))


@get("/jobs/{job_id:uuid}", responses=problems(400, 403, 404), summary="Look how far a job is")
async def show_job(request: AnyRequest, job_id: FromPath[UUID]) -> Job:
    """`finished_at` is null until all is done."""
    async with tenant_of(request).transaction() as connection:
        job = await find_job(connection, caller_of(request).tenant_id, job_id)
    if job is None:
        raise NotFound("There is no such job.")
    return job


async def _make(request: AnyRequest, kind: Kind, wanted: CancelMany | RetryMany) -> Response[JobMade]:
    caller, job_id = caller_of(request), new_id()
    since = wanted.since or datetime.fromtimestamp(0, UTC)
    first_id = first_id_at(since if since.tzinfo else since.replace(tzinfo=UTC))
    chosen = JobFilter(tuple(wanted.status), wanted.workflow_id, wanted.trigger_type, first_id)
    async with tenant_of(request).transaction() as connection:
        await insert_job(connection, caller.tenant_id, job_id, kind, chosen, caller.actor)
        await note(connection, "executions.cancelled" if kind == "cancel" else "executions.rerun", job_id, None, wanted)
    return Response(JobMade(job_id), status_code=202, headers={"Location": f"/api/v1/jobs/{job_id}"})


ROUTER = Router(
    "/api/v1",
    route_handlers=[cancel_many, retry_many, show_job],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Executions"],
)
