"""C14: two schedulers and two executors, of which one stands still for longer than a lease lasts, and goes on as if
nothing had been. No slot is fired twice, and nothing is written twice.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.e2e.chaos.conftest import BadDay
from tests.e2e.chaos.frozen import frozen
from tests.e2e.chaos.scenario import ROUNDS, SEEDS
from tests.e2e.installation import Installation

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1200), pytest.mark.parametrize("seed", SEEDS),
]  # fmt: skip

LONGER_THAN_A_LEASE = (13.0, 20.0)


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def second_ones(running: Installation) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for name in ("scheduler", "executor"):
            await running.add(name, stack, alias=f"second {name}")
        yield


@pytest.mark.parametrize("name", ["scheduler", "executor"])
async def test_one_of_two_frozen(running: Installation, a_bad_day: BadDay, seed: int, name: str) -> None:
    async with a_bad_day(f"one {name} of two frozen", seed) as day:
        day.frozen = True
        for _ in range(ROUNDS):
            await day.calls.sent_more(100)
            with frozen(running.services[day.rng.choice([name, f"second {name}"])].pid):
                await asyncio.sleep(day.rng.uniform(*LONGER_THAN_A_LEASE))
            day.fault_over()
    assert not day.calls.refused
    assert not day.calls.unanswered


async def test_one_of_each_frozen_and_the_other_killed(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    async with a_bad_day("one of each frozen, the other killed", seed) as day:
        day.frozen = True
        for _ in range(ROUNDS):
            await day.calls.sent_more(100)
            still, dies = day.rng.sample(["", "second "], 2)
            with frozen(running.services[f"{still}executor"].pid), frozen(running.services[f"{still}scheduler"].pid):
                await asyncio.sleep(day.rng.uniform(*LONGER_THAN_A_LEASE))
                for name in ("executor", "scheduler"):
                    await running.kill_and_start(f"{dies}{name}")
            day.fault_over()
    assert not day.calls.refused
