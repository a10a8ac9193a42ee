"""How often something may happen: the generic cell rate algorithm (ITU-T I.371), shared over Redis or of one process.

A key may take its whole number at once; after that each call comes back after its share of the period. Nothing is
counted for a call that is refused.
"""

from collections import OrderedDict
from time import monotonic
from typing import NamedTuple, Protocol

_MOST_KEYS = 100_000


class Spent(NamedTuple):
    """`wait`: 0.0, or in how many seconds there is as much as was asked for; `used`: how much is taken at present."""

    wait: float
    used: int


class RateLimiter(Protocol):
    """Says whether one more is within the rate."""

    async def take(self, key: str, calls: int, seconds: int) -> float:
        """Take one of `calls` in `seconds`: 0.0, or in how many seconds there is one again. Never raises."""
        ...

    async def spend(self, key: str, calls: int, seconds: int, cost: int) -> Spent:
        """As `take`, so many at once or none, at most all there are; 0 merely looks."""
        ...

    async def close(self) -> None:
        """Nothing is left behind."""
        ...


class LocalRates:
    """Counts in this process alone. See `RateLimiter`."""

    def __init__(self) -> None:
        self._full_at: OrderedDict[str, float] = OrderedDict()

    async def take(self, key: str, calls: int, seconds: int) -> float:
        return (await self.spend(key, calls, seconds, 1)).wait

    async def spend(self, key: str, calls: int, seconds: int, cost: int) -> Spent:
        now = monotonic()
        full = max(now, self._full_at.get(key, now))
        after = full + seconds / calls * min(cost, calls)
        if (wait := after - now - seconds) > 1e-6:
            return Spent(wait, used_of(full - now, calls, seconds))
        if cost:
            self._full_at[key] = after
            self._full_at.move_to_end(key)
        if len(self._full_at) > _MOST_KEYS:
            self._full_at.popitem(last=False)
        return Spent(0.0, used_of(after - now, calls, seconds))

    async def close(self) -> None:
        self._full_at.clear()


def used_of(filled_seconds: float, calls: int, seconds: int) -> int:
    """How many of the calls are taken when it takes so long until none is."""
    return min(calls, round(filled_seconds / seconds * calls))
