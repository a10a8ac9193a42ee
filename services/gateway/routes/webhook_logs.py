"""The log of webhook calls, refused ones too, and replaying one or many."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath, QueryParameter

from libs.common.clock import id_time
from libs.common.db.triggers import StoredTrigger, find_trigger
from libs.common.db.webhook_calls import (
    CallFilter,
    LoggedCall,
    find_logged_call,
    list_calls,
    load_replayable,
    replayable_ids,
)
from libs.common.errors import Conflict, Fault, InvalidInput, NotFound, SignalboxError, Unavailable
from services.gateway.auditing import note
from services.gateway.auth import caller_of, parts_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest, read_object, to_struct
from services.gateway.documents import TENANT_SECURITY, problems, takes
from services.gateway.paging import DEFAULT_LIMIT, Cursor, From, Limit, Offset, Page, To, id_bound, page, window
from services.gateway.replaying import (
    HowToReplay,
    Replay,
    load_definitions,
    refusal,
    replay,
)
from services.gateway.routes.running import traceparent_of

MAX_REPLAYS = 200

OutcomeFilter: TypeAlias = Annotated[
    str | None, QueryParameter(max_length=64, description="Calls of this outcome only: accepted, no_match, or a check")
]
StatusFilter: TypeAlias = Annotated[int | None, QueryParameter(ge=100, le=599, description="Answered with this status")]


class WebhookLog(msgspec.Struct, frozen=True):
    """A call and what became of it. `outcome`: `accepted`, `duplicate`, `no_match` …, or the check that refused it,
    `detail` why; `stands_for`: how many calls this one is the sample of; `replay_of`: the call that this one repeats.
    """

    id: UUID
    trigger_id: UUID
    execution_id: UUID | None
    outcome: str
    status: int
    detail: str
    method: str
    query: str
    ip: str
    user_agent: str
    microseconds: int
    body_bytes: int | None
    stands_for: int
    version: int | None
    replay_of: UUID | None
    created_at: datetime


class WebhookLogDetail(WebhookLog, frozen=True):
    """A call with its headers (credentials are `***`), its body as text (or base64, see `body_encoding`) and, when it
    was no ordinary one, its answer. `body_cut`: only the beginning of the body was kept.
    """

    headers: Any
    body: str | None
    body_encoding: Literal["text", "base64"]
    body_cut: bool
    answer: Any


class ReplayCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`original`: on the version that the call met. `conditions` false: straight, whatever the conditions say."""

    version: Literal["original", "latest"] = "latest"
    conditions: bool = True


class ReplayCalls(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"created_from": "from"}):
    """Which calls of the trigger: `ids`, or those of an outcome, a status and a time, oldest first, after `after`."""

    ids: Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=MAX_REPLAYS)] | None = None
    outcome: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    status: int | None = None
    created_from: datetime | None = None
    to: datetime | None = None
    after: UUID | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_REPLAYS)] = MAX_REPLAYS
    version: Literal["original", "latest"] = "latest"
    conditions: bool = True


class Replays(msgspec.Struct, frozen=True):
    """One answer for each call; `after`: goes into the next request, null when there are no more."""

    items: list[Replay]
    after: UUID | None


BODIES = (ReplayCall, ReplayCalls)


@get("/triggers/{trigger_id:uuid}/webhook-logs", responses=problems(400, 403, 404, 422), summary="List webhook calls")
async def list_logs(
    request: AnyRequest,
    trigger_id: FromPath[UUID],
    outcome: OutcomeFilter = None,
    status: StatusFilter = None,
    created_from: From = None,
    created_to: To = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    offset: Offset = 0,
) -> Page[WebhookLog]:
    """Newest first, refused calls too."""
    caller, wanted = caller_of(request), window(limit, cursor, offset)
    before = min((one for one in (wanted.after_id, id_bound(created_to)) if one is not None), default=None)
    chosen = CallFilter(outcome, status, id_bound(created_from), before)
    async with tenant_of(request).transaction() as connection:
        await find_webhook(request, connection, trigger_id)
        rows = await list_calls(connection, caller.tenant_id, trigger_id, chosen, limit=wanted.rows, offset=offset)
    return page(rows, wanted, lambda row: WebhookLog(**_fields(row)), lambda row: row.id)


@get("/webhook-logs/{log_id:uuid}", responses=problems(400, 403, 404), summary="Show a webhook call")
async def show_log(request: AnyRequest, log_id: FromPath[UUID]) -> WebhookLogDetail:
    """All that is kept of a call."""
    async with tenant_of(request).transaction() as connection:
        found = await find_logged_call(connection, caller_of(request).tenant_id, log_id)
    if found is None:
        raise NotFound("There is no such webhook call.")
    body, encoding = _shown(found.body)
    return WebhookLogDetail(
        **_fields(found.call),
        headers=msgspec.Raw(found.headers.encode()),
        body=body,
        body_encoding=encoding,
        body_cut=found.body is not None and len(found.body) < (found.call.body_bytes or 0),
        answer=None if found.answer is None else msgspec.Raw(found.answer.encode()),
    )


