"""Reports what the journal made true to those who look: best effort, in batches, never in the way of the work."""

import asyncio
from collections.abc import Iterable

from libs.common.cache.protocol import LiveEvent, LiveFeed
from libs.common.telemetry import metrics

_MOST_WAITING = 10_000


class LiveReporter:
    """Publishes events in the background, what comes during one publishing together in the next."""

    def __init__(self, feed: LiveFeed) -> None:
        self._feed = feed
        self._waiting: list[LiveEvent] = []
        self._task: asyncio.Task[None] | None = None

    def report(self, events: Iterable[LiveEvent]) -> None:
        """Show these soon; drops them when too many wait already."""
        if len(self._waiting) >= _MOST_WAITING:
            metrics.count_live_events(sum(1 for _ in events), delivered=False)
            return
        self._waiting += events
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._publish())

    async def close(self) -> None:
        """What was reported is shown or dropped."""
        if self._task is not None:
            await self._task

    async def _publish(self) -> None:
        while self._waiting:
            events, self._waiting = self._waiting, []
            await self._feed.publish(events)
