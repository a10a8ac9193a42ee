"""Workflows: create, look, change, validate, delete; and their versions."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Response, Router, delete, get, patch, post, put
from litestar.params import FromPath, FromQuery, QueryParameter

from libs.common.db import workflows as table
from libs.common.db.pool import Connection
from libs.common.db.triggers import list_triggers
from libs.common.db.workflows import StoredWorkflow, VersionSummary
from libs.common.domain.json_merge import merge_patch
from libs.common.domain.workflow import Definition
from libs.common.errors import Fault, InvalidInput, NotFound
from services.gateway.auth import caller_of, parts_of, require_member, require_reader, tenant_of
from services.gateway.bodies import AnyRequest, read_object, read_struct
from services.gateway.definitions import definition_of, without_read_only, workflow_document
from services.gateway.documents import TENANT_SECURITY, problems, takes
from services.gateway.paging import DEFAULT_LIMIT, Cursor, Limit, Offset, Page, page, window
from services.gateway.parts import Caller
from services.gateway.preconditions import etag
from services.gateway.publishing import (
    Published,
    change_workflow,
    check_definition,
    create_workflow,
    remove_workflow,
    switch_workflow,
)


class Switch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether a workflow takes firings."""

    enabled: bool


class Validity(msgspec.Struct, frozen=True):
    """What is wrong with a draft."""

    valid: bool
    errors: list[Fault]


class Version(VersionSummary, frozen=True):
    """One version with its definition, without secrets."""

    definition: dict[str, Any]


BODIES = (Definition, Switch)
Document = dict[str, Any]
NamePart = Annotated[str | None, QueryParameter(max_length=200, description="Part of the name, in any case")]


def base_url(request: AnyRequest) -> str:
    """Where webhooks reach this installation: as set, else where this request came to."""
    return parts_of(request).settings.public_url or str(request.base_url)


def answer(request: AnyRequest, published: Published, status_code: int = 200) -> Response[Document]:
    """The workflow with its entity tag; secrets made just now are in it."""
    stored = published.workflow
    headers = {"ETag": etag(stored.version)}
    if status_code == 201:
        headers["Location"] = f"/api/v1/workflows/{stored.id}"
    document = workflow_document(stored, published.triggers, base_url(request), published.new_secrets)
    return Response(document, status_code=status_code, headers=headers)


async def load(connection: Connection, caller: Caller, workflow_id: UUID) -> StoredWorkflow:
    """The caller's workflow. Raises `NotFound`."""
    stored = await table.find_workflow(connection, caller.tenant_id, workflow_id)
    if stored is None:
        raise NotFound("There is no such workflow.")
    return stored


@get("/workflows", responses=problems(400, 403, 422), summary="List workflows")
async def list_workflows(
    request: AnyRequest,
    name: NamePart = None,
    enabled: FromQuery[bool | None] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    offset: Offset = 0,
) -> Page[Document]:
    """Newest first."""
    if name is not None and "\0" in name:
        raise InvalidInput([Fault("name", "must not hold the character U+0000")])
    caller, wanted = caller_of(request), window(limit, cursor, offset)
    async with tenant_of(request).transaction() as connection:
        rows = await table.list_workflows(
            connection, caller.tenant_id, name=name, enabled=enabled,
            after=wanted.after_id, limit=wanted.rows, offset=wanted.offset,
        )  # fmt: skip
        triggers = await list_triggers(connection, caller.tenant_id, [row.id for row in rows])
    base = base_url(request)

    def show(row: StoredWorkflow) -> Document:
        return workflow_document(row, [trigger for trigger in triggers if trigger.workflow_id == row.id], base, {})

    return page(rows, wanted, show, lambda row: row.id)


@post(
    "/workflows", operation_class=takes(Definition), responses=problems(400, 402, 403, 409, 413, 415, 422),
    summary="Create a workflow",
)  # fmt: skip
async def create(request: AnyRequest) -> Response[Document]:
    """Answers 201 with the stored workflow; secrets of its webhooks are shown this once."""
    raw = await read_object(request)
    return answer(request, await create_workflow(parts_of(request), caller_of(request), raw), status_code=201)


@get("/workflows/{workflow_id:uuid}", responses=problems(400, 403, 404), summary="Show a workflow")
async def show(request: AnyRequest, workflow_id: FromPath[UUID]) -> Response[Document]:
    """The newest version, with its triggers; `ETag` is the version."""
    caller = caller_of(request)
    async with tenant_of(request).transaction() as connection:
        stored = await load(connection, caller, workflow_id)
        triggers = await list_triggers(connection, caller.tenant_id, [workflow_id])
    return answer(request, Published(stored, triggers, {}))


