"""Approvals: what executions ask people, and deciding it."""

from typing import Annotated, TypeAlias
from uuid import UUID

import msgspec
from litestar import Router, get, post
from litestar.params import FromPath, QueryParameter

from libs.common.db import approvals as table
from libs.common.db.approvals import Approval, ApprovalStatus, Decision
from libs.common.errors import NotFound
from services.gateway.auditing import note
from services.gateway.auth import caller_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest, read_struct
from services.gateway.documents import TENANT_SECURITY, problems, takes
from services.gateway.paging import DEFAULT_LIMIT, Cursor, Limit, Offset, Page, page, window

StatusFilter: TypeAlias = Annotated[
    ApprovalStatus | None, QueryParameter(name="status", description="Approvals that stand like this only")
]


class Decide(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The decision, and why."""

    decision: Decision
    comment: Annotated[str, msgspec.Meta(max_length=4000, pattern=r"^[^\x00]*$")] | None = None


BODIES = (Decide,)


@get("/approvals", responses=problems(400, 403, 422), summary="List approvals")
async def list_approvals(
    request: AnyRequest,
    status: StatusFilter = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    offset: Offset = 0,
) -> Page[Approval]:
    """Newest first."""
    wanted = window(limit, cursor, offset)
    async with tenant_of(request).transaction() as connection:
        rows = await table.list_approvals(
            connection, caller_of(request).tenant_id, status, after=wanted.after_id, limit=wanted.rows,
            offset=wanted.offset,
        )  # fmt: skip
    return page(rows, wanted, lambda row: row, lambda row: row.id)


@get("/approvals/{approval_id:uuid}", responses=problems(400, 403, 404), summary="Show an approval")
async def show_approval(request: AnyRequest, approval_id: FromPath[UUID]) -> Approval:
    """What is asked, and what was decided."""
    async with tenant_of(request).transaction() as connection:
        found = await table.find_approval(connection, caller_of(request).tenant_id, approval_id)
    if found is None:
        raise NotFound("There is no such approval.")
    return found


@post(
    "/approvals/{approval_id:uuid}", operation_class=takes(Decide), status_code=200,
    responses=problems(400, 403, 404, 409, 413, 415, 422), summary="Decide an approval",
)  # fmt: skip
async def decide(request: AnyRequest, approval_id: FromPath[UUID]) -> Approval:
    """The execution that asked goes on with the decision. 409 when it was decided before, its time is over, or its
    execution has ended.
    """
    caller, body = caller_of(request), await read_struct(request, Decide)
    async with tenant_of(request).transaction() as connection:
        await note(connection, "approval.decided", approval_id, None, body)
        return await table.decide(
            connection, caller.tenant_id, approval_id, body.decision, body.comment, caller.actor
        )  # fmt: skip


ROUTER = Router(
    "/api/v1",
    route_handlers=[list_approvals, show_approval, decide],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Approvals"],
)
