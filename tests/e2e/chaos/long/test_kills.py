"""C1: every service is killed in turn, again and again, while calls come and slots are due."""

import asyncio

import pytest

from tests.e2e.chaos.conftest import BadDay
from tests.e2e.chaos.scenario import ROUNDS, SEEDS
from tests.e2e.installation import SERVICES, Installation

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1200), pytest.mark.parametrize("seed", SEEDS),
]  # fmt: skip

RECOVERY_SECONDS = 40.0


async def test_every_service_killed_in_turn(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    async with a_bad_day("every service killed in turn", seed) as day:
        for _ in range(ROUNDS):
            for name in day.rng.sample(SERVICES, len(SERVICES)):
                await asyncio.sleep(day.rng.uniform(1, 4))  # a load is a length of time
                await running.kill_and_start(name)
                day.fault_over()
    assert not day.calls.refused
    assert day.figures["in doubt"] > 0
    assert await day.recovered() < RECOVERY_SECONDS


async def test_all_services_killed_at_once(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    """As when the machine of the services fails, and the servers are elsewhere."""
    async with a_bad_day("all services killed at once", seed) as day:
        for _ in range(ROUNDS):
            await asyncio.sleep(day.rng.uniform(1, 4))
            await asyncio.gather(*(running.services[name].kill() for name in SERVICES))
            for name in SERVICES:
                running.services[name].launch()
            await asyncio.gather(*(running.services[name].ready() for name in SERVICES))
            day.fault_over()
    assert day.calls.unanswered
    assert await day.recovered() < RECOVERY_SECONDS
