"""The audit log: the tenant's own for its owners, the platform's for the platform. In pages, or as CSV."""

import csv
import io
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec
from litestar import Response, Router, get
from litestar.di import NamedDependency, Provide
from litestar.params import QueryParameter

from libs.common.clock import id_time
from libs.common.db.audit import PLATFORM, AuditFilter, AuditRow, list_audit_rows
from libs.common.db.pool import Connection
from libs.common.domain.audit import Changed
from services.gateway.auth import caller_of, parts_of, require_owner, require_platform, tenant_of
from services.gateway.bodies import AnyRequest
from services.gateway.documents import PLATFORM_SECURITY, TENANT_SECURITY, CsvToo, answers, problems
from services.gateway.paging import DEFAULT_LIMIT, Cursor, From, Limit, Offset, Page, To, Window, id_bound, page, window

_MOST_LINES = 10_000
_COLUMNS = ("created_at", "kind", "object", "actor", "credential", "address", "request_id", "stands_for", "changes")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

_Text = Annotated[str | None, QueryParameter(max_length=400, pattern=r"^[^\x00]*$")]
Kind: TypeAlias = Annotated[
    str | None,
    QueryParameter(max_length=100, pattern=r"^[a-z_.]+$", description="A kind, or its first part: `workflow`"),
]
Format: TypeAlias = Annotated[
    Literal["json", "csv"], QueryParameter(name="format", description=f"csv: the newest {_MOST_LINES} lines at once")
]


class AuditEntry(msgspec.Struct, frozen=True):
    """One thing that somebody did. `actor`: the user whom the caller named; `credential`: the id of an API key,
    `platform`, `token` or `proxy`; `changes`: what differs, secrets as `***`; `stands_for`: how many it stands for.
    """

    id: UUID
    created_at: datetime
    kind: str
    object: str
    actor: str | None
    credential: str
    address: str
    request_id: str
    stands_for: int
    changes: list[Changed]


class Asked(msgspec.Struct, frozen=True):
    """What is to be read: which entries, which of them now, and in which form."""

    wanted: AuditFilter
    opened: Window
    form: str


async def _asked(
    actor: _Text = None,
    kind: Kind = None,
    about: Annotated[str | None, QueryParameter(name="object", max_length=400, pattern=r"^[^\x00]*$")] = None,
    created_from: From = None,
    created_to: To = None,
    form: Format = "json",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    offset: Offset = 0,
) -> Asked:
    wanted = AuditFilter(actor, kind, about, id_bound(created_from), id_bound(created_to))
    return Asked(wanted, window(limit, cursor, offset), form)


@get(
    "/audit", responses=problems(400, 403, 422) | answers(Page[AuditEntry]), operation_class=CsvToo,
    summary="Read the audit log",
)  # fmt: skip
async def list_audit(request: AnyRequest, asked: NamedDependency[Asked]) -> Response[Page[AuditEntry] | bytes]:
    """Who changed what, newest first; sign-ins that were refused too. For owners."""
    return await _answer(tenant_of(request).transaction(), caller_of(request).tenant_id, asked)


@get(
    "/audit-log", responses=problems(422) | answers(Page[AuditEntry]), operation_class=CsvToo,
    summary="Read the platform's audit log",
)  # fmt: skip
async def list_platform_audit(request: AnyRequest, asked: NamedDependency[Asked]) -> Response[Page[AuditEntry] | bytes]:
    """What the platform did, newest first, and sign-ins that named no tenant of ours."""
    return await _answer(parts_of(request).database.transaction(), PLATFORM, asked)


async def _answer(
    begun: AbstractAsyncContextManager[Connection], tenant_id: UUID, asked: Asked
) -> Response[Page[AuditEntry] | bytes]:
    wanted, opened = asked.wanted, asked.opened
    before = min((bound for bound in (opened.after_id, wanted.before_id) if bound is not None), default=None)
    wanted = msgspec.structs.replace(wanted, before_id=before)
    most = _MOST_LINES if asked.form == "csv" else opened.rows
    async with begun as connection:
        rows = await list_audit_rows(connection, tenant_id, wanted, limit=most, offset=opened.offset)
    if asked.form == "csv":
        headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
        return Response(_csv(rows), media_type="text/csv", headers=headers)
    return Response(page(rows, opened, _shown, lambda row: row.id))


def _shown(row: AuditRow) -> AuditEntry:
    changed = msgspec.json.decode(row.changes, type=list[Changed])
    return AuditEntry(
        row.id, id_time(row.id), row.kind, row.object, row.actor, row.credential, row.address, row.request_id,
        row.stands_for, changed,
    )  # fmt: skip


def _csv(rows: Sequence[AuditRow]) -> bytes:
    """As RFC 4180 has it. What a spreadsheet would take for a formula begins with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for row in rows:
        values = {**msgspec.structs.asdict(row), "created_at": id_time(row.id).isoformat()}
        writer.writerow([_cell(values[name]) for name in _COLUMNS])
    return text.getvalue().encode()


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


ROUTER = Router(
    "/api/v1",
    route_handlers=[list_audit],
    dependencies={"asked": Provide(_asked)},
    guards=[require_owner],
    security=TENANT_SECURITY,
    tags=["Audit"],
)
PLATFORM_ROUTER = Router(
    "/api/v1/admin",
    route_handlers=[list_platform_audit],
    dependencies={"asked": Provide(_asked)},
    guards=[require_platform],
    security=PLATFORM_SECURITY,
    tags=["Platform"],
)
