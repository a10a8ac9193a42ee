"""The platform's own calls: tenants, their first keys, and their end."""

from typing import Annotated, Literal, cast
from uuid import UUID

import msgspec
from litestar import Response, Router, delete, get, patch, post
from litestar.params import FromPath
from litestar.response import Stream

from libs.common.clock import new_id
from libs.common.db import erasures
from libs.common.db import tenants as table
from libs.common.db.erasures import Erasure
from libs.common.db.tenants import Tenant
from libs.common.domain.tenant import SLUG_RULE, is_slug
from libs.common.errors import Fault, InvalidInput, NotFound, TenantErased
from services.gateway.auditing import note
from services.gateway.auth import actor_of, parts_of, require_platform
from services.gateway.bodies import AnyRequest, Name, read_struct
from services.gateway.documents import PLATFORM_SECURITY, problems, takes
from services.gateway.exporting import Exports
from services.gateway.live import opened
from services.gateway.paging import DEFAULT_LIMIT, Cursor, Limit, Offset, Page, page, window
from services.gateway.routes.api_keys import KeyMade, KeyShown, NewKey, drop_key, make_key, show_key_of, show_keys

Slug = Annotated[str, msgspec.Meta(max_length=63, description=f"For X-Tenant-ID: {SLUG_RULE}")]


class NewTenant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant to be made."""

    slug: Slug
    name: Name


class TenantChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to change of a tenant; what is left out stays."""

    slug: Slug | None = None
    name: Name | None = None


