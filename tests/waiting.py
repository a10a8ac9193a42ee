"""How tests wait for what other processes and tasks do: by looking again where nobody announces it, and always long.

Only a test that fails waits to the end, so the limit is there to tell of a hang, not of a busy machine.
"""

import asyncio
from collections.abc import Awaitable, Callable

PATIENCE_SECONDS = 60.0
"""Half of what pytest gives a test: what was waited for in vain is named before the whole test is ended."""

_LOOKS_SECONDS = (0.01, 0.1)
"""Pauses between two looks: the first, and the longest. They grow, so that many who wait do not make it longer."""


def patience() -> asyncio.Timeout:
    """A block that takes longer raises `TimeoutError`: around an event that is awaited."""
    return asyncio.timeout(PATIENCE_SECONDS)


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = PATIENCE_SECONDS) -> None:
    """Returns when the condition holds. Raises `TimeoutError`. For what has no event: rows, queues, processes."""
    pause, longest = _LOOKS_SECONDS
    async with asyncio.timeout(seconds):
        while not await holds():
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)
