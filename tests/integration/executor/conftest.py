"""An executor over a real database and the in-memory bus, an endpoint for it to call, and runs to follow."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web

from libs.common.announce import Announcer
from libs.common.bus.memory import MemoryBus
from libs.common.bus.messages import Ready
from libs.common.bus.protocol import Bus
from libs.common.settings import Networks, load_settings
from services.executor.app import ExecutorService
from services.scheduler.rescue import Rescue
from services.scheduler.waking import Waking
from tests.integration.conftest import World
from tests.servers import free_port
from tests.waiting import patience, until

_BEGUN = "SELECT FROM action_executions WHERE execution_id = $1 AND key = $2 AND status = 'started'"
LOOPBACK = load_settings({"SIGNALBOX_EGRESS_ALLOW": "127.0.0.1/32"}).egress_allow


@dataclass
class Endpoint:
    """What the actions call. `script`: statuses to answer, 200 when there are no more; `gate` holds every answer, and
    `hold` that of one request (they are numbered from 1).
    """

    url: str
    script: list[int] = field(default_factory=list[int])
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list[tuple[str, dict[str, str], bytes]])
    came: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    headers: dict[str, str] = field(default_factory=dict[str, str])
    holds: dict[int, asyncio.Event] = field(default_factory=dict[int, asyncio.Event])
    callers: dict[int, web.Request] = field(default_factory=dict[int, web.Request])

    async def hung_up(self, number: int) -> None:
        """Returns when the caller of a request that is held has closed its connection."""

        async def is_gone() -> bool:
            return self.callers[number].transport is None

        await until(is_gone)

    def hold(self, *numbers: int) -> None:
        for number in numbers:
            self.holds[number] = asyncio.Event()

    def release(self, number: int) -> None:
        self.holds[number].set()

    async def called(self, times: int) -> None:
        """Returns when so many requests have come."""
        async with patience():
            while len(self.requests) < times:
                self.came.clear()
                await self.came.wait()

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.path_qs, dict(request.headers), await request.read()))
        number = len(self.requests)
        self.callers[number] = request
        self.came.set()
        await self.gate.wait()
        if number in self.holds:
            await self.holds[number].wait()
        status = self.script.pop(0) if self.script else 200
        return web.json_response({"n": number}, status=status, headers=self.headers)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    port = free_port()
    made = Endpoint(f"http://127.0.0.1:{port}")
    made.gate.set()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield made
    for gate in (made.gate, *made.holds.values()):
        gate.set()
    await runner.cleanup()


class Executor:
    """Starts, kills and stops executors, and runs workflows on them."""

    def __init__(self, world: World, allowed: Networks = LOOPBACK) -> None:
        self.world, self.allowed = world, allowed
        self.services: list[ExecutorService] = []
        self.others: list[MemoryBus] = []

    async def start(self, bus: Bus | None = None, **settings: Any) -> ExecutorService:
        """One more executor; on a bus of its own when given one."""
        parts = self.world.service_parts(egress_allow=self.allowed, **{"drain_seconds": 5.0, **settings})
        service = ExecutorService(parts if bus is None else replace(parts, bus=bus))
        await service.start()
        self.services.append(service)
        return service

    async def sweep(self, bus: Bus | None = None) -> None:
        """What the scheduler does: free what the dead held, wake what is due."""
        bus = bus or self.world.bus
        announcer = Announcer(bus)
        await Rescue(self.world.parts.database).work()
        await Waking(self.world.parts.database, bus, announcer).work()
        await announcer.close()

    async def give_up(self, service: ExecutorService) -> ExecutorService:
        """The executor counts as dead, as when its machine froze; another one, on a bus of its own, gets what it held.
        Returns that one.
        """
        self.others.append(bus := MemoryBus())
        await bus.connect()
        heir = await self.start(bus)
        await self.world.fetch("UPDATE workers SET beat_at = '-infinity' WHERE id = $1", service.worker)
        await self.sweep(bus)
        return heir

    async def close(self) -> None:
        """End all executors."""
        for service in self.services:
            await service.stop()
        for bus in self.others:
            await bus.close()

    async def begin(self, actions: list[dict[str, Any]], data: Any = None, **more: Any) -> str:
        """Store a workflow and execute it; returns the execution's id."""
        name = f"w{len(await self.world.fetch('SELECT FROM workflows'))}"
        made = await self.world.made({"name": name, "actions": actions, **more})
        answer = await self.world.call("POST", f"/workflows/{made['id']}/execute", {"input": data or {}})
        assert answer.status_code == 202, answer.text
        return answer.json()["execution_id"]

    async def begun(self, execution_id: str, key: str) -> None:
        """Returns when it is on record that this action of the execution is about to begin."""

        async def has_begun() -> bool:
            return bool(await self.world.fetch(_BEGUN, UUID(execution_id), key))

        await until(has_begun)

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
async def executors(acme: World) -> AsyncIterator[Executor]:
    """None is started yet."""
    made = Executor(acme)
    yield made
    await made.close()


@pytest.fixture
async def executor(executors: Executor) -> Executor:
    """One is running."""
    await executors.start()
    return executors


def attempts(run: dict[str, Any]) -> list[tuple[str, int, str]]:
    """Key, attempt and status of every record."""
    return [(action["key"], action["attempt"], action["status"]) for action in run["actions"]]


async def announced(world: World) -> list[Ready]:
    """Every execution as a message would say that it is ready, oldest first, its input left to its row."""
    rows = await world.fetch("SELECT tenant_id, id, epoch, workflow_id, version FROM executions ORDER BY id")
    return [Ready(row["tenant_id"], row["id"], row["epoch"], row["workflow_id"], row["version"]) for row in rows]