class Erase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That it is meant: the slug of the tenant."""

    slug: str


BODIES = (NewTenant, TenantChange, Erase)
ZIP = "application/zip"


@post("/tenants", operation_class=takes(NewTenant), responses=problems(400, 409, 422), summary="Create a tenant")
async def create_tenant(request: AnyRequest) -> Response[Tenant]:
    """Answers 201 with the tenant; 409 when the slug is taken."""
    body = await read_struct(request, NewTenant)
    _check_slug(body.slug)
    async with parts_of(request).database.transaction() as connection:
        tenant = await table.insert_tenant(connection, new_id(), body.slug, body.name)
        await note(connection, "tenant.created", tenant.id, None, tenant)
    return Response(tenant, headers={"Location": f"/api/v1/admin/tenants/{tenant.id}"})


@get("/tenants", responses=problems(422), summary="List tenants")
async def list_tenants(
    request: AnyRequest, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None, offset: Offset = 0
) -> Page[Tenant]:
    """Newest first."""
    wanted = window(limit, cursor, offset)
    async with parts_of(request).database.connection() as connection:
        rows = await table.list_tenants(connection, after=wanted.after_id, limit=wanted.rows, offset=wanted.offset)
    return page(rows, wanted, lambda row: row, lambda row: row.id)


@get("/tenants/{tenant_id:uuid}", responses=problems(404), summary="Show a tenant")
async def show_tenant(request: AnyRequest, tenant_id: FromPath[UUID]) -> Tenant:
    """One tenant."""
    async with parts_of(request).database.connection() as connection:
        return _found(await table.find_tenant(connection, tenant_id))


@patch(
    "/tenants/{tenant_id:uuid}", operation_class=takes(TenantChange), responses=problems(400, 404, 409, 422),
    summary="Change a tenant",
)  # fmt: skip
async def change_tenant(request: AnyRequest, tenant_id: FromPath[UUID]) -> Tenant:
    """Changes slug, name or both; 409 when the slug is taken."""
    body = await read_struct(request, TenantChange)
    _check_slug(body.slug)
    async with parts_of(request).database.transaction() as connection:
        before = await table.find_tenant(connection, tenant_id)
        changed = _found(await table.rename_tenant(connection, tenant_id, name=body.name, slug=body.slug))
        await note(connection, "tenant.changed", tenant_id, before, changed, tenant_id=_kept(changed))
        return changed


@post("/tenants/{tenant_id:uuid}/suspend", status_code=200, responses=problems(404, 410), summary="Suspend a tenant")
async def suspend_tenant(request: AnyRequest, tenant_id: FromPath[UUID]) -> Tenant:
    """Its credentials and webhooks answer 403 from now on, its schedules and events start nothing; what runs ends."""
    return await _set_status(request, tenant_id, "suspended", "tenant.suspended")


@post("/tenants/{tenant_id:uuid}/resume", status_code=200, responses=problems(404, 410), summary="Resume a tenant")
async def resume_tenant(request: AnyRequest, tenant_id: FromPath[UUID]) -> Tenant:
    """Undoes a suspension."""
    return await _set_status(request, tenant_id, "active", "tenant.resumed")


@get(
    "/tenants/{tenant_id:uuid}/export", media_type=ZIP, responses=problems(404, 429), summary="Export a tenant",
)  # fmt: skip
async def export_tenant(request: AnyRequest, tenant_id: FromPath[UUID]) -> Stream:
    """Everything of it as a ZIP: JSON lines for each table, all of one moment, without what opens something."""
    parts, exports = parts_of(request), cast("Exports", request.app.state["exports"])
    async with parts.database.transaction() as connection:
        tenant = _found(await table.find_tenant(connection, tenant_id))
        exports.admit()
        await note(connection, "tenant.exported", tenant_id, tenant_id=_kept(tenant))
    name = f'attachment; filename="{tenant.slug}.zip"'
    archive = await opened(exports.archive(tenant_id, parts.clock.now()))
    return Stream(archive, media_type=ZIP, headers={"Content-Disposition": name})


@post(
    "/tenants/{tenant_id:uuid}/erase", operation_class=takes(Erase), status_code=202,
    responses=problems(400, 404, 422), summary="Erase a tenant",
)  # fmt: skip
async def erase_tenant(request: AnyRequest, tenant_id: FromPath[UUID]) -> Response[Erasure]:
    """For ever. At once: its data key is destroyed, nobody is let in. Its rows go in the background; the answer is the
    receipt, which stays.
    """
    body, actor = await read_struct(request, Erase), actor_of(request)
    async with parts_of(request).database.transaction() as connection:
        tenant = await table.find_tenant(connection, tenant_id)
        if tenant is not None and body.slug != tenant.slug:
            raise InvalidInput([Fault("slug", "is not the slug of this tenant")])
        receipt = _receipt(await erasures.begin_erasure(connection, tenant_id, actor))
        await note(connection, "tenant.erased", tenant_id, {"slug": receipt.slug})
    return Response(receipt, status_code=202, headers={"Location": f"/api/v1/admin/erasures/{tenant_id}"})


@get("/erasures", responses=problems(422), summary="List the receipts of erased tenants")
async def list_erasures(
    request: AnyRequest, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None, offset: Offset = 0
) -> Page[Erasure]:
    """The youngest tenants first."""
    wanted = window(limit, cursor, offset)
    async with parts_of(request).database.connection() as connection:
        rows = await erasures.list_erasures(connection, after=wanted.after_id, limit=wanted.rows, offset=wanted.offset)
    return page(rows, wanted, lambda row: row, lambda row: row.id)


@get("/erasures/{tenant_id:uuid}", responses=problems(404), summary="Show the receipt of an erased tenant")
async def show_erasure(request: AnyRequest, tenant_id: FromPath[UUID]) -> Erasure:
    """`finished_at` is null until nothing is left; `counts` has the rows of each table that are gone."""
    async with parts_of(request).database.connection() as connection:
        return _receipt(await erasures.find_erasure(connection, tenant_id))


@post(
    "/tenants/{tenant_id:uuid}/api-keys", operation_class=takes(NewKey), responses=problems(400, 404, 422),
    summary="Create an API key of a tenant",
)  # fmt: skip
async def create_tenant_key(request: AnyRequest, tenant_id: FromPath[UUID]) -> KeyMade:
    """The key is shown this once."""
    parts, wanted = parts_of(request), await read_struct(request, NewKey)
    return await make_key(parts, parts.database.transaction(), tenant_id, wanted)


@get("/tenants/{tenant_id:uuid}/api-keys", responses=problems(404, 422), summary="List the API keys of a tenant")
async def list_tenant_keys(
    request: AnyRequest,
    tenant_id: FromPath[UUID],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    offset: Offset = 0,
) -> Page[KeyShown]:
    """Newest first, revoked ones too."""
    parts = parts_of(request)
    async with parts.database.connection() as connection:
        _found(await table.find_tenant(connection, tenant_id))
    return await show_keys(parts, tenant_id, window(limit, cursor, offset))


@get("/tenants/{tenant_id:uuid}/api-keys/{key_id:uuid}", responses=problems(404), summary="Show an API key of a tenant")
async def show_tenant_key(request: AnyRequest, tenant_id: FromPath[UUID], key_id: FromPath[UUID]) -> KeyShown:
    """What may be shown of it: never the key itself."""
    return await show_key_of(parts_of(request), tenant_id, key_id)


@delete("/tenants/{tenant_id:uuid}/api-keys/{key_id:uuid}", responses=problems(404), summary="Revoke an API key")
async def revoke_tenant_key(request: AnyRequest, tenant_id: FromPath[UUID], key_id: FromPath[UUID]) -> None:
    """It stops working at the latest when the caches have forgotten it (`SIGNALBOX_CACHE_SECONDS`)."""
    await drop_key(parts_of(request).database.transaction(), tenant_id, key_id)


def _check_slug(slug: str | None) -> None:
    if slug is not None and not is_slug(slug):
        raise InvalidInput([Fault("slug", f"must be {SLUG_RULE}")])


async def _set_status(
    request: AnyRequest, tenant_id: UUID, status: Literal["active", "suspended"], kind: str
) -> Tenant:
    async with parts_of(request).database.transaction() as connection:
        changed = await table.set_tenant_status(connection, tenant_id, status)
        if changed is None and await table.find_tenant(connection, tenant_id) is not None:
            raise TenantErased("This tenant is being erased.")
        tenant = _found(changed)
        await note(connection, kind, tenant_id, tenant_id=tenant_id)
    return tenant


def _kept(tenant: Tenant) -> UUID | None:
    """Whose log has it too; None for one that is being erased, where a late row would outlive it."""
    return None if tenant.status == "erasing" else tenant.id


def _receipt(erasure: Erasure | None) -> Erasure:
    if erasure is None:
        raise NotFound("There is no such tenant.")
    return erasure


def _found(tenant: Tenant | None) -> Tenant:
    if tenant is None:
        raise NotFound("There is no such tenant.")
    return tenant


ROUTER = Router(
    "/api/v1/admin",
    route_handlers=[
        create_tenant, list_tenants, show_tenant, change_tenant, suspend_tenant, resume_tenant, export_tenant,
        erase_tenant, list_erasures, show_erasure,
        create_tenant_key, list_tenant_keys, show_tenant_key, revoke_tenant_key,
    ],
    guards=[require_platform],
    security=PLATFORM_SECURITY,
    tags=["Platform"],
)  # fmt: skip
