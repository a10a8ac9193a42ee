"""Triggers of a workflow, the address of its webhook, and when its schedules fire next."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import msgspec
from litestar import Router, get, post
from litestar.params import FromPath, QueryParameter

from libs.common.db.triggers import StoredTrigger, find_trigger, list_triggers
from libs.common.db.workflows import StoredWorkflow
from libs.common.domain.dates import read_zone
from libs.common.domain.schedule import next_run
from libs.common.domain.schedule_config import ScheduleConfig
from libs.common.domain.schedule_text import describe
from libs.common.domain.schedule_validation import schedule_faults
from libs.common.domain.tenant import role_allows
from libs.common.domain.trigger import TriggerSpec, schedule_config
from libs.common.errors import Conflict, Forbidden, InvalidInput, NotFound
from services.gateway.auth import caller_of, parts_of, require_member, require_reader
from services.gateway.bodies import AnyRequest, read_struct
from services.gateway.definitions import definition_of, trigger_document, webhook_url
from services.gateway.documents import TENANT_SECURITY, problems, takes
from services.gateway.parts import Caller, GatewayParts
from services.gateway.publishing import change_workflow
from services.gateway.routes.workflows import base_url, load

Count: TypeAlias = Annotated[int, QueryParameter(ge=1, le=100, description="How many run times")]
_INSTRUCTIONS = (
    "Send an HTTP {methods} to the address with the payload as JSON; it is answered 202 with the execution's id."
)


class Triggers(msgspec.Struct, frozen=True):
    """The triggers of a workflow; the list is short and has one page."""

    items: list[dict[str, Any]]
    next_cursor: None = None


class WebhookAddress(msgspec.Struct, frozen=True):
    """Where to send calls."""

    workflow_id: UUID
    trigger_id: UUID
    webhook_url: str
    webhook_token: str
    instructions: str


class NextRuns(msgspec.Struct, frozen=True):
    """Coming run times, UTC; empty when the schedule or its workflow is disabled, or has come to its end."""

    items: list[datetime]


class Draft(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A schedule that is not stored."""

    config: dict[str, Any]
    count: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5


class PreviewRow(msgspec.Struct, frozen=True):
    """One run time, in the schedule's zone and in UTC. `mark` tells of daylight saving: always null for now."""

    local: datetime
    utc: datetime
    mark: None = None


class Preview(msgspec.Struct, frozen=True):
    """A draft as a sentence, and its coming run times."""

    description: str
    items: list[PreviewRow]


BODIES = (Draft,)


@get("/workflows/{workflow_id:uuid}/triggers", responses=problems(400, 403, 404), summary="List triggers")
async def list_of_workflow(request: AnyRequest, workflow_id: FromPath[UUID]) -> Triggers:
    """In the order of the definition."""
    caller = caller_of(request)
    async with parts_of(request).database.connection() as connection:
        stored = await load(connection, caller, workflow_id)
        rows = await list_triggers(connection, caller.tenant_id, [workflow_id])
    by_key, base = {row.key: row for row in rows}, base_url(request)
    specs: list[dict[str, Any]] = definition_of(stored).get("triggers") or []
    return Triggers(
        [trigger_document(spec, by_key[spec["key"]], base, None) for spec in specs if spec["key"] in by_key]
    )


@get("/workflows/{workflow_id:uuid}/webhook-url", responses=problems(400, 403, 404), summary="Show the webhook address")
async def show_webhook_url(request: AnyRequest, workflow_id: FromPath[UUID]) -> WebhookAddress:
    """The address of the first webhook trigger. If there is none it is made, which needs an editor."""
    caller, parts = caller_of(request), parts_of(request)
    async with parts.database.connection() as connection:
        await load(connection, caller, workflow_id)
        rows = await list_triggers(connection, caller.tenant_id, [workflow_id])
    row = _first_webhook(rows) or await _make_webhook(parts, caller, workflow_id)
    methods: Sequence[str] = msgspec.json.decode(row.config).get("methods") or ["POST"]
    return WebhookAddress(
        workflow_id=workflow_id,
        trigger_id=row.id,
        webhook_url=webhook_url(row, base_url(request)),
        webhook_token=row.token or "",
        instructions=_INSTRUCTIONS.format(methods=" or ".join(methods)),
    )


