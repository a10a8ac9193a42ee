"""What Redis says that tenants have outstanding, and what PostgreSQL knows: they have to agree soon after any fault."""

from collections.abc import Mapping
from uuid import UUID

import asyncpg

from libs.common.cache.line import Line
from libs.common.cache.redis_outstanding import RedisOutstanding
from libs.common.db.dispatching import count_outstanding
from tests.e2e.installation import Installation

RIGHT_SECONDS = 10.0
"""After that time the windows are right again, whatever became of Redis."""


class Counts:
    """`on_the_way`: by so much the two may differ, which is what begins or ends between two looks."""

    def __init__(self, running: Installation, on_the_way: int) -> None:
        self._running, self._url = running, running.environment["SIGNALBOX_REDIS_URL"]
        self._on_the_way = on_the_way

    async def are_right(self) -> bool:
        counted, known = await self._look()
        return counted is not None and known > 0 and abs(counted - known) <= self._on_the_way

    async def are_zero(self) -> bool:
        return await self._look() == (0, 0)

    async def known(self) -> Mapping[UUID, int]:
        """What PostgreSQL knows that each tenant has on the bus or running."""
        database = await asyncpg.connect(self._running.dsn)
        try:
            return await count_outstanding(database)
        finally:
            await database.close()

    async def empty(self) -> None:
        """Redis has forgotten all."""
        line = Line(self._url)
        await line.ask([("FLUSHALL",)], 5.0)
        await line.close()

    async def _look(self) -> tuple[int | None, int]:
        redis = RedisOutstanding(self._url)
        try:
            heard, known = await redis.all(), await self.known()
            return None if heard is None else sum(heard.of.values()), sum(known.values())
        finally:
            await redis.close()
