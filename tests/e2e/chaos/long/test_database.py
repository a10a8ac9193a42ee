"""C5 and C6: PostgreSQL crashes again and again, stands still, or is away for longer than a lease lasts."""

import asyncio
import os
import signal

import pytest

from tests.e2e.chaos.conftest import BadDay
from tests.e2e.chaos.frozen import frozen
from tests.e2e.chaos.load import OUTAGE_SECONDS
from tests.e2e.chaos.scenario import ROUNDS, SEEDS
from tests.e2e.installation import Installation
from tests.waiting import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1200), pytest.mark.parametrize("seed", SEEDS),
]  # fmt: skip

LONGER_THAN_A_LEASE = max(OUTAGE_SECONDS, 15.0)


async def test_crashes_again_and_again(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    """As `pg_ctl restart -m immediate`: no session is told, and what was committed is in the log alone."""
    async with a_bad_day("database crashes", seed) as day:
        for _ in range(ROUNDS):
            await asyncio.sleep(day.rng.uniform(1, 5))  # a load is a length of time
            await crash(running)
            await asyncio.sleep(day.rng.uniform(0, 2))
            await running.postgres.start()
            day.fault_over()
    assert day.calls.refused
    assert day.figures["repeated"] == 0


async def crash(running: Installation) -> None:
    """PostgreSQL has ended, without a checkpoint and without a farewell."""
    pid = running.postgres.pid
    assert pid is not None
    os.kill(pid, signal.SIGQUIT)

    async def has_ended() -> bool:
        return running.postgres.pid is None

    await until(has_ended)
    await running.postgres.stop()


async def test_frozen(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    """Its connections are there, and nobody answers on them, for longer than a lease lasts. Nobody who lives loses what
    he holds: no effect is repeated.
    """
    async with a_bad_day("database frozen", seed) as day:
        await day.calls.reached(0.3)
        pid = running.postgres.pid
        assert pid is not None
        with frozen(pid):
            await asyncio.sleep(LONGER_THAN_A_LEASE)  # an outage is a length of time
        day.fault_over()
    assert (day.figures["in doubt"], day.figures["repeated"]) == (0, 0)


async def test_away_for_longer_than_a_lease(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    """Executors could not say that they live. They do, and keep what they hold."""
    async with a_bad_day("database away", seed) as day:
        await day.calls.reached(0.3)
        await running.postgres.stop()
        await asyncio.sleep(LONGER_THAN_A_LEASE)
        await running.postgres.start()
        day.fault_over()
    assert day.calls.refused
    assert (day.figures["in doubt"], day.figures["repeated"]) == (0, 0)
