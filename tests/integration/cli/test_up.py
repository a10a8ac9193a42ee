"""`signalbox up`: everything in one process and one folder. It starts, stops and starts again by any signal and loses
nothing; what hinders it is one line; and no server outlives it.
"""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from tests.e2e.installation import Tenant
from tests.integration.cli.command import mistake
from tests.servers import ServiceProcess, free_port
from tests.waiting import patience, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("up")]

STOP_SECONDS = 20.0


class Up:
    """`signalbox up` on a folder, which each test finds running and leaves running."""

    def __init__(self, folder: Path, data: Path, **settings: str) -> None:
        self.data = data
        self.process = ServiceProcess("up", settings, folder, ["--data", str(data)])

    @property
    def arguments(self) -> list[str]:
        """Those of a second start of the same."""
        return ["up", "--data", str(self.data), "--port", str(self.process.port)]

    async def start(self) -> None:
        self.process.launch()
        await self.process.ready()

    async def ends_by(self, number: signal.Signals) -> int:
        """Send the signal; the exit status, once it is gone. Raises `TimeoutError`."""

        async def has_ended() -> bool:
            return not self.process.alive

        self.process.send(number)
        await until(has_ended, STOP_SECONDS)
        return await self.process.stop()

    def servers(self) -> list[str]:
        """Command lines of the processes that work on its folder, itself included."""
        found: list[str] = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # gone meanwhile
                continue
            if str(self.data) in line:
                found.append(line)
        return found

    async def gone(self) -> None:
        """Returns when nothing works on its folder any more."""

        async def none_left() -> bool:
            return not self.servers()

        await until(none_left, STOP_SECONDS)

    @property
    def keys(self) -> Path:
        return self.data / "keys.json"

    @asynccontextmanager
    async def platform(self) -> AsyncGenerator[Tenant]:
        """The platform's own access."""
        key = json.loads(self.keys.read_bytes())["platform_key"]
        async with aiohttp.ClientSession() as session:
            yield Tenant(session, self.process.url, {"Authorization": f"Bearer {key}"})

    @asynccontextmanager
    async def tenant(self, slug: str) -> AsyncGenerator[Tenant]:
        """A new tenant, which can be used as long as the block lasts, whatever restarts there are."""
        async with self.platform() as platform, aiohttp.ClientSession() as session:
            made = await platform.make("/admin/tenants", {"slug": slug, "name": slug})
            key = await platform.make(f"/admin/tenants/{made['id']}/api-keys", {"name": "cli", "role": "owner"})
            headers = {"Authorization": f"Bearer {key['key']}", "X-Tenant-ID": slug}
            yield Tenant(session, self.process.url, headers)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    async with AsyncExitStack() as stack:
        made = Up(folder, folder / "data", SIGNALBOX_EGRESS_ALLOW="127.0.0.1/32")
        stack.push_async_callback(made.process.stop)
        await made.start()
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def up(shared: Up) -> Up:
    """Running, whatever an earlier test did to it."""
    if not shared.process.alive:
        await shared.start()
    return shared


