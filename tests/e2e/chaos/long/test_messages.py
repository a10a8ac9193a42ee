"""C12: every message comes two or three times, late and in any order, for as long as the load lasts."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

from tests.e2e.chaos.broker import BULK, READY, channel
from tests.e2e.chaos.conftest import BadDay
from tests.e2e.chaos.messages import poison
from tests.e2e.chaos.scenario import SEEDS, Day
from tests.e2e.installation import Installation

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1200), pytest.mark.parametrize("seed", SEEDS),
]  # fmt: skip

LATEST_SECONDS = 20.0
SOONEST_SECONDS = 2.0


async def test_twice_or_thrice_late_and_shuffled(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    """The executor listens to a queue of its own, into which a relay of ours puts all that the others publish."""
    async with AsyncExitStack() as stack:
        await running.services["executor"].kill()
        late = {"SIGNALBOX_BUS_PREFIX": "late"}
        await running.add("executor", stack, alias="late executor", settings=late)
        async with relay(running, random.Random(seed)), a_bad_day("messages thrice, late, shuffled", seed) as day:
            await day.calls.reached(1)
            day.fault_over()
        assert day.figures["repeated"] == 0
    del running.services["late executor"]
    running.services["executor"].launch()
    await running.services["executor"].ready()


@asynccontextmanager
async def relay(running: Installation, rng: random.Random) -> AsyncGenerator[None]:
    """What is published comes to the late executor soon, and once or twice more later; all before this has ended."""
    async with channel(running.rabbitmq.url) as made, asyncio.TaskGroup() as copies:

        async def send(message: AbstractIncomingMessage, seconds: float) -> None:
            await asyncio.sleep(seconds)
            place = str(message.routing_key).replace("signalbox", "late")
            await made.default_exchange.publish(aio_pika.Message(message.body), routing_key=place)

        async def take(message: AbstractIncomingMessage) -> None:
            copies.create_task(send(message, rng.uniform(0, SOONEST_SECONDS)))
            for _ in range(rng.randint(1, 2)):
                copies.create_task(send(message, rng.uniform(0, LATEST_SECONDS)))
            await message.ack()

        queues = [await made.get_queue(name) for name in (READY, BULK)]
        tags = [await queue.consume(take) for queue in queues]
        yield
        for queue, tag in zip(queues, tags, strict=True):
            await queue.cancel(tag)


async def test_poison_all_the_time(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    """C11: others are served as well as without it."""
    async with a_bad_day("poison all the time", seed) as day:
        await day.calls.reached(0.4)
        without = await slowest_of_most(day)
        while day.calls.sent < day.calls.calls:
            day.planted += await poison(running.rabbitmq.url, day.rng)
            await asyncio.sleep(0.5)  # a rate of poison
        day.fault_over()
    assert day.figures["repeated"] == 0
    assert await slowest_of_most(day) < 2 * without + 0.5


_P95 = """
SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at)) AS p95
  FROM executions WHERE trigger_type = 'webhook' AND finished_at IS NOT NULL
   AND id >= $1 AND id = ANY($2::uuid[])
"""


async def slowest_of_most(day: Day) -> float:
    """Seconds in which 95 of 100 of the calls so far were done with."""
    ids = list(day.calls.accepted.values())
    (row,) = await day.running.fetch(_P95, min(ids), ids)
    return float(row["p95"])
