"""The log of webhook calls, as it is read. Times become bounds on the UUIDv7."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection, Record

_LOWEST = UUID(int=0)
_HIGHEST = UUID(int=2**128 - 1)


class StoredCall(msgspec.Struct, frozen=True):
    """One call as it came in, without credentials. `headers` is JSON text."""

    trigger_id: UUID
    method: str
    query: str
    headers: str
    body: bytes | None


_FIND = "SELECT trigger_id, method, query, headers, body FROM webhook_logs WHERE tenant_id = $1 AND id = $2"


async def find_call(connection: Connection, tenant_id: UUID, call_id: UUID) -> StoredCall | None:
    """The call of that id."""
    row = await connection.fetchrow(_FIND, tenant_id, call_id)
    return None if row is None else StoredCall(*row.values())


class LoggedCall(msgspec.Struct, frozen=True):
    """A call with what became of it. `body_bytes`: its length, None when it was never read."""

    id: UUID
    trigger_id: UUID
    execution_id: UUID | None
    outcome: str
    status: int
    detail: str
    method: str
    query: str
    ip: str
    user_agent: str
    microseconds: int
    body_bytes: int | None
    stands_for: int
    version: int | None
    replay_of: UUID | None


class LoggedCallDetail(msgspec.Struct, frozen=True):
    """A call with all that is kept of it. `headers` and `answer` are JSON texts; `body` may be cut off."""

    call: LoggedCall
    headers: str
    body: bytes | None
    answer: str | None


class CallFilter(msgspec.Struct, frozen=True):
    """Which calls of a trigger: of this outcome and status (None: any), from `first_id` on and before `before_id`."""

    outcome: str | None = None
    status: int | None = None
    first_id: UUID | None = None
    before_id: UUID | None = None


_LIST = """
SELECT id, trigger_id, execution_id, outcome, status, detail, method, query, ip, user_agent, microseconds,
       coalesce(body_bytes, length(body)) AS body_bytes, stands_for, version, replay_of
  FROM webhook_logs
 WHERE tenant_id = $1 AND trigger_id = $2 AND id >= $3 AND id < $4
   AND ($5::text IS NULL OR outcome = $5) AND ($6::int IS NULL OR status = $6)
 ORDER BY id DESC LIMIT $7 OFFSET $8
"""


async def list_calls(
    connection: Connection, tenant_id: UUID, trigger_id: UUID, wanted: CallFilter, *, limit: int, offset: int
) -> list[LoggedCall]:
    """The calls of a trigger, newest first."""
    low, high = wanted.first_id or _LOWEST, wanted.before_id or _HIGHEST
    rows = await connection.fetch(
        _LIST, tenant_id, trigger_id, low, high, wanted.outcome, wanted.status, limit, offset
    )  # fmt: skip
    return [LoggedCall(*row.values()) for row in rows]


_FIND_DETAIL = """
SELECT id, trigger_id, execution_id, outcome, status, detail, method, query, ip, user_agent, microseconds,
       coalesce(body_bytes, length(body)) AS body_bytes, stands_for, version, replay_of, headers, body, answer
  FROM webhook_logs WHERE tenant_id = $1 AND id = $2
"""


async def find_logged_call(connection: Connection, tenant_id: UUID, call_id: UUID) -> LoggedCallDetail | None:
    """The call of that id."""
    row = await connection.fetchrow(_FIND_DETAIL, tenant_id, call_id)
    if row is None:
        return None
    *fields, headers, body, answer = row.values()
    return LoggedCallDetail(LoggedCall(*fields), headers, body, answer)


_LIST_IDS = """
SELECT id FROM webhook_logs
 WHERE tenant_id = $1 AND trigger_id = $2 AND id >= $3 AND id < $4 AND replay_of IS NULL
   AND ($5::text IS NULL OR outcome = $5) AND ($6::int IS NULL OR status = $6)
 ORDER BY id LIMIT $7
"""


async def replayable_ids(
    connection: Connection, tenant_id: UUID, trigger_id: UUID, wanted: CallFilter, limit: int
) -> list[UUID]:
    """Calls of a trigger that are no replays themselves, oldest first."""
    low, high = wanted.first_id or _LOWEST, wanted.before_id or _HIGHEST
    rows = await connection.fetch(_LIST_IDS, tenant_id, trigger_id, low, high, wanted.outcome, wanted.status, limit)
    return [row["id"] for row in rows]


class Replayable(msgspec.Struct, frozen=True):
    """A call with what starting its workflow again needs. `original_version`: None for calls of old."""

    id: UUID
    method: str
    query: str
    headers: str
    body: bytes | None
    body_bytes: int | None
    original_version: int | None
    trigger_id: UUID
    key: str
    workflow_id: UUID
    workflow_name: str
    enabled: bool
    latest_version: int
    tenant_slug: str


_REPLAYABLE = """
SELECT l.id, l.method, l.query, l.headers, l.body, l.body_bytes, l.version AS original_version, tr.id AS trigger_id,
       tr.key, w.id AS workflow_id, w.name, w.enabled, w.version AS latest_version, t.slug
  FROM unnest($2::uuid[]) AS wanted (id)
  JOIN webhook_logs l ON l.tenant_id = $1 AND l.id = wanted.id
  JOIN triggers tr ON tr.tenant_id = $1 AND tr.id = l.trigger_id
  JOIN workflows w ON w.tenant_id = $1 AND w.id = tr.workflow_id AND w.deleted_at IS NULL
  JOIN tenants t ON t.tenant_id = $1
 ORDER BY l.id
"""


async def load_replayable(connection: Connection, tenant_id: UUID, call_ids: Sequence[UUID]) -> list[Replayable]:
    """Those of the calls whose trigger and workflow are still there, oldest first."""
    return [_replayable(row) for row in await connection.fetch(_REPLAYABLE, tenant_id, call_ids)]


def _replayable(row: Record) -> Replayable:
    return Replayable(*row.values())


class CallAnswer(msgspec.Struct, frozen=True):
    """What a caller who waited was answered in the end. `answer` is JSON text."""

    tenant_id: UUID
    id: UUID
    status: int
    answer: str
    microseconds: int


_NOTE = """
UPDATE webhook_logs l SET status = n.status, answer = n.answer, microseconds = n.microseconds
  FROM unnest($1::uuid[], $2::uuid[], $3::int2[], $4::json[], $5::int[])
       AS n (tenant_id, id, status, answer, microseconds)
 WHERE l.tenant_id = n.tenant_id AND l.id = n.id
"""


async def note_answers(connection: Connection, notes: Sequence[CallAnswer]) -> None:
    """The calls that are on record have got these answers."""
    columns = [list(column) for column in zip(*[msgspec.structs.astuple(one) for one in notes], strict=True)]
    await connection.execute(_NOTE, *columns)


_KNOWN = """
SELECT l.id FROM unnest($1::uuid[], $2::uuid[]) AS wanted (tenant_id, id)
  JOIN webhook_logs l ON l.tenant_id = wanted.tenant_id AND l.id = wanted.id
"""


async def known_calls(connection: Connection, calls: Sequence[tuple[UUID, UUID]]) -> set[UUID]:
    """Those of the calls (tenant, call) that are on record."""
    tenants, ids = [tenant for tenant, _ in calls], [one for _, one in calls]
    return {row["id"] for row in await connection.fetch(_KNOWN, tenants, ids)}
