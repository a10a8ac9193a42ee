"""In-app notifications and whether they were read."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from libs.common.db.pool import Connection, Record
from libs.common.domain.notifications import EVERYBODY, Notification

_INSERT = """
INSERT INTO notifications (tenant_id, id, user_id, level, title, message, link, execution_id, created_at)
SELECT n.* FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[],
                       $9::timestamptz[])
    AS n (tenant_id, id, user_id, level, title, message, link, execution_id, created_at)
  JOIN tenants t ON t.tenant_id = n.tenant_id
RETURNING id
"""


async def insert_notifications(connection: Connection, notifications: Sequence[Notification]) -> set[UUID]:
    """Store unread notifications of any tenants. Returns the ids stored: not those of a tenant that is gone."""
    rows = [
        (one.tenant_id, one.id, one.user_id, one.level, one.title, one.message, one.link, one.execution_id,
         one.created_at)
        for one in notifications
    ]  # fmt: skip
    stored = await connection.fetch(_INSERT, *[[row[place] for row in rows] for place in range(9)])
    return {row["id"] for row in stored}


_LIST = """
SELECT tenant_id, id, user_id, level, title, message, link, execution_id, created_at, read_at FROM notifications
 WHERE tenant_id = $1 AND ($2::text[] IS NULL OR user_id = ANY($2)) AND ($3::uuid IS NULL OR id < $3)
   AND ($4::boolean IS NULL OR (read_at IS NULL) = $4)
 ORDER BY id DESC LIMIT $5 OFFSET $6
"""


async def list_notifications(
    connection: Connection,
    tenant_id: UUID,
    *,
    user: str | None,
    unread: bool | None,
    after: UUID | None,
    limit: int,
    offset: int,
) -> list[Notification]:
    """Newest first: those of a user and of everybody; without `user` all of the tenant."""
    rows = await connection.fetch(_LIST, tenant_id, _readers(user), after, unread, limit, offset)
    return [_read(row) for row in rows]


_MARK_READ = """
UPDATE notifications SET read_at = coalesce(read_at, $3) WHERE tenant_id = $1 AND id = $2
RETURNING tenant_id, id, user_id, level, title, message, link, execution_id, created_at, read_at
"""


async def mark_read(
    connection: Connection, tenant_id: UUID, notification_id: UUID, now: datetime
) -> Notification | None:
    """The notification is read, since `now` if it was not before; None: there is none of that id."""
    row = await connection.fetchrow(_MARK_READ, tenant_id, notification_id, now)
    return None if row is None else _read(row)


_MARK_ALL_READ = """
WITH unread AS (
    SELECT id FROM notifications
     WHERE tenant_id = $1 AND read_at IS NULL AND ($2::text[] IS NULL OR user_id = ANY($2)) AND created_at <= $3
     ORDER BY id FOR UPDATE)
UPDATE notifications n SET read_at = $3 FROM unread WHERE n.tenant_id = $1 AND n.id = unread.id
RETURNING n.id
"""


async def mark_all_read(connection: Connection, tenant_id: UUID, user: str | None, now: datetime) -> int:
    """All of a user's (as `list_notifications` has them) that were made until `now` are read. Returns how many were
    not before.
    """
    return len(await connection.fetch(_MARK_ALL_READ, tenant_id, _readers(user), now))


def _readers(user: str | None) -> list[str] | None:
    return None if user is None else [EVERYBODY, user]


def _read(row: Record) -> Notification:
    return Notification(*row.values())