@post(
    "/webhook-logs/{log_id:uuid}/replay", operation_class=takes(ReplayCall, required=False), status_code=202,
    responses=problems(400, 402, 403, 404, 409, 413, 422), summary="Replay a webhook call",
)  # fmt: skip
async def replay_log(request: AnyRequest, log_id: FromPath[UUID]) -> Response[Replay]:
    """The call once more, past the checks of who sent it. 409 when its body was not kept whole."""
    body = to_struct(await read_object(request), ReplayCall) if await request.body() else ReplayCall()
    caller, parts, how = caller_of(request), parts_of(request), HowToReplay(body.version, body.conditions)
    await parts.limits.admit_start(caller.tenant_id, 0)
    async with tenant_of(request).transaction() as connection:
        if await find_logged_call(connection, caller.tenant_id, log_id) is None:
            raise NotFound("There is no such webhook call.")
        await note(connection, "webhook_call.replayed", log_id, None, body)
        calls = await load_replayable(connection, caller.tenant_id, [log_id])
        definitions = await load_definitions(connection, caller.tenant_id, calls, how)
    if not calls:
        raise Conflict("The trigger of this call is gone.")
    done = await replay(parts, caller, calls[0], definitions, how, traceparent_of(request))
    headers = {"Location": f"/api/v1/executions/{done.execution_id}"} if done.execution_id else {}
    return Response(done, status_code=202, headers=headers)


@post(
    "/triggers/{trigger_id:uuid}/webhook-logs/replay", operation_class=takes(ReplayCalls), status_code=202,
    responses=problems(400, 402, 403, 404, 413, 422), summary="Replay webhook calls of a trigger",
)  # fmt: skip
async def replay_logs(request: AnyRequest, trigger_id: FromPath[UUID]) -> Replays:
    """At most 200 at once. One that cannot be replayed does not hold up the others: each has its own answer."""
    body = to_struct(await read_object(request), ReplayCalls)
    caller, parts, how = caller_of(request), parts_of(request), HowToReplay(body.version, body.conditions)
    await parts.limits.admit_start(caller.tenant_id, 0)
    async with tenant_of(request).transaction() as connection:
        await find_webhook(request, connection, trigger_id)
        await note(connection, "webhook_calls.replayed", trigger_id, None, body)
        ids = body.ids or await replayable_ids(connection, caller.tenant_id, trigger_id, _chosen(body), body.limit)
        calls = [
            call
            for call in await load_replayable(connection, caller.tenant_id, ids)
            if call.trigger_id == trigger_id
        ]  # fmt: skip
        definitions = await load_definitions(connection, caller.tenant_id, calls, how)
    if body.ids and (missing := set(body.ids) - {call.id for call in calls}):
        faults = [Fault(f"ids[{place}]", "is no call of this trigger") for place, one in enumerate(body.ids)
                  if one in missing]  # fmt: skip
        raise InvalidInput(faults)
    items: list[Replay] = []
    for call in calls:
        try:
            items.append(await replay(parts, caller, call, definitions, how, traceparent_of(request)))
        except Unavailable:
            raise
        except SignalboxError as error:
            items.append(refusal(call.id, error))
    return Replays(items, ids[-1] if not body.ids and len(ids) == body.limit else None)


async def find_webhook(request: AnyRequest, connection: Any, trigger_id: UUID) -> StoredTrigger:
    """The webhook trigger. Raises `NotFound` or `Conflict`."""
    row = await find_trigger(connection, caller_of(request).tenant_id, trigger_id)
    if row is None:
        raise NotFound("There is no such trigger.")
    if row.type != "webhook":
        raise Conflict("This trigger is not a webhook.")
    return row


def _chosen(body: ReplayCalls) -> CallFilter:
    bounds = [one for one in (id_bound(body.created_from), body.after and UUID(int=body.after.int + 1)) if one]
    return CallFilter(body.outcome, body.status, max(bounds, default=None), id_bound(body.to))


def _fields(row: LoggedCall) -> dict[str, Any]:
    return {**msgspec.structs.asdict(row), "created_at": id_time(row.id)}


def _shown(body: bytes | None) -> tuple[str | None, Literal["text", "base64"]]:
    if body is None:
        return None, "text"
    try:
        return body.decode(), "text"
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), "base64"


_HANDLERS: Sequence[Any] = (list_logs, show_log, replay_log, replay_logs)
ROUTER = Router(
    "/api/v1", route_handlers=_HANDLERS, guards=[require_member], security=TENANT_SECURITY, tags=["Webhook calls"]
)
