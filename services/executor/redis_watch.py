"""Looks at Redis for the metrics. The executor does it because it has a connection there anyway."""

import asyncio

from libs.common.cache.protocol import LiveFeed
from libs.common.tasks import end_tasks
from libs.common.telemetry import states


class RedisWatch:
    """Tells the metrics about Redis every `seconds`; nothing at all when there is none."""

    def __init__(self, feed: LiveFeed, seconds: float) -> None:
        self._feed, self._seconds = feed, seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Looks from now on."""
        self._task = asyncio.get_running_loop().create_task(self._keep_looking())

    async def stop(self) -> None:
        """Looks no more."""
        await end_tasks(self._task)

    async def _keep_looking(self) -> None:
        while True:
            figures = await self._feed.figures()
            if figures is None:
                return
            states.REDIS_UP.tell(bool(figures))
            states.REDIS_BYTES.tell(figures.get("used_memory"))
            states.REDIS_LIMIT.tell(figures.get("maxmemory"))
            states.REDIS_CLIENTS.tell(figures.get("connected_clients"))
            states.REDIS_COMMANDS.tell(figures.get("total_commands_processed"))
            states.REDIS_EVICTED.tell(figures.get("evicted_keys"))
            await asyncio.sleep(self._seconds)
