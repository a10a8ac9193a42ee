"""End to end: from the webhook's ingress to the completed execution, over four processes, beside the floor of the
same run.
"""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

import asyncpg

from bench.floor import measure_floor
from bench.following import completed, drained, percentile, sample, warm_up
from bench.installation import BODY, WORKFLOW, Hook, Installation, installation, make_tenant, servers
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
            hook = await (await make_tenant(running.services)).hook(WORKFLOW)
            figures = _memory(running, "idle")
            await warm_up(running, hook)
            figures |= await _alone(running, hook)
            figures |= await _saturated(running, hook, folder)
        floors.append(await measure_floor(dsn, environment["SIGNALBOX_BUS_URL"], _FLOOR_EXECUTIONS))
    floor = sum(floors) / len(floors)
    figures["e2e.floor_per_s"] = floor
    figures["e2e.ratio_to_floor"] = figures["e2e.executions_per_s"] / floor
    return figures


async def _alone(running: Installation, hook: Hook) -> dict[str, float]:
    """Latencies at twenty calls a second, with nothing else going on."""
    accepts, totals = await sample(running, hook, _ALONE_CALLS, _ALONE_PER_SECOND)
    return {
        "e2e.alone_accept_p50_ms": percentile(accepts, 50),
        "e2e.alone_accept_p99_ms": percentile(accepts, 99),
        "e2e.alone_p50_ms": percentile(totals, 50),
        "e2e.alone_p99_ms": percentile(totals, 99),
    }


async def _saturated(running: Installation, hook: Hook, folder: Path) -> dict[str, float]:
    """As many calls as the ingress takes; executions/s counts until the last one has completed."""
    connection = await asyncpg.connect(running.dsn)
    before = await completed(connection)
    started = perf_counter()
    load = asyncio.ensure_future(run_wrk(hook, folder, BODY, _LOAD_SECONDS))
    sampled = asyncio.ensure_future(sample(running, hook, (_LOAD_SECONDS - 2) * _ALONE_PER_SECOND, _ALONE_PER_SECOND))
    await asyncio.sleep(_LOAD_SECONDS * 0.8)
    memory = _memory(running, "loaded")
    wrk = await load
    ingress_done = perf_counter() - started
    accepts, totals = await sampled
    await drained(connection, 120)
    elapsed = perf_counter() - started
    executions = await completed(connection) - before
    await connection.close()
    return memory | {
        "e2e.executions": executions,
        "e2e.executions_per_s": executions / elapsed,
        "e2e.drain_s": elapsed - ingress_done,
        "e2e.saturated_requests_per_s": wrk["requests_per_s"],
        "e2e.saturated_accept_p50_ms": wrk["p50_ms"],
        "e2e.saturated_accept_p99_ms": wrk["p99_ms"],
        "e2e.saturated_refused": wrk["refused"],
        "e2e.saturated_p50_ms": percentile(totals, 50),
        "e2e.saturated_p99_ms": percentile(totals, 99),
        "e2e.saturated_sample_accept_p50_ms": percentile(accepts, 50),
    }


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
