"""How often something may happen: the generic cell rate algorithm (ITU-T I.371), shared over Redis or of one process.

A key may take its whole number at once; after that each call comes back after its share of the period. Nothing is
counted for a call that is refused.
"""

from collections import OrderedDict
from time import monotonic
from typing import Protocol

_MOST_KEYS = 100_000


class RateLimiter(Protocol):
    """Says whether one more is within the rate."""

    async def take(self, key: str, calls: int, seconds: int) -> float:
        """Take one of `calls` in `seconds`: 0.0, or in how many seconds there is one again. Never raises."""
        ...

    async def close(self) -> None:
        """Nothing is left behind."""
        ...


class LocalRates:
    """Counts in this process alone. See `RateLimiter`."""

    def __init__(self) -> None:
        self._full_at: OrderedDict[str, float] = OrderedDict()

    async def take(self, key: str, calls: int, seconds: int) -> float:
        now = monotonic()
        after = max(now, self._full_at.get(key, now)) + seconds / calls
        if (wait := after - now - seconds) > 1e-6:
            return wait
        self._full_at[key] = after
        self._full_at.move_to_end(key)
        if len(self._full_at) > _MOST_KEYS:
            self._full_at.popitem(last=False)
        return 0.0

    async def close(self) -> None:
        self._full_at.clear()
