"""Events: raising them, one or many, and the log of what became of each."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath, QueryParameter

from libs.common.clock import id_time
from libs.common.db.event_views import StoredEvent, find_event
from libs.common.db.event_views import list_events as list_stored
from libs.common.db.events import EventIdTaken, RaisedEvent
from libs.common.domain.event_names import NAME
from libs.common.domain.events import Outcome
from libs.common.domain.faults import join_path
from libs.common.errors import Fault, InvalidInput, NotFound
from libs.common.sent_events import RaiseEvent, RaiseEvents, new_events, read_events
from services.gateway.auth import caller_of, parts_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest, read_object_or_list
from services.gateway.documents import TENANT_SECURITY, problems, takes
from services.gateway.paging import DEFAULT_LIMIT, Cursor, From, Limit, Offset, Page, To, id_bound, page, window
from services.gateway.routes.running import idempotency_key, traceparent_of

TypeFilter: TypeAlias = Annotated[str | None, QueryParameter(pattern=NAME, description="Events of this name only")]


class Raised(msgspec.Struct, frozen=True):
    """An event that is on record, and the executions that it has started. `duplicate`: it was on record before."""

    event_id: UUID
    execution_ids: Sequence[UUID]
    duplicate: bool


class RaisedMany(msgspec.Struct, frozen=True):
    """The events in the order in which they were sent."""

    items: list[Raised]


class EventSummary(msgspec.Struct, frozen=True):
    """An event without its data. `depth`: how many executions led to it; `execution_id`: the one that raised it;
    `dedupe_id`: the sender's `id`; `started` executions, `told` those that waited for it.
    """

    id: UUID
    type: str
    source: str
    depth: int
    execution_id: UUID | None
    dedupe_id: str | None
    actor: str | None
    started: int
    told: int
    created_at: datetime


class Event(EventSummary, frozen=True):
    """An event with its data, and what became of it at every trigger whose name or pattern fits."""

    data: Any
    outcomes: Sequence[Outcome]


BODIES = (RaiseEvent, RaiseEvents)


@post(
    "/events", operation_class=takes(RaiseEvent, RaiseEvents), status_code=202,
    responses=problems(400, 402, 403, 413, 415, 422), summary="Raise an event, or several",
)  # fmt: skip
async def raise_events(request: AnyRequest) -> Response[Raised | RaisedMany]:
    """One event, or `{"events": […]}` (a bare list will do) with at most 100, which are raised all or none. Answers 202
    after the commit that holds every execution they start. `Idempotency-Key` stands for the `id` of events without one.
    """
    sent = read_events(await read_object_or_list(request))
    caller = caller_of(request)
    await parts_of(request).limits.admit_start(caller.tenant_id, len(await request.body()), len(sent))
    events = new_events(
        sent, caller.tenant_id, "api", key=idempotency_key(request), actor=caller.actor,
        traceparent=traceparent_of(request),
    )  # fmt: skip
    try:
        raised = await parts_of(request).acceptor.raise_events(list(events.values()))
    except EventIdTaken as error:
        taken = [path for path, event in events.items() if event.id in error.event_ids]
        raise InvalidInput([_taken(path, sent[path]) for path in taken]) from None
    return _answer(raised, single="" in sent)


def _taken(path: str, sent: RaiseEvent) -> Fault:
    where = join_path(path, "id") if sent.id is not None else "headers.Idempotency-Key"
    return Fault(where, "was used within 24 hours for an event of another type or with other data")


def _answer(raised: Sequence[RaisedEvent], *, single: bool) -> Response[Raised | RaisedMany]:
    items = [Raised(one.id, one.execution_ids, one.duplicate) for one in raised]
    if not single:
        return Response(RaisedMany(items), status_code=202)
    headers = {"Location": f"/api/v1/events/{items[0].event_id}"}
    if items[0].duplicate:
        headers["Idempotent-Replayed"] = "true"
    return Response(items[0], status_code=202, headers=headers)


@get("/events", responses=problems(400, 403, 422), summary="List events")
async def list_events(
    request: AnyRequest,
    type: TypeFilter = None,
    created_from: From = None,
    created_to: To = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    offset: Offset = 0,
) -> Page[EventSummary]:
    """Newest first, of all names or of one."""
    wanted = window(limit, cursor, offset)
    before = min((bound for bound in (wanted.after_id, id_bound(created_to)) if bound is not None), default=None)
    async with tenant_of(request).transaction() as connection:
        rows = await list_stored(
            connection, caller_of(request).tenant_id, type, first_id=id_bound(created_from), before_id=before,
            limit=wanted.rows, offset=wanted.offset,
        )  # fmt: skip
    return page(rows, wanted, lambda row: EventSummary(**_summary(row)), lambda row: row.id)


@get("/events/{event_id:uuid}", responses=problems(400, 403, 404), summary="Show an event and what became of it")
async def show_event(request: AnyRequest, event_id: FromPath[UUID]) -> Event:
    """Its data, what it started, whom it told, and why it did not start what it might have."""
    async with tenant_of(request).transaction() as connection:
        found = await find_event(connection, caller_of(request).tenant_id, event_id)
    if found is None:
        raise NotFound("There is no such event.")
    return Event(**_summary(found.event), data=msgspec.Raw(found.data.encode()), outcomes=found.outcomes)


def _summary(row: StoredEvent) -> dict[str, Any]:
    return {**msgspec.structs.asdict(row), "created_at": id_time(row.id)}


ROUTER = Router(
    "/api/v1",
    route_handlers=[raise_events, list_events, show_event],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Events"],
)
