"""API keys, for owners; and the four things done with keys, which the platform's calls share."""

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Annotated, TypeAlias
from uuid import UUID

import msgspec
from litestar import Router, delete, get, post
from litestar.params import FromPath

from libs.common.clock import new_id, random_token
from libs.common.db import api_keys as table
from libs.common.db.pool import Connection
from libs.common.domain.tenant import RoleName, Scope, scopes_include
from libs.common.errors import Fault, Forbidden, InvalidInput, NotFound
from libs.common.security.credentials import new_api_key
from services.gateway.auditing import note
from services.gateway.auth import caller_of, parts_of, require_owner, tenant_of
from services.gateway.bodies import AnyRequest, Name, read_struct
from services.gateway.documents import TENANT_SECURITY, problems, takes
from services.gateway.paging import DEFAULT_LIMIT, Cursor, Limit, Offset, Page, Window, page, window
from services.gateway.parts import GatewayParts

KeyShown = table.ApiKey
Transaction: TypeAlias = AbstractAsyncContextManager[Connection]
"""Not begun yet: the tenant's own, or the platform's, which writes two logs."""


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key to be made; without `expires_at` it lives until it is revoked, without `scopes` it may do all that its role
    may.
    """

    name: Name
    role: RoleName
    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1, max_length=32)] | None = None
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class KeyMade(msgspec.Struct, frozen=True):
    """A new key, the only time that `key` is shown."""

    id: UUID
    key: str
    name: str
    role: str
    scopes: list[str] | None
    prefix: str
    created_at: datetime
    expires_at: datetime | None


BODIES = (NewKey,)


async def make_key(parts: GatewayParts, begun: Transaction, tenant_id: UUID, wanted: NewKey) -> KeyMade:
    """Store a new key of 256 random bits; only its hash is kept. Raises `NotFound` when there is no such tenant."""
    if wanted.expires_at is not None and wanted.expires_at <= parts.clock.now():
        raise InvalidInput([Fault("expires_at", "must be in the future")])
    key = new_api_key(random_token())
    async with begun as connection:
        made = await table.insert_api_key(
            connection,
            tenant_id,
            new_id(),
            name=wanted.name,
            role=wanted.role,
            prefix=key.prefix,
            hashed=key.hash,
            expires_at=wanted.expires_at,
            scopes=None if wanted.scopes is None else sorted(set(wanted.scopes)),
        )
        await note(connection, "api_key.created", made.id, None, wanted, tenant_id=tenant_id)
    return KeyMade(made.id, key.key, made.name, made.role, made.scopes, made.prefix, made.created_at, made.expires_at)


async def show_keys(parts: GatewayParts, tenant_id: UUID, wanted: Window) -> Page[KeyShown]:
    """One page of a tenant's keys."""
    async with parts.database.for_tenant(tenant_id).transaction() as connection:
        rows = await table.list_api_keys(
            connection, tenant_id, after=wanted.after_id, limit=wanted.rows, offset=wanted.offset
        )
    return page(rows, wanted, lambda row: row, lambda row: row.id)


async def show_key_of(parts: GatewayParts, tenant_id: UUID, key_id: UUID) -> KeyShown:
    """One key. Raises `NotFound` when the tenant has no such key."""
    async with parts.database.for_tenant(tenant_id).transaction() as connection:
        found = await table.find_api_key(connection, tenant_id, key_id)
    if found is None:
        raise NotFound("There is no such API key.")
    return found


async def drop_key(begun: Transaction, tenant_id: UUID, key_id: UUID) -> None:
    """Revoke a key. Raises `NotFound` when the tenant has no such key."""
    async with begun as connection:
        if not await table.revoke_api_key(connection, tenant_id, key_id):
            raise NotFound("There is no such API key.")
        await note(connection, "api_key.revoked", key_id, tenant_id=tenant_id)


@post("/api-keys", operation_class=takes(NewKey), responses=problems(400, 403, 422), summary="Create an API key")
async def create_key(request: AnyRequest) -> KeyMade:
    """The key is shown this once. A credential with scopes hands out no others than it has."""
    caller, wanted = caller_of(request), await read_struct(request, NewKey)
    if not scopes_include(caller.scopes, wanted.scopes):
        raise Forbidden("A credential with scopes makes keys of its own scopes only.")
    return await make_key(parts_of(request), tenant_of(request).transaction(), caller.tenant_id, wanted)


@get("/api-keys", responses=problems(400, 403, 422), summary="List API keys")
async def list_keys(
    request: AnyRequest, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None, offset: Offset = 0
) -> Page[KeyShown]:
    """Newest first, revoked ones too."""
    return await show_keys(parts_of(request), caller_of(request).tenant_id, window(limit, cursor, offset))


@get("/api-keys/{key_id:uuid}", responses=problems(400, 403, 404), summary="Show an API key")
async def show_key(request: AnyRequest, key_id: FromPath[UUID]) -> KeyShown:
    """What may be shown of it: never the key itself."""
    return await show_key_of(parts_of(request), caller_of(request).tenant_id, key_id)


@delete("/api-keys/{key_id:uuid}", responses=problems(400, 403, 404), summary="Revoke an API key")
async def revoke_key(request: AnyRequest, key_id: FromPath[UUID]) -> None:
    """It stops working at the latest when the caches have forgotten it (`SIGNALBOX_CACHE_SECONDS`)."""
    await drop_key(tenant_of(request).transaction(), caller_of(request).tenant_id, key_id)


ROUTER = Router(
    "/api/v1",
    route_handlers=[create_key, list_keys, show_key, revoke_key],
    guards=[require_owner],
    security=TENANT_SECURITY,
    tags=["API keys"],
)
