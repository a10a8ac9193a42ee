"""The `signalbox` command as an operator meets it: what it prints, how it ends, that a mistake is one clear line."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from libs.common.db.migrate import migrations
from libs.common.version import __version__
from tests.integration.cli.command import mistake, signalbox

AMQP = "amqp://127.0.0.1:1/"
PASSWORD = "hidden-pw"
DATABASE = f"postgresql://u:{PASSWORD}@127.0.0.1:1/db"


async def test_version() -> None:
    assert await signalbox("--version") == (0, f"{__version__}\n", "")


async def test_help_names_every_command() -> None:
    code, output, errors = await signalbox("--help")
    assert (code, errors) == (0, "")
    listed = [line.split()[1] for line in output.splitlines() if line.startswith("│ ")]
    assert {"up", "gateway", "webhooks", "scheduler", "executor", "migrate", "settings"} <= set(listed)


@pytest.mark.parametrize("arguments", [("gatewya",), ("gateway", "--prot", "1"), ("gateway", "--port", "many")])
async def test_what_is_no_command_is_refused_and_named(arguments: tuple[str, ...]) -> None:
    code, output, errors = await signalbox(*arguments)
    assert (code != 0, output, "Traceback" in errors) == (True, "", False)
    assert arguments[-1] in errors or arguments[-2] in errors


async def test_settings_are_listed_and_secrets_masked() -> None:
    code, output, _ = await signalbox(
        "settings", SIGNALBOX_PLATFORM_KEY="sbp_hidden", SIGNALBOX_EXECUTOR_SLOTS="7",
        SIGNALBOX_BUS_URL=f"amqp://u:{PASSWORD}@h/",
    )  # fmt: skip
    assert code == 0
    assert "SIGNALBOX_EXECUTOR_SLOTS = 7" in output
    assert "SIGNALBOX_PLATFORM_KEY = ****" in output
    assert ("sbp_hidden" in output, PASSWORD in output) == (False, False)


async def test_every_wrong_setting_is_named_at_once() -> None:
    wrong = {"SIGNALBOX_EXECUTOR_SLOTS": "many", "SIGNALBOX_LOG_LEVEL": "loud", "SIGNALBOX_BUS_URL": PASSWORD}
    said = await mistake("executor", **wrong)
    assert {fault.split(":")[0] for fault in said.split("; ")} == set(wrong)
    assert PASSWORD not in said


@pytest.mark.parametrize(
    ("command", "settings", "said"),
    [
        ("migrate", {}, "SIGNALBOX_DATABASE_URL"),
        ("gateway", {"BUS_URL": "memory://"}, "SIGNALBOX_BUS_URL"),
        ("gateway", {"BUS_URL": AMQP}, "SIGNALBOX_DATABASE_URL"),
        ("executor", {"BUS_URL": AMQP, "MASTER_KEYS": "1:nonsense"}, "SIGNALBOX_MASTER_KEYS"),
        ("migrate", {"DATABASE_URL": f"postgresql://u:{PASSWORD}@nowhere.invalid/db"}, "nowhere.invalid/db"),
        ("migrate", {"DATABASE_URL": f"postgresql://u:{PASSWORD}@127.0.0.1:1,127.0.0.1:2/db"}, "127.0.0.1:2/db"),
        ("scheduler", {"DATABASE_URL": DATABASE, "BUS_URL": AMQP}, "PostgreSQL at 127.0.0.1:1/db"),
        ("up", {"DATABASE_URL": DATABASE}, "PostgreSQL at 127.0.0.1:1/db"),
    ],
)
async def test_what_is_missing_or_cannot_be_reached_is_one_line(
    tmp_path: Path, command: str, settings: dict[str, str], said: str
) -> None:
    arguments = ["--data", str(tmp_path)] if command == "up" else []
    errors = await mistake(command, *arguments, **{f"SIGNALBOX_{name}": value for name, value in settings.items()})
    assert said in errors
    assert PASSWORD not in errors


async def test_a_data_folder_that_cannot_be_one_is_named() -> None:
    assert (await mistake("up", "--data", "/dev/null/below")).startswith("/dev/null/below/")


@pytest.fixture
async def weak_dsn(postgres_dsn: str) -> AsyncIterator[str]:
    """Address of an empty database, for a role that may make nothing in it."""
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute(f"CREATE ROLE weak LOGIN PASSWORD '{PASSWORD}'")
    await connection.execute("CREATE DATABASE of_another")
    server = urlsplit(postgres_dsn)
    yield server._replace(netloc=f"weak:{PASSWORD}@", path="/of_another").geturl()
    await connection.execute("DROP DATABASE of_another WITH (FORCE)")
    await connection.execute("DROP ROLE weak")
    await connection.close()


async def test_a_role_that_may_not_is_told_so(weak_dsn: str) -> None:
    errors = await mistake("migrate", SIGNALBOX_DATABASE_URL=weak_dsn)
    assert "permission denied for schema public" in errors
    assert PASSWORD not in errors
    errors = await mistake("migrate", SIGNALBOX_DATABASE_URL=weak_dsn.replace(PASSWORD, "another-pw"))
    assert 'password authentication failed for user "weak"' in errors
    assert "another-pw" not in errors


async def test_migrate_makes_the_schema_once(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("CREATE DATABASE to_migrate")
    dsn = urlsplit(postgres_dsn)._replace(path="/to_migrate").geturl()
    try:
        first = await signalbox("migrate", SIGNALBOX_DATABASE_URL=dsn)
        assert first == (0, "".join(f"applied {name}\n" for name, _ in migrations()), "")
        again = await signalbox("migrate", SIGNALBOX_DATABASE_URL=dsn)
        assert again == (0, "the schema is up to date\n", "")
    finally:
        await connection.execute("DROP DATABASE to_migrate WITH (FORCE)")
        await connection.close()