async def text_of(url: str) -> tuple[int, str, str]:
    """Status, media type and body."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, response.content_type, await response.text()


async def test_it_answers_for_all_services_on_one_port(up: Up) -> None:
    assert await text_of(f"{up.process.url}/healthz") == (200, "application/json", '{"status":"alive"}')
    status, _, body = await text_of(f"{up.process.url}/readyz")
    assert (status, json.loads(body)) == (200, {"ready": True, "checks": {"database": True, "bus": True}})
    status, kind, body = await text_of(f"{up.process.url}/metrics")
    assert (status, kind, "signalbox_build_info{" in body) == (200, "text/plain", True)
    for path, wanted in (("/api/v1/workflows", 401), ("/webhooks/nowhere", 404), ("/schema/openapi.json", 200)):
        assert (await text_of(up.process.url + path))[0] == wanted


async def test_its_keys_are_made_once_shown_once_and_for_the_owner_alone(up: Up) -> None:
    key = json.loads(up.keys.read_bytes())["platform_key"]
    assert up.keys.stat().st_mode & 0o777 == 0o600
    assert await up.ends_by(signal.SIGTERM) == 0
    await up.start()
    assert json.loads(up.keys.read_bytes())["platform_key"] == key
    assert up.process.log.read_text().count(key) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_everything_is_there_after_a_restart_and_what_waited_goes_on(up: Up, number: signal.Signals) -> None:
    actions = [
        {"key": "before", "type": "log", "config": {"message": "{{ input.text }}"}},
        {"key": "later", "type": "log", "delay_seconds": 2, "config": {"message": "{{ input.text }} again"}},
    ]
    async with up.tenant(f"by-{number.name.lower()}") as tenant:
        workflow = await tenant.make("/workflows", {"name": "lasting", "actions": actions})
        begun = await tenant.make(f"/workflows/{workflow['id']}/execute", {"input": {"text": "hallo"}})
        path = f"/executions/{begun['execution_id']}"

        async def waits() -> bool:
            return (await tenant.call("GET", path))[1]["status"] == "waiting"

        await until(waits)
        assert await up.ends_by(number) == (-9 if number is signal.SIGKILL else 0)
        await up.gone()
        await up.start()
        status, found = await tenant.call("GET", f"/workflows/{workflow['id']}")
        assert (status, found) == (200, workflow)
        run = await tenant.ended(begun["execution_id"])
        messages = [action["output"]["message"] for action in run["actions"]]
        assert (run["status"], messages) == ("completed", ["hallo", "hallo again"])


@asynccontextmanager
async def slow_endpoint() -> AsyncGenerator[tuple[str, asyncio.Event, asyncio.Event]]:
    """An endpoint that answers when it is told to: its address, whether it was called, and the word."""
    came, word = asyncio.Event(), asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        came.set()
        await word.wait()
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/", answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}/", came, word
    word.set()
    await runner.cleanup()


async def under_way(tenant: Tenant, url: str, came: asyncio.Event) -> str:
    """An execution that waits for an answer."""
    call: dict[str, Any] = {"key": "call", "type": "http_request", "config": {"url": url}}
    workflow = await tenant.make("/workflows", {"name": "slow", "actions": [call]})
    begun = await tenant.make(f"/workflows/{workflow['id']}/execute", {"input": {}})
    async with patience():
        await came.wait()
    return begun["execution_id"]


async def test_what_runs_is_finished_before_it_ends_though_somebody_looks_on(up: Up) -> None:
    async with slow_endpoint() as (url, came, word), up.tenant("patient") as tenant:
        execution_id = await under_way(tenant, url, came)
        stream = f"{up.process.url}/api/v1/executions/{execution_id}/stream"
        async with aiohttp.ClientSession() as session, session.get(stream, headers=tenant.headers) as response:
            assert response.status == 200
            ending = asyncio.ensure_future(up.ends_by(signal.SIGTERM))
            while await response.content.readline():
                pass  # to the end of the stream: it is told to stop
            word.set()
            assert await ending == 0
        await up.start()
        _, run = await tenant.call("GET", f"/executions/{execution_id}")
        assert [(action["attempt"], action["status"]) for action in run["actions"]] == [(1, "completed")]


async def test_a_second_signal_ends_it_at_once(up: Up) -> None:
    async with slow_endpoint() as (url, came, _), up.tenant("hasty") as tenant:
        await under_way(tenant, url, came)
        up.process.send(signal.SIGTERM)

        async def is_stopping() -> bool:
            return '"event":"stopping"' in up.process.log.read_text().rpartition('"event":"ready"')[2]

        await until(is_stopping)
        assert await up.ends_by(signal.SIGTERM) == -signal.SIGTERM
        await up.gone()


async def test_a_second_start_on_the_same_folder_says_so_and_harms_nothing(up: Up) -> None:
    said = await mistake("up", "--data", str(up.data), "--port", str(free_port()))
    assert said == f"{up.data} is in use by process {up.process.pid}."
    assert (await text_of(f"{up.process.url}/readyz"))[0] == 200


async def test_a_port_that_is_taken_or_none_is_one_line_and_leaves_no_server(up: Up) -> None:
    assert await up.ends_by(signal.SIGTERM) == 0
    with socket.create_server(("127.0.0.1", up.process.port)):
        said = await mistake(*up.arguments)
        assert said == f"Cannot listen on 127.0.0.1:{up.process.port}: Address already in use."
    assert "0 to 65535" in await mistake("up", "--data", str(up.data), "--port", "99999")
    assert up.servers() == []


async def test_a_spoilt_file_of_keys_is_one_line_and_is_not_replaced(up: Up) -> None:
    assert await up.ends_by(signal.SIGTERM) == 0
    whole = up.keys.read_bytes()
    up.keys.write_bytes(whole[:20])
    try:
        assert (await mistake(*up.arguments)).startswith(f"{up.keys} does not hold the keys")
        assert up.keys.read_bytes() == whole[:20]
    finally:
        up.keys.write_bytes(whole)
    assert up.servers() == []


async def test_a_first_start_that_is_cut_off_leaves_nothing_behind(tmp_path: Path) -> None:
    made = Up(tmp_path, tmp_path / "data")
    made.process.launch()

    async def makes_its_database() -> bool:
        return (made.data / "postgres" / "cluster.new").exists()

    await until(makes_its_database)
    assert await made.ends_by(signal.SIGTERM) == -signal.SIGTERM
    await made.gone()
    await made.start()
    assert made.process.log.read_text().count("Platform key") == 1
    assert await made.ends_by(signal.SIGINT) == 0
    await made.gone()


async def test_servers_that_are_given_are_used_instead_of_private_ones(
    tmp_path: Path, database_dsn: str, redis_url: str
) -> None:
    made = Up(tmp_path, tmp_path / "data", SIGNALBOX_DATABASE_URL=database_dsn, SIGNALBOX_REDIS_URL=redis_url)
    await made.start()
    async with made.platform() as platform:
        await platform.make("/admin/tenants", {"slug": "elsewhere", "name": "Elsewhere"})
    assert [path.name for path in made.data.iterdir()] == ["keys.json"]
    assert await made.ends_by(signal.SIGTERM) == 0
