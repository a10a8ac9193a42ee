"""Calls to a webhook, and how long it takes until the database shows what came of them."""

import asyncio
from time import perf_counter
from typing import Any
from urllib.parse import urljoin
from uuid import UUID

import aiohttp
import asyncpg

from bench.installation import BODY, Hook, Installation

_WARM_UP_CALLS = 200
_SENDERS = 32

_TENANT = "(SELECT tenant_id FROM tenants WHERE slug = 'bench')"
_IS_COMPLETED = f"SELECT status = 'completed' FROM executions WHERE tenant_id = {_TENANT} AND id = $1"
_COMPLETED = f"SELECT count(*) FROM executions WHERE tenant_id = {_TENANT} AND status = 'completed'"
_IS_OPEN = f"SELECT EXISTS (SELECT FROM executions WHERE tenant_id = {_TENANT} AND finished_at IS NULL)"


async def completed(connection: Any) -> int:
    """How many executions have completed."""
    return await connection.fetchval(_COMPLETED)


async def drained(connection: Any, seconds: float) -> None:
    """Returns when no execution is open. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while await connection.fetchval(_IS_OPEN):
            await asyncio.sleep(0.02)


async def warm_up(running: Installation, hook: Hook, calls: int = _WARM_UP_CALLS) -> None:
    """Everything has been done once."""
    await flood(running, hook, calls)


async def flood(running: Installation, hook: Hook, calls: int) -> float:
    """So many calls, as fast as they are answered; seconds from the first until every execution has completed."""
    connection = await asyncpg.connect(running.dsn)
    before = await completed(connection)
    numbers = iter(range(calls))

    async def send(session: aiohttp.ClientSession) -> None:
        for _ in numbers:
            async with session.post(hook.url, data=BODY, headers=hook.headers) as response:
                assert response.status == 202, await response.text()

    started = perf_counter()
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*[send(session) for _ in range(_SENDERS)])
    await drained(connection, 120)
    elapsed = perf_counter() - started
    done = await completed(connection) - before
    await connection.close()
    if done < calls:
        raise RuntimeError(f"{calls - done} of {calls} executions did not complete")
    return elapsed


async def sample(
    running: Installation, hook: Hook, calls: int, per_second: float, look_seconds: float = 0.0005,
    until: "asyncio.Future[Any] | None" = None,
) -> tuple[list[float], list[float]]:  # fmt: skip
    """Post at a steady rate, `until` that is done or so many calls were made; milliseconds to the answer, and to the
    execution being seen completed in the database, at which is looked so often. Connections are open before.
    """
    pool: Any = await asyncpg.create_pool(running.dsn, min_size=4, max_size=16)
    accepts: list[float] = []
    totals: list[float] = []

    async def one(session: aiohttp.ClientSession) -> None:
        started = perf_counter()
        async with session.post(hook.url, data=BODY, headers=hook.headers) as response:
            answer = await response.json()
        accepts.append((perf_counter() - started) * 1000)
        async with pool.acquire() as connection:
            while not await connection.fetchval(_IS_COMPLETED, answer["execution_id"]):
                await asyncio.sleep(look_seconds)
        totals.append((perf_counter() - started) * 1000)

    await pool.fetchval(_IS_COMPLETED, UUID(int=0))
    async with aiohttp.ClientSession() as session:
        async with session.get(urljoin(hook.url, "/healthz")) as response:
            await response.read()
        tasks: list[asyncio.Task[None]] = []
        for _ in range(calls):
            if until is not None and until.done():
                break
            tasks.append(asyncio.ensure_future(one(session)))
            await asyncio.sleep(1 / per_second)
        await asyncio.gather(*tasks)
    await pool.close()
    return accepts, totals


def percentile(values: list[float], percent: int) -> float:
    """The value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
