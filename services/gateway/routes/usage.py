"""What a tenant may and does use, for itself; and what all have used, for the platform to bill."""

import csv
import io
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec
from litestar import Response, Router, get
from litestar.params import FromQuery, QueryParameter

from libs.common.db.metering import UsageRow, Used, export_usage, metered_until, sum_usage
from libs.common.db.pool import Connection
from libs.common.db.tenant_limits import count_in_flight, count_stocks, find_quota
from libs.common.domain.limits import RATES, Limits
from services.gateway.auth import caller_of, parts_of, require_member, require_platform, tenant_of
from services.gateway.bodies import AnyRequest
from services.gateway.documents import PLATFORM_SECURITY, TENANT_SECURITY, CsvToo, answers, problems
from services.gateway.limiting import GatewayLimits
from services.gateway.paging import Cursor, From, To, make_cursor, window

_MOST_ROWS = 10_000
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)

Since: TypeAlias = Annotated[datetime | None, QueryParameter(description="Hours that begin then or later (RFC 3339)")]
Rows: TypeAlias = Annotated[int, QueryParameter(ge=1, le=_MOST_ROWS, description="Most rows of an answer")]


class LimitUse(msgspec.Struct, frozen=True):
    """A limit and how much of it is used at present; `value` null: not limited, `used` null: nobody counts it."""

    name: str
    value: int | str | None
    used: int | None


class Totals(msgspec.Struct, frozen=True):
    """What was used in some time. `action_seconds`: how long the actions took, together."""

    executions: int
    actions: int
    action_seconds: float
    calls: int
    bytes: int
    mails: int
    tokens: int
    cost: float


class Usage(msgspec.Struct, frozen=True, rename={"since": "from"}):
    """The limits of the tenant, and what it has used in full hours `from` … `to`; later hours are not counted yet."""

    plan: str
    limits: list[LimitUse]
    since: datetime
    to: datetime
    totals: Totals


class HourUsed(Totals, frozen=True):
    """An hour of a tenant, or what came late for it: the sum of the rows of an hour counts. `id` never comes twice."""

    id: int
    tenant_id: UUID
    hour: datetime


class UsageRows(msgspec.Struct, frozen=True):
    """Rows in the order in which they were written. `next_cursor` gives what comes after these, now or later."""

    items: list[HourUsed]
    next_cursor: str
    metered_until: datetime


@get("/usage", responses=problems(400, 403, 422), summary="Show limits and usage")
async def show_usage(request: AnyRequest, since: From = None, until: To = None) -> Usage:
    """Every limit with how much of it is used, and the totals of the present month, or of the time asked for."""
    parts, tenant_id = parts_of(request), caller_of(request).tenant_id
    month = parts.clock.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    begin = _aware(since) or month
    async with parts.database.connection() as connection:
        metered = await metered_until(connection)
    end = min(metered, _aware(until) or metered)
    async with tenant_of(request).transaction() as connection:
        used = await sum_usage(connection, tenant_id, begin, end)
        quota = await find_quota(connection, tenant_id)
        limits = parts.limits.of(quota)
        counted = await _counted(connection, tenant_id)
    counted["stored_bytes"] = quota.stored_bytes if quota is not None and limits.stored_bytes is not None else None
    plan = (quota.plan if quota is not None else None) or parts.limits.limiter.plans.default
    shown = await _limits(parts.limits, tenant_id, limits, counted)
    return Usage(plan, shown, begin, max(begin, end), _totals(used))


async def _counted(connection: Connection, tenant_id: UUID) -> dict[str, int | None]:
    stocks = (await count_stocks(connection, [tenant_id]))[tenant_id]
    in_flight = await count_in_flight(connection, [tenant_id])
    return {**stocks._asdict(), "executions_in_flight": in_flight.get(tenant_id, 0)}


async def _limits(
    gateway: GatewayLimits, tenant_id: UUID, limits: Limits, counted: dict[str, int | None]
) -> list[LimitUse]:
    used = dict(counted)
    for name in RATES:
        used[name] = await gateway.limiter.rates.used(tenant_id, limits, name)
    return [LimitUse(name, value, used.get(name)) for name, value in msgspec.structs.asdict(limits).items()]


@get(
    "/usage", responses=problems(422) | answers(UsageRows), operation_class=CsvToo,
    summary="Export the usage of all tenants",
)  # fmt: skip
async def export(
    request: AnyRequest,
    since: Since = None,
    cursor: Cursor = None,
    tenant_id: FromQuery[UUID | None] = None,
    format: FromQuery[Literal["json", "csv"]] = "json",
    limit: Rows = 1_000,
) -> Response[UsageRows | bytes]:
    """The same call gives the same rows, always in the same order; only the last page grows. A consumer keeps
    `next_cursor` (in CSV the header `X-Next-Cursor`) and asks with it again.
    """
    after = window(limit, cursor, 0).after_number or 0
    async with parts_of(request).database.connection() as connection:
        until = await metered_until(connection)
        rows = await export_usage(connection, _aware(since) or _BEGINNING, after, tenant_id, limit)
    items, following = [_hour(row) for row in rows], make_cursor(str(rows[-1].number if rows else after))
    if format == "json":
        return Response(UsageRows(items, following, until))
    return Response(_csv(items), media_type="text/csv", headers={"X-Next-Cursor": following})


def _hour(row: UsageRow) -> HourUsed:
    return HourUsed(**msgspec.structs.asdict(_totals(row.used)), id=row.number, tenant_id=row.tenant_id, hour=row.hour)


def _totals(used: Used) -> Totals:
    return Totals(
        used.executions, used.actions, round(float(used.action_seconds), 3), used.calls, used.bytes, used.mails,
        int(used.tokens), round(float(used.cost), 9),
    )  # fmt: skip


def _csv(items: list[HourUsed]) -> bytes:
    columns = ["id", "tenant_id", "hour", *Totals.__struct_fields__]
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(columns)
    for item in items:
        shown = msgspec.to_builtins(item)
        rows.writerow([shown[name] for name in columns])
    return text.getvalue().encode()


def _aware(instant: datetime | None) -> datetime | None:
    return instant if instant is None or instant.tzinfo is not None else instant.replace(tzinfo=UTC)


_OWN = Router("/api/v1", route_handlers=[show_usage], guards=[require_member], security=TENANT_SECURITY, tags=["Usage"])
_ALL = Router(
    "/api/v1/admin", route_handlers=[export], guards=[require_platform], security=PLATFORM_SECURITY, tags=["Platform"]
)
ROUTER = Router("/", route_handlers=[_OWN, _ALL])