@put(
    "/workflows/{workflow_id:uuid}", operation_class=takes(Definition),
    responses=problems(400, 402, 403, 404, 409, 412, 413, 415, 422), summary="Replace a workflow",
)  # fmt: skip
async def replace(request: AnyRequest, workflow_id: FromPath[UUID]) -> Response[Document]:
    """Makes a new version. A secret that is left out or `***` stays. With `If-Match`, 412 when somebody was faster."""
    raw, if_match = await read_object(request), request.headers.get("if-match")
    return answer(
        request, await change_workflow(parts_of(request), caller_of(request), workflow_id, if_match, lambda _: raw)
    )


@patch(
    "/workflows/{workflow_id:uuid}", operation_class=takes(None),
    responses=problems(400, 402, 403, 404, 409, 412, 413, 415, 422), summary="Change a workflow",
)  # fmt: skip
async def change(request: AnyRequest, workflow_id: FromPath[UUID]) -> Response[Document]:
    """JSON Merge Patch (RFC 7396): what is given replaces, null removes, lists are replaced whole. Makes a new
    version.
    """
    raw, if_match = await read_object(request), request.headers.get("if-match")

    def merge(stored: StoredWorkflow) -> Document:
        return merge_patch(definition_of(stored), raw)

    return answer(request, await change_workflow(parts_of(request), caller_of(request), workflow_id, if_match, merge))


@patch(
    "/workflows/{workflow_id:uuid}/enable", operation_class=takes(Switch),
    responses=problems(400, 403, 404, 412, 415, 422), summary="Enable or disable a workflow",
)  # fmt: skip
async def switch(request: AnyRequest, workflow_id: FromPath[UUID]) -> Response[Document]:
    """A disabled workflow takes no firings; its schedules stand still. The version stays."""
    body, if_match = await read_struct(request, Switch), request.headers.get("if-match")
    published = await switch_workflow(
        parts_of(request), caller_of(request), workflow_id, if_match, enabled=body.enabled
    )
    return answer(request, published)


@delete("/workflows/{workflow_id:uuid}", responses=problems(400, 403, 404, 412), summary="Delete a workflow")
async def remove(request: AnyRequest, workflow_id: FromPath[UUID]) -> None:
    """Its triggers are gone and its name is free; its executions stay readable."""
    await remove_workflow(parts_of(request), caller_of(request), workflow_id, request.headers.get("if-match"))


@post(
    "/workflows/validate", operation_class=takes(Definition), status_code=200,
    responses=problems(400, 403, 413, 415), guards=[require_reader], summary="Validate a draft",
)  # fmt: skip
async def validate(request: AnyRequest) -> Validity:
    """Every fault of a draft with its path; nothing is stored."""
    raw = await read_object(request)
    try:
        check_definition(without_read_only(raw))
    except InvalidInput as error:
        return Validity(False, list(error.faults))
    return Validity(True, [])


@get("/workflows/{workflow_id:uuid}/versions", responses=problems(400, 403, 404, 422), summary="List versions")
async def list_versions(
    request: AnyRequest,
    workflow_id: FromPath[UUID],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    offset: Offset = 0,
) -> Page[VersionSummary]:
    """Newest first."""
    caller, wanted = caller_of(request), window(limit, cursor, offset)
    async with tenant_of(request).transaction() as connection:
        await load(connection, caller, workflow_id)
        rows = await table.list_versions(
            connection, caller.tenant_id, workflow_id,
            after=wanted.after_number, limit=wanted.rows, offset=wanted.offset,
        )  # fmt: skip
    return page(rows, wanted, lambda row: row, lambda row: row.version)


@get(
    "/workflows/{workflow_id:uuid}/versions/{version:int}", responses=problems(400, 403, 404), summary="Show a version"
)
async def show_version(request: AnyRequest, workflow_id: FromPath[UUID], version: FromPath[int]) -> Version:
    """One version as it was stored; it never changes."""
    caller = caller_of(request)
    async with tenant_of(request).transaction() as connection:
        await load(connection, caller, workflow_id)
        row = None
        if 0 < version < 2**31:
            row = await table.find_version(connection, caller.tenant_id, workflow_id, version)
    if row is None:
        raise NotFound("There is no such version.")
    return Version(row.version, row.created_at, row.created_by, msgspec.json.decode(row.definition))


_MEMBERS = Router(
    "/",
    route_handlers=[
        list_workflows, create, show, replace, change, switch, remove, list_versions, show_version,
    ],
    guards=[require_member],
)  # fmt: skip
ROUTER = Router("/api/v1", route_handlers=[_MEMBERS, validate], security=TENANT_SECURITY, tags=["Workflows"])
