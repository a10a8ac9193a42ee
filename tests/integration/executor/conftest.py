"""An executor over a real database and the in-memory bus, an endpoint for it to call, and runs to follow."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from libs.common.accept import Announcer
from libs.common.settings import Networks, load_settings
from services.executor.app import ExecutorService
from services.scheduler.rescue import Rescue
from services.scheduler.waking import Waking
from tests.integration.conftest import World
from tests.servers import free_port

LOOPBACK = load_settings({"SIGNALBOX_EGRESS_ALLOW": "127.0.0.1/32"}).egress_allow


@dataclass
class Endpoint:
    """What the actions call. `script`: statuses to answer, 200 when there are no more; `gate` holds every answer."""

    url: str
    script: list[int] = field(default_factory=list[int])
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list[tuple[str, dict[str, str], bytes]])
    came: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    headers: dict[str, str] = field(default_factory=dict[str, str])

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.path_qs, dict(request.headers), await request.read()))
        self.came.set()
        await self.gate.wait()
        status = self.script.pop(0) if self.script else 200
        return web.json_response({"n": len(self.requests)}, status=status, headers=self.headers)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    port = free_port()
    made = Endpoint(f"http://127.0.0.1:{port}")
    made.gate.set()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield made
    made.gate.set()
    await runner.cleanup()


class Executor:
    """Starts, kills and stops executors, and runs workflows on them."""

    def __init__(self, world: World, allowed: Networks = LOOPBACK) -> None:
        self.world, self.allowed = world, allowed
        self.services: list[ExecutorService] = []

    async def start(self) -> ExecutorService:
        parts = self.world.service_parts(egress_allow=self.allowed, drain_seconds=5.0)
        service = ExecutorService(parts)
        await service.start()
        self.services.append(service)
        return service

    async def sweep(self) -> None:
        """What the scheduler does: free what the dead held, wake what is due."""
        announcer = Announcer(self.world.bus)
        await Rescue(self.world.parts.database).work()
        await Waking(self.world.parts.database, self.world.bus, announcer).work()
        await announcer.close()

    async def begin(self, actions: list[dict[str, Any]], data: Any = None, **more: Any) -> str:
        """Store a workflow and execute it; returns the execution's id."""
        name = f"w{len(await self.world.fetch('SELECT FROM workflows'))}"
        made = await self.world.made({"name": name, "actions": actions, **more})
        answer = await self.world.call("POST", f"/workflows/{made['id']}/execute", {"input": data or {}})
        assert answer.status_code == 202, answer.text
        return answer.json()["execution_id"]

    async def seen(self, execution_id: str, *statuses: str) -> dict[str, Any]:
        """The execution, once it has one of the statuses."""
        found: dict[str, Any] = {}

        async def has_status() -> bool:
            found.update((await self.world.call("GET", f"/executions/{execution_id}")).json())
            return found["status"] in statuses

        await until(has_status)
        return found

    async def run(self, actions: list[dict[str, Any]], data: Any = None, **more: Any) -> dict[str, Any]:
        """Run a workflow to its end."""
        return await self.seen(await self.begin(actions, data, **more), "completed", "failed", "cancelled", "timed_out")


@pytest.fixture
async def executor(acme: World) -> AsyncIterator[Executor]:
    made = Executor(acme)
    await made.start()
    yield made
    for service in made.services:
        await service.stop()


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 15) -> None:
    """Returns when the condition holds. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - the database has no event for it
            await asyncio.sleep(0.02)


def attempts(run: dict[str, Any]) -> list[tuple[str, int, str]]:
    """Key, attempt and status of every record."""
    return [(action["key"], action["attempt"], action["status"]) for action in run["actions"]]
