"""Records of a collection: list, create, look, replace, change, delete."""

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import msgspec
from litestar import Response, Router, delete, get, patch, post, put
from litestar.params import FromPath, QueryParameter

from libs.common.clock import new_id
from libs.common.db.collections import Collection, hold_collections
from libs.common.db.events import RaisedEvent, raise_events
from libs.common.db.pool import Connection
from libs.common.db.record_search import search_records
from libs.common.db.records import find_record, lock_records, write_records
from libs.common.domain.faults import struct_faults
from libs.common.domain.json_merge import merge_patch
from libs.common.domain.json_schema import instance_faults
from libs.common.domain.record_events import record_events
from libs.common.domain.record_filters import NEWEST_FIRST
from libs.common.domain.records import (
    STANDARD_COLLECTIONS,
    Record,
    RecordChange,
    RecordKey,
    data_faults,
    is_collection_name,
    is_same,
    record_document,
    revised,
    tags_faults,
)
from libs.common.errors import InvalidInput, NotFound
from services.gateway.auditing import note
from services.gateway.auth import caller_of, parts_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest, read_object
from services.gateway.documents import TENANT_SECURITY, problems, takes
from services.gateway.paging import DEFAULT_LIMIT, Cursor, Limit, Offset, Page, page, window
from services.gateway.preconditions import check_if_match, etag
from services.gateway.record_queries import cursor_position, read_after, read_query
from services.gateway.routes.collections import load_collection
from services.gateway.routes.running import traceparent_of

_READ_ONLY = frozenset({"id", "collection", "version", "created_by", "updated_by", "created_at", "updated_at"})
Tags: TypeAlias = Annotated[list[str] | None, QueryParameter(name="tag", description="May stand several times: all")]
Sort: TypeAlias = Annotated[
    str, QueryParameter(description="created_at, updated_at or a field; with - in front the largest first")
]
Document = dict[str, Any]
Body = tuple[dict[str, Any], list[str]]
"""Data and tags."""


class RecordBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a record holds."""

    data: dict[str, Any]
    tags: list[str] = []


class RecordShown(msgspec.Struct, frozen=True):
    """A record. `created_by`, `updated_by`: the `X-User-ID` of who did it, or `execution:<id>`."""

    id: str
    collection: str
    version: int
    data: dict[str, Any]
    tags: list[str]
    created_by: str | None
    updated_by: str | None
    created_at: str
    updated_at: str


BODIES = (RecordBody,)


@get("/collections/{name:str}/records", responses=problems(400, 403, 404, 422), summary="List records")
async def list_records(
    request: AnyRequest,
    name: FromPath[str],
    tag: Tags = None,
    sort: Sort = NEWEST_FIRST,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    offset: Offset = 0,
) -> Page[RecordShown]:
    """Filters: `filter[stage]=won`, `filter[customer.id][in]=1,2`. Operators: equals, not_equals, greater_than,
    greater_or_equal, less_than, less_or_equal, in, not_in, contains, starts_with, exists, not_exists.
    """
    caller, opened = caller_of(request), window(limit, cursor, offset)
    wanted, order = read_query(request.query_params.multi_items(), tag or [], sort)
    after = read_after(opened.after)
    # Not as the tenant: the operators of jsonb may not come before the tenant's policy, so its index would not be used.
    async with parts_of(request).database.connection() as connection:
        if name not in STANDARD_COLLECTIONS:
            await load_collection(connection, caller, name)
        rows = await search_records(
            connection, caller.tenant_id, name, wanted, order, after=after, limit=opened.rows, offset=opened.offset
        )
    return page(rows, opened, lambda row: _shown(row.record), cursor_position)


@post(
    "/collections/{name:str}/records", operation_class=takes(RecordBody),
    responses=problems(400, 402, 403, 404, 413, 415, 422), summary="Create a record",
)  # fmt: skip
async def create_record(request: AnyRequest, name: FromPath[str]) -> Response[RecordShown]:
    """422 with every fault when the data does not fit the collection's schema."""
    data, tags = _checked(await read_object(request))
    caller, now = caller_of(request), parts_of(request).clock.now()
    await parts_of(request).limits.admit_rows(caller.tenant_id)
    record = Record(caller.tenant_id, name, new_id(), 1, data, tags, caller.actor, caller.actor, now, now)
    async with tenant_of(request).transaction() as connection:
        collection = await _hold(connection, request, name, make=True)
        _fit(collection, data)
        raised = await _write(connection, request, RecordChange(None, record))
    parts_of(request).acceptor.announce_raised(raised)
    return _answer(record, 201)


@get("/collections/{name:str}/records/{record_id:uuid}", responses=problems(400, 403, 404), summary="Show a record")
async def show_record(request: AnyRequest, name: FromPath[str], record_id: FromPath[UUID]) -> Response[RecordShown]:
    """`ETag` is its version."""
    if not is_collection_name(name):
        raise _missing()
    async with tenant_of(request).transaction() as connection:
        record = await find_record(connection, caller_of(request).tenant_id, name, record_id)
    if record is None:
        raise _missing()
    return _answer(record)


