"""What executions are told from outside, and until when."""

import asyncio
from collections.abc import Sequence

from libs.common.db.pool import Database
from libs.common.db.signals import Place, Signal, close_places, signals_of
from libs.common.errors import Unavailable

_RETRY_SECONDS = 0.5


class Mailbox:
    """Closes the places at which something has waited long enough."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def close(self, places: Sequence[Place]) -> list[Signal]:
        """Nothing comes to these places any more. Returns every signal of their executions, what came to these places
        in time among them; while the database is away it is waited for.
        """
        executions = sorted({(place.tenant_id, place.execution_id) for place in places})
        while True:
            try:
                async with self._database.transaction() as connection:
                    await close_places(connection, places)
                    return await signals_of(connection, executions)
            except Unavailable:
                await asyncio.sleep(_RETRY_SECONDS)
