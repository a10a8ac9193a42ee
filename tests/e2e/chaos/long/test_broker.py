"""C3 and C4: RabbitMQ stopped, killed, frozen, and out of memory or disk. Calls are answered all the same."""

import asyncio

import pytest

from tests.e2e.chaos.conftest import BadDay
from tests.e2e.chaos.frozen import frozen
from tests.e2e.chaos.load import OUTAGE_SECONDS
from tests.e2e.chaos.scenario import SEEDS, Day
from tests.e2e.installation import Installation

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1200), pytest.mark.parametrize("seed", SEEDS),
]  # fmt: skip

ANSWER_SECONDS = 5.0
RECOVERY_SECONDS = 90.0
ALARMS = {
    "memory": (("set_vm_memory_high_watermark", "0"), ("set_vm_memory_high_watermark", "0.4")),
    "disk": (("set_disk_free_limit", "100000GB"), ("set_disk_free_limit", "50MB")),
}


async def every_call_was_taken(day: Day) -> None:
    assert (day.calls.refused, day.calls.unanswered, len(day.calls.accepted)) == (set(), set(), day.calls.sent)
    assert day.calls.slowest < ANSWER_SECONDS
    assert await day.recovered() < RECOVERY_SECONDS


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_away_and_back_with_its_data(running: Installation, a_bad_day: BadDay, seed: int, how: str) -> None:
    async with a_bad_day(f"broker {how}", seed) as day:
        await day.calls.reached(0.3)
        await (running.rabbitmq.stop() if how == "stopped" else running.rabbitmq.kill())
        await asyncio.sleep(OUTAGE_SECONDS)  # an outage is a length of time
        running.rabbitmq.launch()
        await running.rabbitmq.ready()
        day.fault_over()
    await every_call_was_taken(day)


async def test_frozen(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    """Its connections are there, and nobody answers on them."""
    async with a_bad_day("broker frozen", seed) as day:
        await day.calls.reached(0.3)
        with frozen(running.rabbitmq.pid):
            await asyncio.sleep(OUTAGE_SECONDS)
        day.fault_over()
    await every_call_was_taken(day)


@pytest.mark.parametrize("what", ALARMS)
async def test_alarm(running: Installation, a_bad_day: BadDay, seed: int, what: str) -> None:
    """It takes nothing from publishers, and goes on delivering."""
    raise_it, end_it = ALARMS[what]
    async with a_bad_day(f"broker out of {what}", seed) as day:
        await day.calls.reached(0.3)
        await running.rabbitmq.control(*raise_it)
        await asyncio.sleep(OUTAGE_SECONDS)
        await running.rabbitmq.control(*end_it)
        day.fault_over()
    await every_call_was_taken(day)