@get(
    "/triggers/{trigger_id:uuid}/next-runs", responses=problems(400, 403, 404, 409, 422), summary="Show next run times"
)
async def show_next_runs(request: AnyRequest, trigger_id: FromPath[UUID], count: Count = 5) -> NextRuns:
    """When a schedule fires next."""
    caller, parts = caller_of(request), parts_of(request)
    async with parts.database.connection() as connection:
        row = await find_trigger(connection, caller.tenant_id, trigger_id)
    if row is None:
        raise NotFound("There is no such trigger.")
    if row.type != "schedule":
        raise Conflict("This trigger is not a schedule.")
    if row.next_run_at is None:
        return NextRuns([])
    config = schedule_config(TriggerSpec(row.key, "schedule", msgspec.json.decode(row.config)))
    return NextRuns([row.next_run_at, *_coming(config, row.next_run_at, count - 1)])


@post(
    "/schedules/preview", operation_class=takes(Draft), status_code=200, guards=[require_reader],
    responses=problems(400, 403, 415, 422), summary="Preview a schedule",
)  # fmt: skip
async def preview(request: AnyRequest) -> Preview:
    """The next run times of a draft, in its own zone and in UTC; nothing is stored."""
    draft = await read_struct(request, Draft)
    config = _checked(draft.config)
    zone = read_zone(config.timezone)
    instants = _coming(config, parts_of(request).clock.now(), draft.count)
    return Preview(describe(config), [PreviewRow(instant.astimezone(zone), instant) for instant in instants])


def _coming(config: ScheduleConfig, after: datetime, count: int) -> list[datetime]:
    instants: list[datetime] = []
    while len(instants) < count and (instant := next_run(config, after)) is not None:
        instants.append(instant)
        after = instant
    return instants


def _checked(config: dict[str, Any]) -> ScheduleConfig:
    """The draft as a schedule. Raises `InvalidInput` with every fault."""
    faults = schedule_faults(config, "config")
    if faults:
        raise InvalidInput(faults, "The schedule has faults.")
    return schedule_config(TriggerSpec("draft", "schedule", config))


async def _make_webhook(parts: GatewayParts, caller: Caller, workflow_id: UUID) -> StoredTrigger:
    """The workflow's webhook trigger, made in a new version if nobody was faster."""
    if not role_allows(caller.role, "editor"):
        raise Forbidden("The workflow has no webhook; making one needs the role editor.")

    def add(stored: StoredWorkflow) -> dict[str, Any]:
        document = definition_of(stored)
        triggers: list[dict[str, Any]] = document.get("triggers") or []
        if any(trigger["type"] == "webhook" for trigger in triggers):
            return document
        taken = {trigger["key"] for trigger in triggers}
        key = next(
            key
            for number in range(len(taken) + 1)
            if (key := f"webhook_{number}" if number else "webhook") not in taken
        )
        return {**document, "triggers": [*triggers, {"key": key, "type": "webhook", "config": {}}]}

    published = await change_workflow(parts, caller, workflow_id, None, add)
    row = _first_webhook(published.triggers)
    if row is None:
        raise NotFound("The webhook was removed at the same moment.")
    return row


def _first_webhook(rows: Sequence[StoredTrigger]) -> StoredTrigger | None:
    return next((row for row in rows if row.type == "webhook"), None)


_MEMBERS = Router("/", route_handlers=[list_of_workflow, show_webhook_url, show_next_runs], guards=[require_member])
ROUTER = Router("/api/v1", route_handlers=[_MEMBERS, preview], security=TENANT_SECURITY, tags=["Triggers"])
