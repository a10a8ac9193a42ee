"""A bad day: something happens under load, then all laws have to hold. Says in one line what it came to.

What is left to chance (which service, when, in which order) comes from the seed, so that a day can be had again:
`SIGNALBOX_CHAOS_SEEDS=7`.
"""

import asyncio
import os
import random
import re
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter

import asyncpg

from libs.common.clock import new_id
from tests.e2e.chaos.broker import DEAD, purge
from tests.e2e.chaos.load import CALLS, CALLS_PER_SECOND, Load, check, load
from tests.e2e.installation import Installation

SEEDS = [int(seed) for seed in os.environ.get("SIGNALBOX_CHAOS_SEEDS", "1").split(",")]
ROUNDS = int(os.environ.get("SIGNALBOX_CHAOS_ROUNDS", "2"))
"""How often a day brings the same again, where it does."""
_LOOK_SECONDS = 0.1
_RECOVERY_SECONDS = 240.0
_AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

_OPEN = "SELECT EXISTS (SELECT FROM executions WHERE finished_at IS NULL AND id < $1)"


@dataclass(slots=True)
class Day:
    """`planted`: messages that belong to the dead letters; `one_clock` and `frozen`: see `Seen`; `known_errors`: what
    services may log; `figures`: what came of it, once it is over.
    """

    running: Installation
    name: str
    seed: int
    calls: Load
    rng: random.Random
    planted: int = 0
    one_clock: bool = True
    frozen: bool = False
    known_errors: Collection[str] = ()
    figures: dict[str, int] = field(default_factory=dict[str, int])
    recoveries: list[asyncio.Task[float]] = field(default_factory=list[asyncio.Task[float]])

    def fault_over(self) -> None:
        """The servers are there again, and everybody may recover: that is measured from here."""
        self.recoveries.append(asyncio.get_running_loop().create_task(self._recovered(perf_counter())))

    async def recovered(self) -> float:
        """Returns once everybody has; seconds of the longest time it took."""
        return max(await asyncio.gather(*self.recoveries))

    async def _recovered(self, since: float) -> float:
        """Seconds until everything that came before has ended and a call was accepted."""
        before, accepted = new_id(), len(self.calls.accepted)
        async with asyncio.timeout(_RECOVERY_SECONDS):
            while len(self.calls.accepted) == accepted or await self._is_open(before):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(_LOOK_SECONDS)
        return perf_counter() - since

    async def _is_open(self, before: object) -> bool:
        try:
            (row,) = await self.running.fetch(_OPEN, before)
        except _AWAY:
            return True
        return bool(row["exists"])


@asynccontextmanager
async def bad_day(
    running: Installation,
    say: Callable[[str], None],
    name: str,
    seed: int,
    calls: int = CALLS,
    per_second: float = CALLS_PER_SECOND,
) -> AsyncGenerator[Day]:
    """Whatever the block does, it does under load. After it every law holds, and `say` is told the figures."""
    await purge(running.rabbitmq.url, DEAD)  # no dead letter is of an earlier day
    slug = re.sub("[^a-z0-9]+", "-", f"{name} {seed}".lower()).strip("-")
    async with load(running, slug, calls, per_second=per_second) as made:
        day = Day(running, name, seed, made, random.Random(seed))
        try:
            yield day
            await made.reached(1)
            made.calm = True  # so that a machine that is at its limit is not measured by its backlog
            recovery = await day.recovered()
        finally:
            for task in day.recoveries:
                task.cancel()
    day.figures = await check(
        running, made, day.known_errors, planted=day.planted, one_clock=day.one_clock, frozen=day.frozen
    )
    figures = ", ".join(f"{value} {what}" for what, value in day.figures.items())
    say(f"{name}: seed {seed}, {figures}, recovered in {recovery:.1f} s")
