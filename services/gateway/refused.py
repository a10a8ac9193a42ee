"""Sign-ins that were refused, in the audit log: the first at once, then those of ten seconds together.

One row stands for all that are alike (same tenant, address, answer), and beyond twenty kinds one row for the rest: so
many rows can a flood write, whatever it sends. What is not written yet is lost with the process.
"""

import asyncio
from collections import Counter
from uuid import UUID

import msgspec
import structlog

from libs.common.clock import new_id
from libs.common.db.audit import PLATFORM, AuditRow, insert_audit_rows, tenants_called
from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.security.credentials import API_KEY_PREFIX
from libs.common.tasks import end_tasks
from services.gateway.auditing import Asked

_KINDS = 20
_NAME_CHARACTERS = 63
_PREFIX_CHARACTERS = 12
"""So much of an API key is no secret; its list shows it, too."""

_log = structlog.get_logger(__name__)


class Refusal(msgspec.Struct, frozen=True):
    """What is alike. `tenant`: as the request named it; `credential`: the prefix of an API key."""

    tenant: str
    address: str
    status: int
    route: str
    credential: str


_REST = Refusal("", "", 0, "", "")


class Refusals:
    """The refusals of one gateway."""

    def __init__(self, database: Database, every_seconds: float = 10.0) -> None:
        self._database, self._every_seconds = database, every_seconds
        self._noted: Counter[Refusal] = Counter()
        self._first_request: dict[Refusal, str] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, asked: Asked, status: int, route: str) -> None:
        """This request was answered 401 or 403."""
        refusal = Refusal(_tenant(asked), asked.address, status, route, _credential(asked))
        if refusal not in self._noted and len(self._noted) >= _KINDS:
            refusal = _REST
        self._noted[refusal] += 1
        self._first_request.setdefault(refusal, asked.request_id)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write_on())

    async def close(self) -> None:
        """Write what is left, if the database is there."""
        await end_tasks(self._task)
        await self.write()

    async def write(self) -> None:
        """Write what was noted; it is dropped when that can't be done now."""
        noted, requests = self._noted, self._first_request
        self._noted, self._first_request = Counter(), {}
        if not noted:
            return
        try:
            async with self._database.transaction() as connection:
                tenants = await tenants_called(connection, [one.tenant for one in noted])
                rows = [_row(one, tenants.get(one.tenant, PLATFORM), requests[one], noted[one]) for one in noted]
                await insert_audit_rows(connection, rows)
        except Unavailable as error:
            _log.warning("refused sign-ins are not on record", refused=noted.total(), reason=error.detail)

    async def _write_on(self) -> None:
        """Until nobody is refused any more."""
        while self._noted:
            await self.write()
            await asyncio.sleep(self._every_seconds)


def _row(one: Refusal, tenant_id: UUID, request_id: str, count: int) -> AuditRow:
    kind = "access.refused" if one.status == 403 else "sign_in.refused"
    return AuditRow(
        tenant_id, new_id(), kind, one.route, None, one.credential, one.address, request_id, stands_for=count
    )  # fmt: skip


def _tenant(asked: Asked) -> str:
    name = asked.header(b"x-tenant-id").strip().lower()
    return name if name.isascii() and name.isprintable() and len(name) <= _NAME_CHARACTERS else ""


def _credential(asked: Asked) -> str:
    token = asked.header(b"authorization").partition(" ")[2].strip()
    prefix = token[:_PREFIX_CHARACTERS]
    return prefix if token.startswith(API_KEY_PREFIX) and prefix.isascii() and prefix.isprintable() else ""
