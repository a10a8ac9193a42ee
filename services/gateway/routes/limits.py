"""The limits of a tenant, set by the platform: its plan, and what it overrides of that."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Router, get, put
from litestar.params import FromPath

from libs.common.db.tenant_limits import Quota, find_quota, lock_quota, set_quota
from libs.common.db.tenants import find_tenant
from libs.common.domain.limits import Limits, limit_faults
from libs.common.errors import Fault, InvalidInput, NotFound, TenantErased
from services.gateway.auditing import note
from services.gateway.auth import parts_of, require_platform
from services.gateway.bodies import AnyRequest, read_struct
from services.gateway.documents import PLATFORM_SECURITY, problems, takes
from services.gateway.limiting import GatewayLimits


class SetLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`plan`: null for the default one. `quota`: limits of the tenant's own, over those of the plan; null lifts one."""

    plan: Annotated[str, msgspec.Meta(min_length=1, max_length=63)] | None = None
    quota: dict[str, Any] = {}


class TenantLimits(msgspec.Struct, frozen=True):
    """`limits`: what plan and quota come to; null: not limited."""

    plan: str
    quota: dict[str, Any]
    limits: Limits


BODIES = (SetLimits,)


@get("/tenants/{tenant_id:uuid}/limits", responses=problems(404), summary="Show the limits of a tenant")
async def show_limits(request: AnyRequest, tenant_id: FromPath[UUID]) -> TenantLimits:
    """Its plan, its own limits, and what they come to."""
    parts = parts_of(request)
    async with parts.database.connection() as connection:
        return _shown(parts.limits, await find_quota(connection, tenant_id))


@put(
    "/tenants/{tenant_id:uuid}/limits", operation_class=takes(SetLimits), responses=problems(400, 404, 413, 415, 422),
    summary="Set the limits of a tenant",
)  # fmt: skip
async def put_limits(request: AnyRequest, tenant_id: FromPath[UUID]) -> TenantLimits:
    """They hold at the latest when the caches have forgotten the old ones (`SIGNALBOX_CACHE_SECONDS`)."""
    parts, body = parts_of(request), await read_struct(request, SetLimits)
    faults = limit_faults(body.quota, "quota")
    named = parts.limits.limiter.plans.named
    if body.plan is not None and body.plan not in named:
        faults.append(Fault("plan", f"there is no plan {body.plan!r}; there are: {', '.join(sorted(named))}"))
    if faults:
        raise InvalidInput(faults)
    async with parts.database.transaction() as connection:
        before = _shown(parts.limits, await lock_quota(connection, tenant_id))
        if (tenant := await find_tenant(connection, tenant_id)) is not None and tenant.status == "erasing":
            raise TenantErased("This tenant is being erased.")
        quota = msgspec.json.encode(body.quota).decode()
        stored = _shown(parts.limits, await set_quota(connection, tenant_id, body.plan, quota))
        await note(connection, "tenant.limits_set", tenant_id, _noted(before), _noted(stored), tenant_id=tenant_id)
    return stored


def _shown(limits: GatewayLimits, stored: Quota | None) -> TenantLimits:
    if stored is None:
        raise NotFound("There is no such tenant.")
    plan = stored.plan or limits.limiter.plans.default
    return TenantLimits(plan, msgspec.json.decode(stored.quota), limits.of(stored))


def _noted(one: TenantLimits) -> dict[str, Any]:
    return {"plan": one.plan, "limits": msgspec.to_builtins(one.limits)}


ROUTER = Router(
    "/api/v1/admin",
    route_handlers=[show_limits, put_limits],
    guards=[require_platform],
    security=PLATFORM_SECURITY,
    tags=["Platform"],
)
