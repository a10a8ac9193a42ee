"""What was announced on the bus lately, and what of it nobody has taken yet.

When an execution was announced stands nowhere; its `wake_at`, as long as it is pending, says when it is to be announced
again, which is a fixed time later: `REPUBLISH_SECONDS` for one that was accepted, `NEXT_TRY_SECONDS` for one that was
woken or let go.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from libs.common.db.accepting import REPUBLISH_SECONDS
from libs.common.db.executions import NEXT_TRY_SECONDS
from libs.common.db.pool import Connection

_LEAD = timedelta(seconds=NEXT_TRY_SECONDS - REPUBLISH_SECONDS)


class Announced(NamedTuple):
    """An execution that is pending at this epoch, and when it is to be announced again if nobody takes it."""

    tenant_id: UUID
    id: UUID
    epoch: int
    wake_at: datetime

    @property
    def overtakes(self) -> datetime:
        """Whatever is to be announced again before that instant was announced before this one: at the latest when it
        was accepted, and this one at the earliest when it was woken.
        """
        return self.wake_at - _LEAD


_NEWEST = """
SELECT tenant_id, id, epoch, wake_at FROM executions
 WHERE status = 'pending' AND wake_at > now() AND wake_at <= now() + make_interval(secs => $1)
 ORDER BY wake_at DESC LIMIT 1
"""


async def newest_announced(connection: Connection) -> Announced | None:
    """One of those that were announced last and are not taken; None when everything is taken or overdue."""
    row = await connection.fetchrow(_NEWEST, NEXT_TRY_SECONDS)
    return None if row is None else Announced(*row.values())


_NOT_TAKEN = """
SELECT noted.tenant_id, noted.id, noted.epoch, noted.wake_at
  FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::timestamptz[]) AS noted (tenant_id, id, epoch, wake_at)
  JOIN executions e ON e.tenant_id = noted.tenant_id AND e.id = noted.id
 WHERE e.status = 'pending' AND e.epoch = noted.epoch
"""


async def not_taken(connection: Connection, noted: Sequence[Announced]) -> list[Announced]:
    """Those of them that nobody has taken since."""
    columns = [list(column) for column in zip(*noted, strict=True)] or [[], [], [], []]
    return [Announced(*row.values()) for row in await connection.fetch(_NOT_TAKEN, *columns)]
