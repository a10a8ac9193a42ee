"""A whole installation for the end-to-end tests: private PostgreSQL, Valkey and RabbitMQ, the four services as four
processes, an endpoint for them to call, and a tenant to be.
"""

import asyncio
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import asyncpg
from aiohttp import web

from libs.common.embedded.postgres import LOOPBACK, EmbeddedPostgres
from libs.common.embedded.valkey import EmbeddedValkey
from libs.common.security.encryption import new_master_key
from tests.servers import ROOT, RabbitMQ, ServiceProcess, free_port
from tests.waiting import PATIENCE_SECONDS, until

SERVICES = ("gateway", "webhooks", "scheduler", "executor")
PLATFORM_KEY = "e2e-platform-key-3f9c"
SLOW_SECONDS = 0.1
"""So that some call is under way whenever something breaks."""
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class Echo:
    """What the workflows call: counts the calls of each `Idempotency-Key`; `/flaky` fails a key's first call, `/held`
    keeps a key's first call waiting until `release` is set, `/slow` takes its time. `meddle`, when there is one, is
    awaited with the key before anything is answered.
    """

    def __init__(self, host: str, port: int) -> None:
        self.url = f"http://{host}:{port}"
        self.calls: Counter[str] = Counter()
        self.latest: dict[str, datetime] = {}
        self.bodies: list[Any] = []
        self.traceparents: list[str] = []
        self.came = asyncio.Event()
        self.release = asyncio.Event()
        self.meddle: Callable[[str], Awaitable[None]] | None = None

    async def answer(self, request: web.Request) -> web.Response:
        key, body = request.headers["Idempotency-Key"], await request.json()
        self.calls[key] += 1
        self.latest[key] = datetime.now(UTC)
        self.bodies.append(body)
        self.traceparents.append(request.headers.get("traceparent", ""))
        self.came.set()
        if self.meddle is not None:
            await self.meddle(key)
        if request.path == "/flaky" and self.calls[key] == 1:
            return web.json_response({"error": "not yet"}, status=503)
        if request.path == "/held" and self.calls[key] == 1:
            await self.release.wait()
        if request.path == "/slow":
            await asyncio.sleep(SLOW_SECONDS)
        return web.json_response({"received": body})


