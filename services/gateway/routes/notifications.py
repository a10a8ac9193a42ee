"""In-app notifications: what a tenant's product shows to its users, and what was read."""

from datetime import datetime
from typing import Annotated, TypeAlias
from uuid import UUID

import msgspec
from litestar import Router, get, post
from litestar.params import FromPath, FromQuery, QueryParameter

from libs.common.db import notifications as table
from libs.common.domain.notifications import MAX_USER, Level, Notification
from libs.common.domain.records import text_problem
from libs.common.errors import Fault, InvalidInput, NotFound
from services.gateway.auth import caller_of, parts_of, require_reader, tenant_of
from services.gateway.bodies import AnyRequest
from services.gateway.documents import TENANT_SECURITY, problems
from services.gateway.paging import DEFAULT_LIMIT, Cursor, Limit, Offset, Page, page, window

User: TypeAlias = Annotated[
    str | None, QueryParameter(max_length=MAX_USER, description="Whose; else that of X-User-ID; else all of the tenant")
]


class NotificationShown(msgspec.Struct, frozen=True):
    """A notification. `user`: null when it is for everybody; such a one is read when anybody has read it."""

    id: UUID
    user: str | None
    level: Level
    title: str
    message: str
    link: str | None
    execution_id: UUID | None
    created_at: datetime
    read: bool
    read_at: datetime | None


class ReadAll(msgspec.Struct, frozen=True):
    """How many were unread before."""

    updated: int


@get("/notifications", responses=problems(400, 403, 422), summary="List notifications")
async def list_notifications(
    request: AnyRequest,
    user: User = None,
    unread: FromQuery[bool | None] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    offset: Offset = 0,
) -> Page[NotificationShown]:
    """Newest first: those of the user and those for everybody."""
    wanted = window(limit, cursor, offset)
    reader = _reader(request, user)
    async with tenant_of(request).transaction() as connection:
        rows = await table.list_notifications(
            connection, caller_of(request).tenant_id, user=reader, unread=unread,
            after=wanted.after_id, limit=wanted.rows, offset=wanted.offset,
        )  # fmt: skip
    return page(rows, wanted, _shown, lambda row: row.id)


@post(
    "/notifications/{notification_id:uuid}/read", status_code=200, responses=problems(400, 403, 404),
    summary="Mark a notification as read",
)  # fmt: skip
async def read_one(request: AnyRequest, notification_id: FromPath[UUID]) -> NotificationShown:
    """Again is harmless: it was read when it was first marked. Any role may."""
    async with tenant_of(request).transaction() as connection:
        row = await table.mark_read(
            connection, caller_of(request).tenant_id, notification_id, parts_of(request).clock.now()
        )
    if row is None:
        raise NotFound("There is no such notification.")
    return _shown(row)


@post(
    "/notifications/read-all", status_code=200, responses=problems(400, 403, 422),
    summary="Mark all notifications as read",
)  # fmt: skip
async def read_all(request: AnyRequest, user: User = None) -> ReadAll:
    """Those that the list shows for the user. Any role may."""
    reader = _reader(request, user)
    async with tenant_of(request).transaction() as connection:
        updated = await table.mark_all_read(
            connection, caller_of(request).tenant_id, reader, parts_of(request).clock.now()
        )
    return ReadAll(updated)


def _reader(request: AnyRequest, user: str | None) -> str | None:
    if user is None:
        return caller_of(request).actor
    if problem := text_problem(user):
        raise InvalidInput([Fault("user", problem)], "The parameters have faults.")
    return user


def _shown(row: Notification) -> NotificationShown:
    return NotificationShown(
        id=row.id,
        user=row.user_id or None,
        level=row.level,
        title=row.title,
        message=row.message,
        link=row.link,
        execution_id=row.execution_id,
        created_at=row.created_at,
        read=row.read_at is not None,
        read_at=row.read_at,
    )


ROUTER = Router(
    "/api/v1",
    route_handlers=[list_notifications, read_one, read_all],
    guards=[require_reader],
    security=TENANT_SECURITY,
    tags=["Notifications"],
)
