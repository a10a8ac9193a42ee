"""The ingress: signed calls of 2 KB, accepted means committed; beside it a bare handler that only reads the body,
and one INSERT for each request, both under the same load.

Once with all four services, which execute meanwhile what is accepted; then without scheduler and executor: what is
measured is accepting, not executing.
"""

import asyncio
import hashlib
import hmac
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from bench.e2e import run_wrk
from bench.installation import Hook, installation, make_tenant, servers
from libs.common.clock import new_id
from libs.common.db.migrate import migrate
from tests.servers import free_port

_SECONDS = 6
BODY = b'{"customer":{"id":"c-1","name":"Ada"},"amount":12050,"text":"' + b"x" * 1_980 + b'"}'
_WORKFLOW: dict[str, Any] = {
    "name": "ingress",
    "triggers": [
        {
            "key": "hook", "type": "webhook",
            "config": {"auth": {"type": "hmac", "header": "X-Hub-Signature-256", "prefix": "sha256="}},
        }
    ],
    "actions": [],
}  # fmt: skip
_BARE = """
import sys
import uvicorn
from litestar import Litestar, Request, post

@post("/", status_code=202)
async def take(request: Request) -> dict[str, bool]:
    await request.body()
    return {"success": True}

uvicorn.run(Litestar([take], openapi_config=None, logging_config=None), port=int(sys.argv[1]), log_level="error")
"""
_INSERT = """
INSERT INTO webhook_logs (tenant_id, id, trigger_id, execution_id, outcome, status, method, query, headers, body, ip,
                          user_agent, microseconds)
VALUES ($1, $2, $1, $2, 'accepted', 202, 'POST', '', '{}', $3, '127.0.0.1', 'bench', 1)
"""


async def measure(folder: Path) -> dict[str, float]:
    """All figures of this part, by dotted name."""
    async with servers(folder) as environment:
        await migrate(environment["SIGNALBOX_DATABASE_URL"])
        async with installation(folder, environment) as running:
            hook = signed(await (await make_tenant(running.services)).hook(_WORKFLOW))
            executing = await run_wrk(hook, folder, BODY, _SECONDS)
            for name in ("executor", "scheduler"):
                await running.services[name].stop()
            loaded = await run_wrk(hook, folder, BODY, _SECONDS)
            memory = running.services["webhooks"].resident_mb()
        inserts = await _inserts_per_s(environment["SIGNALBOX_DATABASE_URL"])
    async with _bare_server() as url:
        bare = await run_wrk(Hook(url, {"Content-Type": "application/json"}, ""), folder, BODY, _SECONDS)
    return {
        "ingress.requests_per_s": loaded["requests_per_s"],
        "ingress.p50_ms": loaded["p50_ms"],
        "ingress.p99_ms": loaded["p99_ms"],
        "ingress.refused": loaded["refused"],
        "ingress.executing_requests_per_s": executing["requests_per_s"],
        "ingress.executing_p99_ms": executing["p99_ms"],
        "ingress.bare_requests_per_s": bare["requests_per_s"],
        "ingress.ratio_to_bare": loaded["requests_per_s"] / bare["requests_per_s"],
        "ingress.inserts_per_s": inserts,
        "ingress.ratio_to_inserts": loaded["requests_per_s"] / inserts,
        "memory.webhooks_ingress_mb": memory,
    }


def signed(hook: Hook) -> Hook:
    """The hook with the signature of the body, as GitHub makes it."""
    digest = hmac.new(hook.secret.encode(), BODY, hashlib.sha256).hexdigest()
    return Hook(hook.url, {"X-Hub-Signature-256": f"sha256={digest}", "Content-Type": "application/json"}, hook.secret)


async def _inserts_per_s(dsn: str) -> float:
    """One INSERT and commit for each request, from as many connections as the service has."""
    pool: Any = await asyncpg.create_pool(dsn, min_size=8, max_size=8)
    tenant, loop, done = new_id(), asyncio.get_running_loop(), 0
    end = loop.time() + _SECONDS / 2

    async def client() -> None:
        nonlocal done
        while loop.time() < end:
            async with pool.acquire() as connection:
                await connection.execute(_INSERT, tenant, new_id(), BODY)
            done += 1

    await asyncio.gather(*[client() for _ in range(64)])
    await pool.close()
    return done / (_SECONDS / 2)


@asynccontextmanager
async def _bare_server() -> AsyncGenerator[str]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _BARE, str(port))
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        await process.wait()
