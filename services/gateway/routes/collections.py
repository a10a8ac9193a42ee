"""Collections: what a tenant's records are kept in."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, Router, delete, get, patch, post
from litestar.params import FromPath, QueryParameter

from libs.common.db import collections as table
from libs.common.db.collections import Collection
from libs.common.db.pool import Connection
from libs.common.domain.faults import struct_faults
from libs.common.domain.json_merge import merge_patch
from libs.common.domain.json_schema import schema_faults
from libs.common.domain.records import NAME_PATTERN, is_collection_name
from libs.common.errors import Conflict, InvalidInput, NotFound
from services.gateway.auditing import note
from services.gateway.auth import caller_of, parts_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest, read_object
from services.gateway.documents import TENANT_SECURITY, problems, takes
from services.gateway.paging import DEFAULT_LIMIT, Cursor, Limit, Offset, Page, page, window
from services.gateway.parts import Caller
from services.gateway.preconditions import check_if_match, etag

_READ_ONLY = frozenset({"version", "created_at", "updated_at"})
WithRecords = Annotated[bool, QueryParameter(name="with_records", description="Delete its records too")]
Description = Annotated[str, msgspec.Meta(max_length=10_000, pattern=r"^[^\x00]*$")]


class NewCollection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A collection to be made. `schema`: a JSON Schema that the data of every record written from now on must fit."""

    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
    description: Description = ""
    schema: dict[str, Any] | bool | None = None


class CollectionShown(msgspec.Struct, frozen=True):
    """A collection."""

    name: str
    description: str
    schema: dict[str, Any] | bool | None
    version: int
    created_at: datetime
    updated_at: datetime


BODIES = (NewCollection,)


async def load_collection(connection: Connection, caller: Caller, name: str) -> Collection:
    """The caller's collection. Raises `NotFound`."""
    found = await table.find_collection(connection, caller.tenant_id, name) if is_collection_name(name) else None
    return _there(found)


@get("/collections", responses=problems(400, 403, 422), summary="List collections")
async def list_collections(
    request: AnyRequest, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None, offset: Offset = 0
) -> Page[CollectionShown]:
    """By name. `tasks`, `deals` and `leads` are listed once something was written to them."""
    wanted = window(limit, cursor, offset)
    async with tenant_of(request).transaction() as connection:
        rows = await table.list_collections(
            connection,
            caller_of(request).tenant_id,
            after=wanted.after_name,
            limit=wanted.rows,
            offset=wanted.offset,
        )
    return page(rows, wanted, _shown, lambda row: row.name)


@post(
    "/collections", operation_class=takes(NewCollection), responses=problems(400, 403, 409, 413, 415, 422),
    summary="Create a collection",
)  # fmt: skip
async def create_collection(request: AnyRequest) -> Response[CollectionShown]:
    """409 when the name is taken."""
    body = _checked(await read_object(request))
    async with tenant_of(request).transaction() as connection:
        made = await table.insert_collection(
            connection, caller_of(request).tenant_id, body.name,
            description=body.description, schema=body.schema, now=parts_of(request).clock.now(),
        )  # fmt: skip
        await note(connection, "collection.created", body.name, None, body)
    return _answer(made, 201)


@get("/collections/{name:str}", responses=problems(400, 403, 404), summary="Show a collection")
async def show_collection(request: AnyRequest, name: FromPath[str]) -> Response[CollectionShown]:
    """`ETag` is its version; records have versions of their own."""
    async with tenant_of(request).transaction() as connection:
        return _answer(await load_collection(connection, caller_of(request), name))


@patch(
    "/collections/{name:str}", operation_class=takes(None), responses=problems(400, 403, 404, 412, 413, 415, 422),
    summary="Change a collection",
)  # fmt: skip
async def change_collection(request: AnyRequest, name: FromPath[str]) -> Response[CollectionShown]:
    """JSON Merge Patch (RFC 7396) of `description` and `schema`; a `schema` of null removes it. Records that are there
    are not checked again until they are written. The name stays: workflows know the collection by it.
    """
    raw = {key: value for key, value in (await read_object(request)).items() if key not in _READ_ONLY}
    caller, parts = caller_of(request), parts_of(request)
    async with tenant_of(request).transaction() as connection:
        stored = await _locked(connection, caller, name, request.headers.get("if-match"))
        before = {"name": stored.name, "description": stored.description, "schema": stored.schema}
        body = _checked(merge_patch(before, raw))
        if body.name != name:
            raise Conflict("A collection keeps its name.")
        changed = await table.update_collection(
            connection, caller.tenant_id, name,
            description=body.description, schema=body.schema, now=parts.clock.now(),
        )  # fmt: skip
        await note(connection, "collection.changed", name, before, body)
    return _answer(changed)


@delete("/collections/{name:str}", responses=problems(400, 403, 404, 409, 412, 422), summary="Delete a collection")
async def delete_collection(request: AnyRequest, name: FromPath[str], with_records: WithRecords = False) -> None:
    """409 when it still holds records, unless they are to be deleted with it."""
    caller = caller_of(request)
    async with tenant_of(request).transaction() as connection:
        await _locked(connection, caller, name, request.headers.get("if-match"))
        if not await table.delete_collection(connection, caller.tenant_id, name, with_records=with_records):
            raise Conflict("The collection holds records; with_records=true deletes them too.")
        await note(connection, "collection.deleted", name, {"with_records": with_records})


async def _locked(connection: Connection, caller: Caller, name: str, if_match: str | None) -> Collection:
    found = await table.lock_collection(connection, caller.tenant_id, name) if is_collection_name(name) else None
    stored = _there(found)
    check_if_match(if_match, stored.version, "collection")
    return stored


def _there(found: Collection | None) -> Collection:
    if found is None:
        raise NotFound("There is no such collection.")
    return found


def _checked(raw: dict[str, Any]) -> NewCollection:
    """Raises `InvalidInput` with every fault."""
    faults = struct_faults(raw, NewCollection, "", skip=("schema",))
    if raw.get("schema") is not None:
        faults += schema_faults(raw["schema"], "schema")
    if faults:
        raise InvalidInput(faults, "The collection has faults.")
    return msgspec.convert(raw, NewCollection)


def _answer(row: Collection, status_code: int = 200) -> Response[CollectionShown]:
    headers = {"ETag": etag(row.version)}
    if status_code == 201:
        headers["Location"] = f"/api/v1/collections/{row.name}"
    return Response(_shown(row), status_code=status_code, headers=headers)


def _shown(row: Collection) -> CollectionShown:
    return CollectionShown(row.name, row.description, row.schema, row.version, row.created_at, row.updated_at)


ROUTER = Router(
    "/api/v1",
    route_handlers=[list_collections, create_collection, show_collection, change_collection, delete_collection],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Data"],
)
