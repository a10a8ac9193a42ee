"""The `signalbox` command as an operator meets it: what it prints, how it ends, that a mistake is one clear line."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from libs.common.security.encryption import new_master_key
from libs.common.version import __version__
from tests.servers import ROOT, ServiceProcess, free_port

PLATFORM_KEY = "sbp_cli-test"


async def signalbox(*arguments: str, **settings: str) -> tuple[int, str, str]:
    """Run the command to its end: exit code, stdout, stderr."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALBOX_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.cli", *arguments, cwd=ROOT, env={**inherited, **settings},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def test_version() -> None:
    assert await signalbox("--version") == (0, f"{__version__}\n", "")


async def test_settings_are_listed_and_secrets_masked() -> None:
    code, output, _ = await signalbox("settings", SIGNALBOX_PLATFORM_KEY="sbp_hidden", SIGNALBOX_EXECUTOR_SLOTS="7")
    assert code == 0
    assert "SIGNALBOX_EXECUTOR_SLOTS = 7" in output
    assert "SIGNALBOX_PLATFORM_KEY = ****" in output
    assert "sbp_hidden" not in output


@pytest.mark.parametrize(
    ("command", "settings", "said"),
    [
        ("migrate", {}, "SIGNALBOX_DATABASE_URL"),
        ("gateway", {"SIGNALBOX_EXECUTOR_SLOTS": "many"}, "SIGNALBOX_EXECUTOR_SLOTS"),
        ("gateway", {"SIGNALBOX_EGRESS_ALLOW": "nowhere"}, "SIGNALBOX_EGRESS_ALLOW"),
        ("gateway", {"SIGNALBOX_BUS_URL": "memory://"}, "SIGNALBOX_BUS_URL"),
        (
            "gateway",
            {"SIGNALBOX_BUS_URL": "amqp://127.0.0.1:1/", "SIGNALBOX_MASTER_KEYS": new_master_key()},
            "SIGNALBOX_DATABASE_URL",
        ),
        (
            "migrate",
            {"SIGNALBOX_DATABASE_URL": "postgresql://u:hidden-pw@127.0.0.1:1/db"},
            "PostgreSQL at 127.0.0.1:1/db",
        ),
        (
            "executor",
            {
                "SIGNALBOX_BUS_URL": "amqp://127.0.0.1:1/",
                "SIGNALBOX_MASTER_KEYS": "nonsense",
                "SIGNALBOX_DATABASE_URL": "postgresql://127.0.0.1:1/db",
            },
            "SIGNALBOX_MASTER_KEYS",
        ),
    ],
)
async def test_a_mistake_of_the_operator_is_one_line(command: str, settings: Mapping[str, str], said: str) -> None:
    code, output, errors = await signalbox(command, **settings)
    assert (code, output) == (1, "")
    assert errors.startswith("signalbox: ")
    assert errors.count("\n") == 1
    assert said in errors
    assert "hidden-pw" not in errors


async def test_migrate_brings_the_schema_up_and_says_so(postgres_dsn: str, database_dsn: str) -> None:
    again = await signalbox("migrate", SIGNALBOX_DATABASE_URL=database_dsn)
    assert again == (0, "the schema is up to date\n", "")


class Up:
    """`signalbox up` on one folder."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        settings = {"SIGNALBOX_PLATFORM_KEY": PLATFORM_KEY, "SIGNALBOX_MASTER_KEYS": new_master_key()}
        self.data, self.settings = folder / "data", settings
        self.process = ServiceProcess("up", settings, folder, ["--data", str(self.data)])
        stack.push_async_callback(self.process.stop)

    async def start(self) -> None:
        self.process.launch()
        await self.process.ready()

    async def post(self, path: str, body: object, **headers: str) -> tuple[int, dict[str, str]]:
        given = {"Authorization": f"Bearer {PLATFORM_KEY}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        url = f"{self.process.url}/api/v1{path}"
        async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=given) as response:
            return response.status, await response.json()


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Up]:
    async with AsyncExitStack() as stack:
        made = Up(tmp_path, stack)
        await made.start()
        yield made


async def test_up_keeps_its_data_and_stops_cleanly(up: Up) -> None:
    status, tenant = await up.post("/admin/tenants", {"slug": "acme", "name": "Acme"})
    assert status == 201
    assert await up.process.stop() == 0
    await up.start()
    assert (await up.post("/admin/tenants", {"slug": "acme", "name": "Acme"}))[0] == 409
    assert (await up.post(f"/admin/tenants/{tenant['id']}/api-keys", {"name": "k", "role": "owner"}))[0] == 201
    up.process.send(signal.SIGINT)
    assert await up.process.stop(20) == 0


async def test_a_second_start_on_the_same_folder_says_so_in_one_line(up: Up) -> None:
    code, _, errors = await signalbox("up", "--data", str(up.data), "--port", str(free_port()), **up.settings)
    assert (code, errors.count("\n")) == (1, 1)
    assert f"{up.data} is in use by process {up.process.pid}" in errors
    assert up.process.alive


async def test_a_port_in_use_is_one_line(up: Up, tmp_path: Path) -> None:
    arguments = ("up", "--data", str(tmp_path / "other"), "--port", str(up.process.port))
    code, _, errors = await signalbox(*arguments, **up.settings)
    assert code == 1
    assert str(up.process.port) in errors.splitlines()[-1]
    assert "Traceback" not in errors


async def test_a_killed_up_leaves_no_servers_and_starts_again(up: Up) -> None:
    await up.post("/admin/tenants", {"slug": "acme", "name": "Acme"})
    await up.process.kill()
    await up.start()
    assert (await up.post("/admin/tenants", {"slug": "acme", "name": "Acme"}))[0] == 409
