"""C2: killed at the worst moments. The product has no code for that: the endpoint kills its caller, and a lock of ours
holds up the record while somebody dies.

    accept ── 202 ──▶ publish      take ──▶ `started` on record ──▶ request ──▶ answer ──▶ `completed` on record
           1                                                     2           3          4
"""

import asyncio
import signal
from collections.abc import Callable
from uuid import UUID

import asyncpg
import pytest

from tests.e2e.chaos.conftest import BadDay
from tests.e2e.chaos.long.test_broker import RECOVERY_SECONDS
from tests.e2e.chaos.scenario import ROUNDS, SEEDS, Day
from tests.e2e.installation import Installation
from tests.waiting import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1200), pytest.mark.parametrize("seed", SEEDS),
]  # fmt: skip

_LOCK = "SELECT FROM executions WHERE id = $1 FOR UPDATE"
_HELD_UP = """
SELECT pid FROM pg_stat_activity WHERE application_name = 'signalbox-executor' AND wait_event_type = 'Lock'
"""
_END = "SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid"


async def test_1_accepted_and_not_published(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    """The broker is away, so that nothing is published, and the acceptor dies with what it wanted to publish."""
    async with a_bad_day("killed between commit and publish", seed) as day:
        for _ in range(ROUNDS):
            await day.calls.sent_more(day.rng.randint(20, 200))
            await running.rabbitmq.kill()
            await day.calls.sent_more(day.rng.randint(20, 200))
            await running.kill_and_start("webhooks")
            running.rabbitmq.launch()
            await running.rabbitmq.ready()
            day.fault_over()
            await day.recovered()  # or the next fault would be part of it
    assert day.figures["repeated"] == 0
    assert await day.recovered() < RECOVERY_SECONDS


async def test_2_requested_and_not_answered(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    async with a_bad_day("killed by the request", seed) as day:
        for _ in range(ROUNDS):
            await day.calls.sent_more(day.rng.randint(20, 200))
            await meddled(day, lambda key: kill(running))
            await start_again(day)
    assert 0 < day.figures["in doubt"] >= day.figures["repeated"] > 0


async def test_3_answered_and_not_recorded(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    """The record waits for a lock of ours; its transaction ends with the executor."""
    keys: list[str] = []
    async with a_bad_day("killed between effect and record", seed) as day:
        for _ in range(ROUNDS):
            await day.calls.sent_more(day.rng.randint(20, 200))
            async with Lock(running) as lock:
                await meddled(day, lambda key, lock=lock: lock.take(key))
                sessions = await lock.holds_up()
                await kill(running)
                await lock.end(sessions)
            keys.append(lock.key)
            await start_again(day)
    assert [running.echo.calls[key] for key in keys] == [2] * ROUNDS


async def test_4_recorded_and_not_told(running: Installation, a_bad_day: BadDay, seed: int) -> None:
    """The record waits for a lock of ours; its transaction is committed after the executor has died."""
    keys: list[str] = []
    async with a_bad_day("killed between record and answer", seed) as day:
        for _ in range(ROUNDS):
            await day.calls.sent_more(day.rng.randint(20, 200))
            async with Lock(running) as lock:
                await meddled(day, lambda key, lock=lock: lock.take(key))
                await lock.holds_up()
                await kill(running)
            keys.append(lock.key)
            await start_again(day)
    assert [running.echo.calls[key] for key in keys] == [1] * ROUNDS


class Lock:
    """A lock on an execution, held as long as the block lasts."""

    def __init__(self, running: Installation) -> None:
        self._running, self.key = running, ""

    async def __aenter__(self) -> "Lock":
        self._holder, self._beside = [await asyncpg.connect(self._running.dsn) for _ in range(2)]
        self._transaction = self._holder.transaction()
        await self._transaction.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transaction.rollback()
        await self._holder.close()
        await self._beside.close()

    async def take(self, key: str) -> None:
        """On the execution that has this `Idempotency-Key`."""
        self.key = key
        await self._holder.execute(_LOCK, UUID(key.partition(":")[0]))

    async def holds_up(self) -> list[int]:
        """Returns the sessions of the executor that wait for it, once there are some."""
        found: list[int] = []

        async def are_there() -> bool:
            found[:] = [row["pid"] for row in await self._beside.fetch(_HELD_UP)]
            return found != []

        await until(are_there)
        return found

    async def end(self, sessions: list[int]) -> None:
        """These transactions come to nothing."""
        await self._beside.execute(_END, sessions)


async def meddled(day: Day, do: Callable[[str], object]) -> None:
    """Returns when the endpoint was called, and that was done before it answered."""
    done = asyncio.Event()

    async def meddle(key: str) -> None:
        if not done.is_set():
            day.running.echo.meddle = None
            await do(key)  # type: ignore[misc]
            done.set()

    day.running.echo.meddle = meddle
    async with asyncio.timeout(30):
        await done.wait()


async def kill(running: Installation) -> None:
    """The executor is dead at once."""
    running.services["executor"].send(signal.SIGKILL)


async def start_again(day: Day) -> None:
    """The executor, dead by now, is there again."""
    await day.running.kill_and_start("executor")
    day.fault_over()
