"""What executions are told from outside, read from the database however often it takes."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from libs.common.db.pool import Database
from libs.common.db.signals import Signal, signals_of
from libs.common.errors import Unavailable

_RETRY_SECONDS = 0.5


class Mailbox:
    """Reads signals."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, executions: Sequence[tuple[UUID, UUID]]) -> list[Signal]:
        """Every signal of these executions (tenant, execution); while the database is away it is waited for."""
        while True:
            try:
                async with self._database.connection() as connection:
                    return await signals_of(connection, executions)
            except Unavailable:
                await asyncio.sleep(_RETRY_SECONDS)