class Tenant:
    """The REST API as one tenant uses it."""

    def __init__(self, session: aiohttp.ClientSession, base: str, headers: Mapping[str, str]) -> None:
        self.session, self._base, self.headers = session, base, dict(headers)

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and answer of a call below `/api/v1`; header names are written with underscores."""
        given = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self.session.request(method, f"{self._base}/api/v1{path}", json=body, headers=given) as response:
            return response.status, await response.json(content_type=None)

    async def make(self, path: str, body: Any) -> Any:
        """The answer of a POST that must succeed."""
        status, answer = await self.call("POST", path, body)
        assert status in (201, 202), answer
        return answer

    async def ended(self, execution_id: str, seconds: float = PATIENCE_SECONDS) -> Any:
        """The execution, once it has ended."""
        run: Any = None

        async def has_ended() -> bool:
            nonlocal run
            _, run = await self.call("GET", f"/executions/{execution_id}")
            return run["finished_at"] is not None

        await until(has_ended, seconds)
        return run


class Installation:
    """The servers and services; each can be killed, stopped and started again at its address."""

    def __init__(
        self,
        folder: Path,
        echo: Echo,
        settings: Mapping[str, str],
        interface: IPv4Interface,
        *,
        broker_metrics: bool = False,
    ) -> None:
        (folder / "data").mkdir(parents=True, exist_ok=True)
        self.folder, self.echo = folder, echo
        self.interface, self._postgres_port = interface, free_port()
        self.postgres = EmbeddedPostgres(folder / "data", port=self._postgres_port, interface=interface)
        self.valkey = EmbeddedValkey(folder / "data")
        self.rabbitmq = RabbitMQ(folder / "rabbitmq", with_metrics=broker_metrics, host=str(interface.ip))
        self.services: dict[str, ServiceProcess] = {}
        self.dsn = ""
        self.environment = {
            "SIGNALBOX_PLATFORM_KEY": PLATFORM_KEY,
            "SIGNALBOX_MASTER_KEYS": new_master_key(),
            "SIGNALBOX_EGRESS_ALLOW": str(interface.network),
            **settings,
        }

    async def start(self, stack: AsyncExitStack, services: Sequence[str] = SERVICES) -> None:
        """Start the servers and these services; `stack` ends them."""
        for server in (self.postgres, self.valkey):
            stack.push_async_callback(server.stop)
        self.dsn = _over_tcp(await self.postgres.start(), str(self.interface.ip), self._postgres_port)
        stack.push_async_callback(self.rabbitmq.close)
        self.rabbitmq.launch()
        redis_url = await self.valkey.start()
        await self.rabbitmq.ready()
        self.environment |= {
            "SIGNALBOX_DATABASE_URL": self.dsn,
            "SIGNALBOX_REDIS_URL": redis_url,
            "SIGNALBOX_BUS_URL": self.rabbitmq.url,
        }
        for name in services:
            await self.add(name, stack)

    async def add(
        self,
        name: str,
        stack: AsyncExitStack,
        alias: str = "",
        settings: Mapping[str, str] | None = None,
        code: Path = ROOT,
        within: Sequence[str] = (),
    ) -> ServiceProcess:
        """One more service process, known as `alias`; ready. `settings` are variables of its own, `code` is what it
        runs, `within` the command that runs it.
        """
        variables = {**self.environment, **(settings or {})}
        process = ServiceProcess(name, variables, self.folder, code=code, within=within)
        stack.push_async_callback(process.kill)
        self.services[alias or name] = process
        process.launch()
        await process.ready()
        return process

    async def kill_and_start(self, name: str) -> None:
        """SIGKILL, and start again."""
        await self.services[name].kill()
        self.services[name].launch()
        await self.services[name].ready()

    @asynccontextmanager
    async def tenant(self, slug: str) -> AsyncGenerator[Tenant]:
        """A new tenant with an owner's key."""
        base = self.services["gateway"].url
        async with aiohttp.ClientSession() as session:
            platform = Tenant(session, base, {"Authorization": f"Bearer {PLATFORM_KEY}"})
            tenant = await platform.make("/admin/tenants", {"slug": slug, "name": slug.title()})
            key = await platform.make(f"/admin/tenants/{tenant['id']}/api-keys", {"name": "e2e", "role": "owner"})
            yield Tenant(session, base, {"Authorization": f"Bearer {key['key']}", "X-Tenant-ID": slug})

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        """Rows of the installation's database."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()

    @property
    def environment_secret(self) -> str:
        """The platform's key, which no log may hold."""
        return self.environment["SIGNALBOX_PLATFORM_KEY"]

    @property
    def secrets(self) -> list[str]:
        """What may stand in no log and no record: the platform's key, the master key, the database's password."""
        master = self.environment["SIGNALBOX_MASTER_KEYS"].partition(":")[2]
        return [self.environment_secret, master, str(urlsplit(self.dsn).password)]

    def log_of(self, name: str) -> list[dict[str, Any]]:
        """The log lines of a service; every line has to be JSON."""
        return [json.loads(line) for line in self.services[name].log.read_text().splitlines()]

    async def metric(self, name: str, series: str) -> float:
        """The value of one series of a service's /metrics; 0 when there is none yet."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.services[name].url}/metrics") as response:
            lines = (await response.text()).splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.rsplit(" ", 1)[0] == series), 0.0)


@asynccontextmanager
async def installation(
    folder: Path, broker_metrics: bool = False, services: Sequence[str] = SERVICES,
    interface: IPv4Interface = LOOPBACK, /, **settings: str,
) -> AsyncGenerator[Installation]:  # fmt: skip
    """Everything running; `settings` are further `SIGNALBOX_…` variables; `broker_metrics`: RabbitMQ reports them;
    `services`: those that run from the beginning; `interface`: where servers and endpoint are found.
    """
    async with AsyncExitStack() as stack:
        port = free_port()
        echo = Echo(str(interface.ip), port)
        app = web.Application()
        app.router.add_post("/{path:.*}", echo.answer)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, str(interface.ip), port).start()
        made = Installation(folder, echo, settings, interface, broker_metrics=broker_metrics)
        await made.start(stack, services)
        yield made
        echo.release.set()


def example(name: str, echo: Echo) -> Any:
    """An example workflow, its calls directed to the echo."""
    return json.loads((EXAMPLES / f"{name}.json").read_text().replace("http://127.0.0.1:9900", echo.url))


def signature(secret: str, body: bytes) -> str:
    """The signature header of a webhook's sender."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _over_tcp(dsn: str, host: str, port: int) -> str:
    """The same database by its TCP port, which a restart keeps."""
    parts = urlsplit(dsn)
    assert parse_qs(parts.query)["port"] == [str(port)]
    return parts._replace(netloc=f"{parts.username}:{parts.password}@{host}:{port}", query="").geturl()
