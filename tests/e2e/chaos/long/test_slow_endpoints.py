"""C13: endpoints that answer after 29 seconds, or a byte a second. Who calls them waits; who does not, does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from tests.e2e.chaos.conftest import BadDay
from tests.e2e.chaos.scenario import SEEDS, Day
from tests.e2e.installation import Installation
from tests.servers import free_port

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1200), pytest.mark.parametrize("seed", SEEDS),
]  # fmt: skip

LATE_SECONDS = 29
BYTES = 40
SLOW_ONES = 60
"""A part of the places of one executor: whoever takes all of them is for the limits of tenants, not for this."""
PER_SECOND = 50.0
"""A part of what the machine can do, or the p95 would tell of the machine."""
_P95 = """
SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at)) AS p95
  FROM executions WHERE id = ANY($1::uuid[]) AND finished_at IS NOT NULL
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def slow(running: Installation) -> AsyncIterator[str]:
    """The address of an endpoint with `/late` and `/drip`, which notes who called as the echo does."""

    def note(request: web.Request) -> None:
        key = request.headers["Idempotency-Key"]
        running.echo.calls[key] += 1
        running.echo.latest[key] = datetime.now(UTC)

    async def late(request: web.Request) -> web.Response:
        note(request)
        await asyncio.sleep(LATE_SECONDS)
        return web.json_response({})

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(BYTES)})
        note(request)
        await response.prepare(request)
        with suppress(ConnectionError):  # the caller gives up
            for _ in range(BYTES):
                await response.write(b"1")
                await asyncio.sleep(1)
        return response

    app, port = web.Application(), free_port()
    app.router.add_post("/late", late)
    app.router.add_post("/drip", drip)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


def calling(url: str) -> dict[str, Any]:
    """A workflow that calls it, and gives up after 35 seconds."""
    call = {"key": "call", "type": "http_request", "timeout_seconds": 35, "config": {"url": url, "method": "POST"}}
    return {"name": url.rsplit("/", 1)[1], "actions": [call]}


async def test_others_do_not_wait_for_them(running: Installation, a_bad_day: BadDay, slow: str, seed: int) -> None:
    async with (
        a_bad_day("slow endpoints", seed, calls=0, per_second=PER_SECOND) as day,
        running.tenant(f"slow-{seed}") as tenant,
    ):
        await day.calls.sent_more(300)
        without = await p95(day, list(day.calls.accepted.values()))
        runs: dict[str, list[str]] = {}
        for name in ("late", "drip"):
            workflow = await tenant.make("/workflows", calling(f"{slow}/{name}"))
            made = [await tenant.make(f"/workflows/{workflow['id']}/execute", {"input": {}}) for _ in range(SLOW_ONES)]
            runs[name] = [one["execution_id"] for one in made]
        before = set(day.calls.accepted.values())
        await asyncio.sleep(LATE_SECONDS)  # a load is a length of time
        beside = await p95(day, list(set(day.calls.accepted.values()) - before))
        late = [await tenant.ended(one, seconds=60) for one in runs["late"]]
        drip = [await tenant.ended(one, seconds=60) for one in runs["drip"]]
        day.fault_over()
    assert {run["status"] for run in late} == {"completed"}
    assert {(run["status"], run["actions"][0]["error"]["class"]) for run in drip} == {("failed", "timeout")}
    assert beside <= 2 * without + 0.25


async def p95(day: Day, executions: list[object]) -> float:
    """Seconds that 95 of 100 of them took at most."""
    (row,) = await day.running.fetch(_P95, executions)
    return float(row["p95"])
