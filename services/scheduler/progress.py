"""How far the bus has come, told by what is taken from it.

The bus hands out its messages much in the order in which they came. So while it holds a backlog some executions are
noted that were announced just now. When one of them is taken, whatever was announced well before it has been handed
out too, if it ever was on the bus: what is still untaken of that has no message any more.
"""

from datetime import datetime

from libs.common.db.announced import Announced, newest_announced, not_taken
from libs.common.db.pool import Connection

_MOST_NOTED = 64


class BusProgress:
    """One for the lane of the usual messages."""

    def __init__(self) -> None:
        self._noted: list[Announced] = []
        self._overtaken: datetime | None = None

    async def look(self, connection: Connection) -> datetime | None:
        """What was due before then has been overtaken; None: nobody knows of anything."""
        waiting = set(await not_taken(connection, self._noted))
        for one in self._noted:
            if one not in waiting:
                self._overtaken = max(one.overtakes, self._overtaken or one.overtakes)
        self._noted = [one for one in self._noted if one in waiting]
        if len(self._noted) < _MOST_NOTED:
            newest = await newest_announced(connection)
            if newest is not None and newest not in waiting:
                self._noted.append(newest)
        return self._overtaken

    def forget(self) -> None:
        """The bus holds no backlog: what was noted says nothing of the next one."""
        self._noted.clear()
        self._overtaken = None
