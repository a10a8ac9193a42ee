"""What row-level security costs the gateway: the same reads through the gateway as it is, and through one whose
handlers use plain connections of the service role, in turns on the same data.
"""

import asyncio
import runpy
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from time import perf_counter

import aiohttp

from bench.installation import PLATFORM_KEY, WORKFLOW, make_tenant
from libs.common.db.pool import TenantDatabase
from libs.common.embedded.postgres import EmbeddedPostgres
from libs.common.security.encryption import new_master_key
from tests.servers import ServiceProcess

_READERS = 24
_EXECUTIONS = 100
_SECONDS = 3.0
_ROUNDS = 5


async def measure(folder: Path) -> dict[str, float]:
    """All figures of this part, by dotted name."""
    (folder / "data").mkdir()
    postgres = EmbeddedPostgres(folder / "data")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(postgres.stop)
        environment = {
            "SIGNALBOX_DATABASE_URL": await postgres.start(), "SIGNALBOX_BUS_URL": "amqp://nobody@127.0.0.1:9/",
            "SIGNALBOX_PLATFORM_KEY": PLATFORM_KEY, "SIGNALBOX_MASTER_KEYS": new_master_key(),
            "SIGNALBOX_LOG_LEVEL": "error",
        }  # fmt: skip
        guarded = ServiceProcess("gateway", environment, folder)
        plain = _Unguarded("gateway", environment, folder)
        for gateway in (guarded, plain):
            stack.push_async_callback(gateway.stop)
            await gateway.start()
        tenant = await make_tenant({"gateway": guarded, "webhooks": guarded})
        paths = await _fill(f"{guarded.url}/api/v1", tenant.headers)
        rates: dict[str, list[float]] = {"guarded": [], "plain": []}
        for _ in range(_ROUNDS + 1):
            rates["guarded"].append(await _reads_per_second(guarded.url, paths, tenant.headers))
            rates["plain"].append(await _reads_per_second(plain.url, paths, tenant.headers))
    with_rls, without = (median(rates[name][1:]) for name in ("guarded", "plain"))  # the first round warms up
    return {
        "rls.reads_per_s": with_rls,
        "rls.reads_per_s_without": without,
        "rls.read_cost_percent": (1 - with_rls / without) * 100,
    }


class _Unguarded(ServiceProcess):
    """The service as it would be without row-level security."""

    def __init__(self, name: str, env: Mapping[str, str], folder: Path) -> None:
        super().__init__(name, env, folder)
        self._argv = [sys.executable, "-m", "bench.rls", name, "--port", str(self.port)]


async def _fill(api: str, headers: Mapping[str, str]) -> list[str]:
    """Stores a workflow and executions of it; the paths to read."""
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"{api}/workflows", json=WORKFLOW) as answer:
            workflow = execution = (await answer.json())["id"]
        for _ in range(_EXECUTIONS):
            async with session.post(f"{api}/workflows/{workflow}/execute", json={"input": {}}) as answer:
                execution = (await answer.json())["execution_id"]
    return [f"/executions/{execution}", f"/workflows/{workflow}", "/executions?limit=20", "/workflows?limit=20"]


async def _reads_per_second(url: str, paths: list[str], headers: Mapping[str, str]) -> float:
    done, until = 0, perf_counter() + _SECONDS

    async def read(session: aiohttp.ClientSession, turn: int) -> None:
        nonlocal done
        while perf_counter() < until:
            async with session.get(f"{url}/api/v1{paths[turn % len(paths)]}") as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
            turn, done = turn + 1, done + 1

    async with aiohttp.ClientSession(headers=headers) as session:
        await asyncio.gather(*[read(session, turn) for turn in range(_READERS)])
    return done / _SECONDS


def _without_rls() -> None:
    """Every transaction for a tenant is a plain connection of the service role, as it would be without."""
    TenantDatabase.transaction = lambda self: self._database.connection()  # pyright: ignore[reportPrivateUsage]
    TenantDatabase.snapshot = lambda self: self._database.snapshot()  # pyright: ignore[reportPrivateUsage]


if __name__ == "__main__":
    _without_rls()
    runpy.run_module("services.cli", run_name="__main__")