@put(
    "/collections/{name:str}/records/{record_id:uuid}", operation_class=takes(RecordBody),
    responses=problems(400, 403, 404, 412, 413, 415, 422), summary="Replace a record",
)  # fmt: skip
async def replace_record(request: AnyRequest, name: FromPath[str], record_id: FromPath[UUID]) -> Response[RecordShown]:
    """Data and tags as given. With `If-Match`, 412 when somebody was faster."""
    body = _checked(await read_object(request))
    return await _change(request, name, record_id, lambda _: body)


@patch(
    "/collections/{name:str}/records/{record_id:uuid}", operation_class=takes(None),
    responses=problems(400, 403, 404, 412, 413, 415, 422), summary="Change a record",
)  # fmt: skip
async def change_record(request: AnyRequest, name: FromPath[str], record_id: FromPath[UUID]) -> Response[RecordShown]:
    """JSON Merge Patch (RFC 7396) of `data` and `tags`: null removes, lists are replaced whole."""
    raw = await read_object(request)

    def merge(old: Record) -> Body:
        return _checked(merge_patch({"data": old.data, "tags": old.tags}, raw))

    return await _change(request, name, record_id, merge)


@delete(
    "/collections/{name:str}/records/{record_id:uuid}", responses=problems(400, 403, 404, 412),
    summary="Delete a record",
)  # fmt: skip
async def delete_record(request: AnyRequest, name: FromPath[str], record_id: FromPath[UUID]) -> None:
    """It is gone for good."""
    async with tenant_of(request).transaction() as connection:
        await _hold(connection, request, name)
        old = await _locked(connection, request, name, record_id)
        raised = await _write(connection, request, RecordChange(old, None))
    parts_of(request).acceptor.announce_raised(raised)


async def _change(
    request: AnyRequest, name: str, record_id: UUID, decide: Callable[[Record], Body]
) -> Response[RecordShown]:
    """The record with what `decide` makes of it; its version stays if that is the same."""
    caller, now = caller_of(request), parts_of(request).clock.now()
    async with tenant_of(request).transaction() as connection:
        collection = await _hold(connection, request, name)
        old = await _locked(connection, request, name, record_id)
        data, tags = decide(old)
        _fit(collection, data)
        if is_same(old, data, tags):
            return _answer(old)
        new = revised(old, data, tags, caller.actor, now)
        raised = await _write(connection, request, RecordChange(old, new))
    parts_of(request).acceptor.announce_raised(raised)
    return _answer(new)


async def _write(connection: Connection, request: AnyRequest, change: RecordChange) -> list[RaisedEvent]:
    """Make the change true and raise its events; what they start is to be announced after the commit."""
    await write_records(connection, [change])
    await note(connection, *_told(change))
    actor, place = caller_of(request).actor, traceparent_of(request)
    return await raise_events(connection, record_events(change, new_id, actor=actor, traceparent=place))


def _told(change: RecordChange) -> tuple[str, str, object, object]:
    """For the audit log: that it was changed. What it holds is the tenant's own and stays out of there."""
    record = change.new or change.old
    assert record is not None  # one of them is there
    kind = "record.created" if change.old is None else "record.deleted" if change.new is None else "record.changed"
    before, after = (None if one is None else {"version": one.version} for one in (change.old, change.new))
    return kind, f"{record.collection}/{record.id}", before, after


async def _hold(connection: Connection, request: AnyRequest, name: str, *, make: bool = False) -> Collection:
    """The collection, kept from being deleted. Raises `NotFound`."""
    key = (caller_of(request).tenant_id, name)
    held: dict[tuple[UUID, str], Collection] = {}
    if is_collection_name(name):
        held = await hold_collections(connection, [key], [key] if make else [], parts_of(request).clock.now())
    if key not in held:
        raise NotFound("There is no such collection.")
    return held[key]


async def _locked(connection: Connection, request: AnyRequest, name: str, record_id: UUID) -> Record:
    key = RecordKey(caller_of(request).tenant_id, name, record_id)
    old = (await lock_records(connection, [key])).get(key)
    if old is None:
        raise _missing()
    check_if_match(request.headers.get("if-match"), old.version, "record")
    return old


def _checked(raw: dict[str, Any]) -> Body:
    """Data and tags of a body; what only we set is passed over. Raises `InvalidInput` with every fault."""
    body = {key: value for key, value in raw.items() if key not in _READ_ONLY}
    faults = struct_faults(body, RecordBody, "", skip=("data", "tags"))
    faults += data_faults(body.get("data"), "data")
    tags: list[str] = body.get("tags", [])
    faults += tags_faults(tags, "tags")
    if faults:
        raise InvalidInput(faults, "The record has faults.")
    return body["data"], list(dict.fromkeys(tags))


def _fit(collection: Collection, data: dict[str, Any]) -> None:
    faults = [] if collection.schema is None else instance_faults(collection.schema, data, "data")
    if faults:
        raise InvalidInput(faults, f"The data does not fit the schema of {collection.name}.")


def _answer(record: Record, status_code: int = 200) -> Response[RecordShown]:
    headers = {"ETag": etag(record.version)}
    if status_code == 201:
        headers["Location"] = f"/api/v1/collections/{record.collection}/records/{record.id}"
    return Response(_shown(record), status_code=status_code, headers=headers)


def _shown(record: Record) -> RecordShown:
    return RecordShown(**record_document(record))


def _missing() -> NotFound:
    return NotFound("There is no such record.")


ROUTER = Router(
    "/api/v1",
    route_handlers=[list_records, create_record, show_record, replace_record, change_record, delete_record],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Data"],
)
