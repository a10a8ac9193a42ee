"""Duty: hours that are over are counted for every tenant; each once more a day later, for what came late."""

from datetime import timedelta

from libs.common.db.metering import meter_next_hour
from libs.common.db.pool import Database

_AFTER = {"first": timedelta(minutes=5), "late": timedelta(hours=23)}
"""So long after its end an hour is counted. What has ended is on record within moments; after an outage, within a
day.
"""


class Metering:
    """Keeps the table of usage up to the present. An hour and how far we are is one transaction: a kill repeats it."""

    name = "metering"
    least = 0.05
    most = 60.0

    def __init__(self, database: Database) -> None:
        self._database = database

    async def work(self) -> bool:
        """One hour of each pass; more while there is one that is due."""
        more = False
        for kind, after in _AFTER.items():
            async with self._database.transaction() as connection:
                more = await meter_next_hour(connection, kind, after) or more
        return more
