"""The four services as processes of their own: what each tells of itself, how it ends, and a start without a broker."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from libs.common.security.encryption import new_master_key
from libs.common.version import __version__
from tests.e2e.installation import SERVICES
from tests.integration.cli.command import mistake
from tests.servers import RabbitMQ, ServiceProcess
from tests.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("services")]

CHECKS = {
    "gateway": {"database": True},
    "webhooks": {"database": True},
    "scheduler": {"database": True, "bus": True},
    "executor": {"database": True, "bus": True},
}
STOP_SECONDS = 20.0
UNPLUGGED = "unplugged"


Services = dict[str, ServiceProcess]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def settings(postgres_dsn: str, rabbitmq: RabbitMQ) -> AsyncIterator[dict[str, str]]:
    """Those of an installation whose database is still empty."""
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("CREATE DATABASE of_services")
    yield {
        "SIGNALBOX_DATABASE_URL": urlsplit(postgres_dsn)._replace(path="/of_services").geturl(),
        "SIGNALBOX_BUS_URL": rabbitmq.url,
        "SIGNALBOX_BUS_PREFIX": "of-services",
        "SIGNALBOX_MASTER_KEYS": new_master_key(),
        "SIGNALBOX_PLATFORM_KEY": "sbp_of-services",
        "SIGNALBOX_UNREADY_SECONDS": "3",
    }
    await connection.execute("DROP DATABASE of_services WITH (FORCE)")
    await connection.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def services(settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Services]:
    """All running, and a scheduler whose broker is away; each test finds and leaves them so."""
    folder = tmp_path_factory.mktemp("services")
    away = {**settings, "SIGNALBOX_BUS_URL": "amqp://u:hidden-pw@127.0.0.1:1/"}
    async with AsyncExitStack() as stack:
        made = {name: ServiceProcess(name, settings, folder) for name in SERVICES}
        made[UNPLUGGED] = ServiceProcess("scheduler", away, folder)
        for process in made.values():
            stack.push_async_callback(process.stop)
            process.launch()
        await asyncio.gather(*[made[name].ready() for name in SERVICES])
        yield made


async def page(process: ServiceProcess, path: str) -> tuple[int, str, str]:
    """Status, media type and body."""
    async with aiohttp.ClientSession() as session, session.get(process.url + path) as response:
        return response.status, response.content_type, await response.text()


@pytest.mark.parametrize("name", SERVICES)
async def test_it_tells_that_it_lives_what_it_can_do_and_what_it_did(services: Services, name: str) -> None:
    process = services[name]
    assert await page(process, "/healthz") == (200, "application/json", '{"status":"alive"}')
    status, _, body = await page(process, "/readyz")
    assert (status, json.loads(body)) == (200, {"ready": True, "checks": CHECKS[name]})
    status, kind, body = await page(process, "/metrics")
    assert (status, kind) == (200, "text/plain")
    (built,) = [line for line in body.splitlines() if line.startswith("signalbox_build_info{")]
    assert (f'"{name}"' in built, f'"{__version__}"' in built) == (True, True)
    assert (await page(process, "/nowhere"))[0] in (401, 404)
    for line in process.log.read_text().splitlines():
        assert (json.loads(line)["service"], json.loads(line)["level"]) == (name, "info")


async def test_a_broker_that_is_away_is_no_obstacle_and_is_named(services: Services) -> None:
    process = services[UNPLUGGED]

    async def listens() -> bool:
        try:
            return (await page(process, "/healthz"))[0] == 200
        except aiohttp.ClientError:
            return False

    await until(listens)
    status, _, body = await page(process, "/readyz")
    assert (status, json.loads(body)) == (503, {"ready": False, "checks": {"database": True, "bus": False}})
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    assert "the broker is away; going on without it" in [line["event"] for line in lines]
    assert "hidden-pw" not in process.log.read_text()
    process.send(signal.SIGTERM)
    assert await ended(process) == 0


async def ended(process: ServiceProcess) -> int:
    """Its exit status, once it has ended. Raises `TimeoutError`."""

    async def has_ended() -> bool:
        return not process.alive

    await until(has_ended, STOP_SECONDS)
    return await process.stop()


@pytest.mark.parametrize("name", ["gateway", "webhooks"])
async def test_one_that_is_to_stop_says_so_and_answers_for_a_while(services: Services, name: str) -> None:
    process = services[name]
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{process.url}/webhooks/nowhere") as response:
            assert "Connection" not in response.headers
        process.send(signal.SIGTERM)

        async def is_unready() -> bool:
            return (await page(process, "/readyz"))[0] == 503

        await until(is_unready)
        checks = {**CHECKS[name], "running": False}
        assert json.loads((await page(process, "/readyz"))[2]) == {"ready": False, "checks": checks}
        async with session.get(f"{process.url}/webhooks/nowhere") as response:
            assert (response.status in (401, 404), response.headers["Connection"]) == (True, "close")
    assert await ended(process) == 0
    process.launch()
    await process.ready()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_each_ends_by_any_signal_and_starts_again(services: Services, number: signal.Signals) -> None:
    running = [services[name] for name in SERVICES]
    for process in running:
        process.send(number)
    assert [await ended(process) for process in running] == [0, 0, 0, 0]
    for process in running:
        last = json.loads(process.log.read_text().splitlines()[-1])
        assert (last["event"], "Traceback" in process.log.read_text()) == ("stopped", False)
        process.launch()
    await asyncio.gather(*[process.ready() for process in running])


async def test_a_port_that_is_taken_is_one_line(services: Services, settings: dict[str, str]) -> None:
    ports = {name: services[name].port for name in SERVICES}
    said = await asyncio.gather(*[mistake(name, "--port", str(port), **settings) for name, port in ports.items()])
    for port, line in zip(ports.values(), said, strict=True):
        assert line == f"Cannot listen on 127.0.0.1:{port}: Address already in use."
