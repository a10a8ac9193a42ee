"""Triggers of a workflow, and the address of its webhook."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from litestar import Router, get
from litestar.params import FromPath

from libs.common.db.triggers import StoredTrigger, list_triggers
from libs.common.db.workflows import StoredWorkflow
from libs.common.domain.tenant import role_allows
from libs.common.errors import Forbidden, NotFound
from services.gateway.auth import caller_of, parts_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest
from services.gateway.definitions import definition_of, trigger_document, webhook_url
from services.gateway.documents import TENANT_SECURITY, problems
from services.gateway.parts import Caller, GatewayParts
from services.gateway.publishing import change_workflow
from services.gateway.routes.workflows import base_url, load
from services.gateway.webhook_instructions import instructions


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
    slug: str | None
    instructions: str


@get("/workflows/{workflow_id:uuid}/triggers", responses=problems(400, 403, 404), summary="List triggers")
async def list_of_workflow(request: AnyRequest, workflow_id: FromPath[UUID]) -> Triggers:
    """In the order of the definition."""
    caller = caller_of(request)
    async with tenant_of(request).transaction() as connection:
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
    async with tenant_of(request).transaction() as connection:
        await load(connection, caller, workflow_id)
        rows = await list_triggers(connection, caller.tenant_id, [workflow_id])
    row = _first_webhook(rows) or await _make_webhook(parts, caller, workflow_id)
    return WebhookAddress(
        workflow_id=workflow_id,
        trigger_id=row.id,
        webhook_url=webhook_url(row, base_url(request)),
        webhook_token=row.token or "",
        slug=row.slug,
        instructions=instructions(msgspec.json.decode(row.config)),
    )


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


ROUTER = Router(
    "/api/v1",
    route_handlers=[list_of_workflow, show_webhook_url],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Triggers"],
)
