"""What traces cost: executions/s from webhook to `completed` without traces, with one trace in ten, with all, in turns
on the same servers, sent by OTLP to a receiver on the same machine that counts spans and does nothing else.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

import asyncpg
from aiohttp import web

from bench.e2e import run_wrk
from bench.following import completed, drained, warm_up
from bench.installation import BODY, WORKFLOW, Hook, Installation, installation, make_tenant, servers
from tests.servers import free_port

_ROUNDS = 2
_LOAD_SECONDS = 5
_MODES: Mapping[str, Mapping[str, str]] = {
    "without": {},
    "tenth": {"SIGNALBOX_TRACES_RATIO": "0.1"},
    "all": {"SIGNALBOX_TRACES_RATIO": "1"},
}

_AT_ONCE = {"SIGNALBOX_UNREADY_SECONDS": "0"}
"""No balancer has to notice that they end."""


class _Receiver:
    """Takes every batch at once. `spans`: how many came."""

    def __init__(self, port: int) -> None:
        self.url, self.spans = f"http://127.0.0.1:{port}", 0

    async def answer(self, request: web.Request) -> web.Response:
        self.spans += (await request.read()).count(b'"spanId":')
        return web.Response()


async def measure(folder: Path) -> dict[str, float]:
    """All figures of this part, by dotted name."""
    rates: dict[str, list[float]] = {mode: [] for mode in _MODES}
    sent: dict[str, list[float]] = {mode: [] for mode in _MODES}
    hook: Hook | None = None
    async with servers(folder) as environment, _receiving() as receiver:
        for _ in range(_ROUNDS):
            for mode, settings in _MODES.items():
                traced = {"SIGNALBOX_OTLP_ENDPOINT": receiver.url, **settings} if settings else {}
                async with installation(folder, {**environment, **_AT_ONCE, **traced}) as running:
                    if hook is None:
                        hook = await (await make_tenant(running.services)).hook(WORKFLOW)
                    address = running.services["webhooks"].url
                    hook = replace(hook, url=f"{address}/webhooks/{hook.url.rpartition('/')[2]}")
                    await warm_up(running, hook)
                    before = receiver.spans
                    executions, elapsed = await _load(running, hook, folder)
                rates[mode].append(executions / elapsed)
                sent[mode].append((receiver.spans - before) / executions)  # they have sent what they had, and ended
    figures = {f"traces.{mode}_per_s": median(found) for mode, found in rates.items()}
    figures |= {f"traces.{mode}_spans_per_execution": median(found) for mode, found in sent.items()}
    for mode in ("tenth", "all"):
        figures[f"traces.{mode}_ratio"] = figures[f"traces.{mode}_per_s"] / figures["traces.without_per_s"]
    return figures


async def _load(running: Installation, hook: Hook, folder: Path) -> tuple[int, float]:
    """Calls as fast as they are answered; executions, and seconds until the last of them has completed."""
    connection = await asyncpg.connect(running.dsn)
    before, started = await completed(connection), perf_counter()
    await run_wrk(hook, folder, BODY, _LOAD_SECONDS)
    await drained(connection, 60)
    executions, elapsed = await completed(connection) - before, perf_counter() - started
    await connection.close()
    return executions, elapsed


@asynccontextmanager
async def _receiving() -> AsyncGenerator[_Receiver]:
    made = _Receiver(port := free_port())
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/traces", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield made
    finally:
        await runner.cleanup()
