"""deploy/compose: the file is valid, nothing in it runs with more rights than it needs or with a password that is not
secret, and its topology works.
"""

import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.composing import FOLDER, compose, make_secrets, one_call, running
from tests.e2e.installation import SERVICES

SERVERS = {"postgres", "rabbitmq", "valkey", "prometheus", "grafana", "jaeger"}
TOOLS = Path(sys.executable).parent


def test_it_is_valid() -> None:
    check = [sys.executable, TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checker = [*check, FOLDER / "compose.yaml"]
    checked = subprocess.run(checker, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_everything_is_there_and_confined() -> None:
    services: dict[str, Any] = compose()["services"]
    assert services.keys() == {*SERVICES, "migrate"} | SERVERS
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert re.fullmatch(r"[1-9]\d*:\d+", service["user"]), name
        assert ("test" in service["healthcheck"]) == (name != "migrate"), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert not {"privileged", "cap_add", "network_mode", "pid"} & service.keys(), name
    assert all(services[name]["command"] == [name, "--port", "8000"] for name in SERVICES)
    assert compose()["networks"]["data"]["internal"] is True
    assert all(services[name]["networks"] == ["data"] for name in ("postgres", "rabbitmq", "valkey"))


def test_what_is_named_exists() -> None:
    file = compose()
    for name, service in file["services"].items():
        assert set(service.get("secrets", [])) <= file["secrets"].keys(), name
        files = {value.removeprefix("/run/secrets/") for key, value in service.get("environment", {}).items()
                 if key.endswith("_FILE")}  # fmt: skip
        assert files <= set(service.get("secrets", [])), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in file["volumes"] or (FOLDER / source).exists(), volume
        assert set(service.get("depends_on", {})) <= file["services"].keys(), name


def test_secrets_are_made_once_and_no_other_account_reads_them(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    make_secrets(folder)
    first = {file.name: file.read_text() for file in folder.iterdir()}
    assert first.keys() >= compose()["secrets"].keys()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    values = [first[name] for name in first if name.endswith("_password")]
    assert len(set(values)) == len(values)
    assert all(len(value) == 48 for value in values)
    for password, users in {
        "database_password": ["database_url"], "bus_password": ["bus_url", "rabbitmq.conf"],
        "redis_password": ["redis_url", "valkey.conf"],
    }.items():  # fmt: skip
        assert all(first[password] in first[user] for user in users)
    (folder / "grafana_password").unlink()
    make_secrets(folder)
    second = {file.name: file.read_text() for file in folder.iterdir()}
    assert {name for name in first if first[name] != second[name]} == {"grafana_password"}


def test_every_secret_comes_from_a_file() -> None:
    for name, service in compose()["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASS|SECRET|KEY|DATABASE_URL|BUS_URL|REDIS_URL", variable):
                assert variable.endswith("_FILE"), (name, variable)
                assert value.startswith("/run/secrets/"), (name, variable)


@pytest.mark.timeout(180)
async def test_the_topology_takes_a_call_to_its_end(tmp_path: Path, amqp_url: str, redis_url: str) -> None:
    tmp_path.chmod(0o755)
    async with running(tmp_path / "site", amqp_url, redis_url) as processes:
        run = await one_call(processes, (tmp_path / "site" / "secrets" / "platform_key").read_text())
        logs = "".join(process.log.read_text() for process in processes.values())
        secrets = [file.read_text() for file in (tmp_path / "site" / "secrets").glob("*_password")]
    assert (run["status"], [action["key"] for action in run["actions"]]) == ("completed", ["note"])
    assert not [secret for secret in secrets if secret in logs]
