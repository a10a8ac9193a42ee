"""Duty: fires schedules, a batch of those that are due at a time.

A pass is one transaction: a scheduler killed anywhere in it has done nothing, and two schedulers never hold the same
schedule. What a pass makes of a schedule stands in `libs.common.schedule_pass`.
"""

import asyncio
from typing import Literal

from libs.common.accept import Acceptor
from libs.common.db.pool import Database
from libs.common.db.schedules import claim_due_schedules, seconds_until_due
from libs.common.schedule_pass import fire_due

_BATCH = 500
_LANES = 2
"""Passes side by side while there is a crowd: one is worked out while the database does the other."""


class Firing:
    """Turns due slots into executions."""

    name = "firing"
    least = 0.01
    most = 1.5

    def __init__(self, database: Database, acceptor: Acceptor) -> None:
        self._database, self._acceptor, self._lanes = database, acceptor, 1

    async def work(self) -> bool | float:
        """One pass, or several while there is a crowd; more when work is left, else the seconds until the next slot."""
        async with self._database.connection() as connection:
            left = await seconds_until_due(connection)
        if left is None:
            return False
        if left > 0:
            return left
        passes = await asyncio.gather(*[self._fire() for _ in range(self._lanes)], return_exceptions=True)
        if failures := [one for one in passes if isinstance(one, BaseException)]:
            raise failures[0]
        more = "more" in passes
        self._lanes = _LANES if more else 1
        # Slots came due while these were taken: without a look now they would wait for as long as an idle scheduler.
        return more or (0.0 if "all" in passes else False)

    async def _fire(self) -> Literal["nothing", "all", "more"]:
        """One batch: there was nothing to take, or all that was due is done, or more is left."""
        async with self._database.transaction() as connection:
            due = await claim_due_schedules(connection, _BATCH)
            if not due:
                return "nothing"
            made = await fire_due(connection, self._acceptor, due)
        made.tell(self._acceptor)
        return "more" if len(due) == _BATCH or any(one.behind for one in made.plans) else "all"
