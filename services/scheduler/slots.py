"""Duty: mends slots of concurrency keys. What ends gives its slot back in the same transaction, so there is nothing to
do here but after a crash at the wrong moment: a slot of an execution that has ended or is gone is freed, one that holds
and still waits is woken, one that was to be cancelled for a newer one is.

Each turn looks at the next thousand slots, so that it costs the same however many there are.
"""

from uuid import UUID

import structlog

from libs.common.db.pool import Database
from libs.common.db.slots import Place, watch_slots
from libs.common.slot_mending import mend_slots, place_of

_BATCH = 1_000
_START = Place(UUID(int=0), UUID(int=0))

_log = structlog.get_logger(__name__)


class Slots:
    """Looks over the slots, round and round."""

    name = "slots"
    least = 1.0
    most = 5.0

    def __init__(self, database: Database) -> None:
        self._database = database
        self._after = _START

    async def work(self) -> bool:
        """One turn; never more at once."""
        async with self._database.connection() as connection:
            watched = await watch_slots(connection, self._after, _BATCH)
        self._after = place_of(watched[-1]) if len(watched) == _BATCH else _START
        strays = [one for one in watched if one.finding is not None]
        if strays:
            await mend_slots(self._database, strays)
            _log.warning("slots mended", slots=len(strays))
        return False
