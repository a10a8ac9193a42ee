"""Limits that are nearly used up, noted in memory and written in batches: the scheduler raises `limit.near` for each,
once a day. To note one that is noted costs a look-up.
"""

from datetime import date
from uuid import UUID

from libs.common.clock import Clock
from libs.common.db.pool import Database
from libs.common.db.tenant_limits import Warned, note_warnings
from libs.common.domain.limits import is_near
from libs.common.errors import Unavailable

_MOST_NOTED = 100_000


class NearLimits:
    """What this process has seen."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._noted: dict[tuple[UUID, str], date] = {}
        self._due: list[Warned] = []

    def note(self, tenant_id: UUID, name: str, value: int, used: int) -> None:
        """So much of a limit is used; what is less than four fifths is nobody's concern."""
        if not is_near(value, used):
            return
        day = self._clock.now().date()
        if self._noted.get((tenant_id, name)) == day:
            return
        if len(self._noted) >= _MOST_NOTED:
            self._noted.clear()
        self._noted[tenant_id, name] = day
        self._due.append(Warned(tenant_id, name, day, value, used))

    async def write(self) -> None:
        """What was noted is on record; while PostgreSQL is away it is kept."""
        due, self._due = self._due, []
        if not due:
            return
        try:
            async with self._database.connection() as connection:
                await note_warnings(connection, due)
        except Unavailable:
            self._due = due + self._due
