"""Bad days under load, the short form: services killed, the broker stopped and wiped, the database restarted or handed
over, Redis emptied and gone, messages that nobody can read. Nothing accepted is lost, and nothing recorded completed is
done again.

They share one installation, which makes each a bad day of a system that has had some. `make chaos` makes them longer,
and has more of them in `long`.
"""

import asyncio
import os
import signal
from contextlib import AsyncExitStack

import asyncpg
import pytest
import redis.asyncio

from tests.e2e.chaos.conftest import BadDay
from tests.e2e.chaos.load import OUTAGE_SECONDS
from tests.e2e.chaos.messages import poison
from tests.e2e.chaos.scenario import SEEDS, Day
from tests.e2e.installation import Installation

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("outages"), pytest.mark.timeout(900),
    pytest.mark.parametrize("seed", SEEDS),
]  # fmt: skip

KILLS = ("executor", "webhooks", "executor", "webhooks")
REPUBLISHED = "signalbox_sweep_republished_total"
READ_ONLY = "ALTER DATABASE signalbox SET default_transaction_read_only = on"
WRITABLE = "ALTER DATABASE signalbox RESET default_transaction_read_only"
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'signalbox-%'"


async def test_executor_and_webhook_service_killed_twice_each(
    running: Installation, a_bad_day: BadDay, seed: int
) -> None:
    async with a_bad_day("executor and webhooks killed", seed) as day:
        for number, name in enumerate(KILLS, 1):
            await day.calls.reached((number - day.rng.random() / 2) / (len(KILLS) + 1))
            await running.kill_and_start(name)
            day.fault_over()
    assert not day.calls.refused
    # Both hit their mark: somebody's call was cut off, and some request was under way.
    assert day.calls.unanswered
    assert day.figures["in doubt"] > 0


async def test_broker_stopped_and_started_again_empty(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    before = await running.metric("scheduler", REPUBLISHED)
    async with a_bad_day("broker wiped", seed) as day:
        await day.calls.reached(0.3)
        lost = await wipe_what_is_queued(day)
        await asyncio.sleep(OUTAGE_SECONDS)  # an outage is a length of time
        running.rabbitmq.launch()
        await running.rabbitmq.ready()
        day.fault_over()
    assert await running.metric("scheduler", REPUBLISHED) - before >= lost
    assert (day.calls.refused, day.calls.unanswered, len(day.calls.accepted)) == (set(), set(), day.calls.sent)


async def wipe_what_is_queued(day: Day) -> int:
    """Kill the broker and throw its data away while messages are queued that nobody has taken; returns how many
    executions waited in them.
    """
    running = day.running
    running.services["executor"].send(signal.SIGSTOP)
    try:
        await day.calls.sent_more(100)
        await running.rabbitmq.kill()
        (row,) = await running.fetch("SELECT count(*) AS pending FROM executions WHERE status = 'pending'")
    finally:
        running.services["executor"].send(signal.SIGCONT)
    running.rabbitmq.wipe()
    assert row["pending"] >= 50
    return row["pending"]


async def test_database_restarted(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    async with a_bad_day("database restarted", seed) as day:
        await day.calls.reached(0.3)
        await running.postgres.stop()
        await running.postgres.start()
        day.fault_over()
    assert (bool(day.calls.refused), day.calls.unanswered) == (True, set())


async def test_database_hands_over(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    """What services see of a fail-over: every session ends, the server they reach next only reads, then it writes
    again.
    """
    async with AsyncExitStack() as stack, a_bad_day("database handed over", seed) as day:
        operator = await asyncpg.connect(running.dsn)
        stack.push_async_callback(operator.close)
        for share in (0.2, 0.4, 0.6):
            await day.calls.reached(share)
            await operator.execute(READ_ONLY)
            await operator.execute(END_SESSIONS)
            await day.calls.sent_more(50)
            await operator.execute(WRITABLE)
            await operator.execute(END_SESSIONS)
            day.fault_over()
    assert (bool(day.calls.refused), day.calls.unanswered) == (True, set())


async def test_redis_emptied_frozen_and_killed(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    async with a_bad_day("Redis emptied, frozen, killed", seed) as day:
        await day.calls.reached(0.1)
        async with redis.asyncio.from_url(running.environment["SIGNALBOX_REDIS_URL"]) as client:
            await client.flushall()  # pyright: ignore[reportUnknownMemberType]
        await day.calls.reached(0.2)
        await freeze_redis(day)
        await running.valkey.stop()
        await asyncio.sleep(OUTAGE_SECONDS)  # an outage is a length of time
        await running.valkey.start()
        day.fault_over()
    assert (day.calls.refused, day.calls.unanswered, len(day.calls.accepted)) == (set(), set(), day.calls.sent)


async def freeze_redis(day: Day) -> None:
    """Connections to it stay open, and nobody answers; it ends without having answered."""
    pid = day.running.valkey.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await day.calls.sent_more(100)
    os.kill(pid, signal.SIGKILL)


async def test_messages_that_nobody_can_read(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    async with a_bad_day("poison among the messages", seed) as day:
        await day.calls.reached(0.5)
        day.planted = await poison(running.rabbitmq.url, day.rng)
        day.fault_over()
    assert (day.calls.refused, day.calls.unanswered, day.figures["repeated"]) == (set(), set(), 0)
