"""End to end: from the webhook's ingress to the completed execution, over four processes, beside the floor of the
same run.
"""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp
import asyncpg

from bench.floor import measure_floor
from bench.installation import BODY, Hook, Installation, installation, make_hook, servers
from libs.common.db.migrate import migrate

_LOAD_SECONDS = 10
_CONNECTIONS = 64
_ALONE_CALLS = 200
_ALONE_PER_SECOND = 20
_FLOOR_EXECUTIONS = 20_000

_WRK_SCRIPT = """
wrk.method = "POST"
wrk.body = [[{body}]]
{headers}
"""


async def measure(folder: Path) -> dict[str, float]:
    """All figures of this part, by dotted name."""
    async with servers(folder) as environment:
        dsn = environment["SIGNALBOX_DATABASE_URL"]
        await migrate(dsn)
        floors = [await measure_floor(dsn, environment["SIGNALBOX_BUS_URL"], _FLOOR_EXECUTIONS)]
        async with installation(folder, environment) as running:
            hook = await make_hook(running.services["gateway"].url, running.services["webhooks"].url)
            figures = _memory(running, "idle")
            await _warm_up(running, hook)
            figures |= await _alone(running, hook)
            figures |= await _saturated(running, hook, folder)
        floors.append(await measure_floor(dsn, environment["SIGNALBOX_BUS_URL"], _FLOOR_EXECUTIONS))
    floor = sum(floors) / len(floors)
    figures["e2e.floor_per_s"] = floor
    figures["e2e.ratio_to_floor"] = figures["e2e.executions_per_s"] / floor
    return figures


async def _warm_up(running: Installation, hook: Hook) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(200):
            async with session.post(hook.url, data=BODY, headers=hook.headers) as response:
                assert response.status == 202, await response.text()
    connection = await asyncpg.connect(running.dsn)
    await _drained(connection, 30)
    await connection.close()


async def _alone(running: Installation, hook: Hook) -> dict[str, float]:
    """Latencies at twenty calls a second, with nothing else going on."""
    accepts, totals = await _sample(running, hook, _ALONE_CALLS)
    return {
        "e2e.alone_accept_p50_ms": _percentile(accepts, 50),
        "e2e.alone_accept_p99_ms": _percentile(accepts, 99),
        "e2e.alone_p50_ms": _percentile(totals, 50),
        "e2e.alone_p99_ms": _percentile(totals, 99),
    }


async def _saturated(running: Installation, hook: Hook, folder: Path) -> dict[str, float]:
    """As many calls as the ingress takes; executions/s counts until the last one has completed."""
    connection = await asyncpg.connect(running.dsn)
    before = await _completed(connection)
    started = perf_counter()
    load = asyncio.ensure_future(run_wrk(hook, folder, BODY, _LOAD_SECONDS))
    sample = asyncio.ensure_future(_sample(running, hook, (_LOAD_SECONDS - 2) * _ALONE_PER_SECOND))
    await asyncio.sleep(_LOAD_SECONDS * 0.8)
    memory = _memory(running, "loaded")
    wrk = await load
    ingress_done = perf_counter() - started
    accepts, totals = await sample
    await _drained(connection, 120)
    elapsed = perf_counter() - started
    executions = await _completed(connection) - before
    await connection.close()
    return memory | {
        "e2e.executions": executions,
        "e2e.executions_per_s": executions / elapsed,
        "e2e.drain_s": elapsed - ingress_done,
        "e2e.saturated_requests_per_s": wrk["requests_per_s"],
        "e2e.saturated_accept_p50_ms": wrk["p50_ms"],
        "e2e.saturated_accept_p99_ms": wrk["p99_ms"],
        "e2e.saturated_refused": wrk["refused"],
        "e2e.saturated_p50_ms": _percentile(totals, 50),
        "e2e.saturated_p99_ms": _percentile(totals, 99),
        "e2e.saturated_sample_accept_p50_ms": _percentile(accepts, 50),
    }


async def _sample(running: Installation, hook: Hook, calls: int) -> tuple[list[float], list[float]]:
    """Post at a steady rate; milliseconds to the answer, and to the execution being seen completed in the database."""
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
                await asyncio.sleep(0.0005)
        totals.append((perf_counter() - started) * 1000)

    async with aiohttp.ClientSession() as session:
        tasks: list[asyncio.Task[None]] = []
        for _ in range(calls):
            tasks.append(asyncio.ensure_future(one(session)))
            await asyncio.sleep(1 / _ALONE_PER_SECOND)
        await asyncio.gather(*tasks)
    await pool.close()
    return accepts, totals


_TENANT = "(SELECT tenant_id FROM tenants WHERE slug = 'bench')"
_IS_COMPLETED = f"SELECT status = 'completed' FROM executions WHERE tenant_id = {_TENANT} AND id = $1"
_COMPLETED = f"SELECT count(*) FROM executions WHERE tenant_id = {_TENANT} AND status = 'completed'"
_IS_OPEN = f"SELECT EXISTS (SELECT FROM executions WHERE tenant_id = {_TENANT} AND finished_at IS NULL)"


async def _completed(connection: Any) -> int:
    return await connection.fetchval(_COMPLETED)


async def _drained(connection: Any, seconds: float) -> None:
    """Returns when no execution is open. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while await connection.fetchval(_IS_OPEN):
            await asyncio.sleep(0.02)


async def run_wrk(hook: Hook, folder: Path, body: bytes, seconds: int) -> dict[str, float]:
    """Post the body for so long from 64 connections; requests/s, latencies in ms, and how many were refused."""
    script = folder / "post.lua"
    headers = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in hook.headers.items())
    script.write_text(_WRK_SCRIPT.format(body=body.decode(), headers=headers))
    process = await asyncio.create_subprocess_exec(
        "wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script), hook.url,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    text = output.decode()
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return {
        "requests_per_s": float(_find(r"Requests/sec:\s+([\d.]+)", text)),
        "p50_ms": _milliseconds(_find(r"50%\s+([\d.]+\w+)", text)),
        "p99_ms": _milliseconds(_find(r"99%\s+([\d.]+\w+)", text)),
        "refused": float(refused.group(1)) if refused else 0.0,
    }


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"wrk printed no {pattern}: {text}")
    return found.group(1)


def _milliseconds(text: str) -> float:
    units: Mapping[str, float] = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return float(number) * units[unit]


def _memory(running: Installation, when: str) -> dict[str, float]:
    return {f"memory.{name}_{when}_mb": service.resident_mb() for name, service in running.services.items()}


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
