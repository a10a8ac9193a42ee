"""The `signalbox` command: starts services, prepares the database, changes keys, shows settings. Composes; has no
logic of its own.

A mistake of the operator (bad setting, unreachable server, port in use) is one line on stderr and exit code 1.
"""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from libs.common.errors import OperatorError, Unavailable
from libs.common.settings import Settings, describe_settings, load_settings
from libs.common.telemetry.logging import configure_logging
from libs.common.version import __version__

app = cyclopts.App(name="signalbox", help="Self-hosted, multi-tenant workflow automation.", version=__version__)
keys = cyclopts.App(name="keys", help="The master keys, under which secrets are sealed.")
app.command(keys)

Port = Annotated[int, Parameter(help="Port to listen on; 0 takes a free one.")]


@app.command
def up(
    *,
    port: Port = 8000,
    data: Annotated[Path, Parameter(help="Folder of the data; made when missing.")] = Path(".signalbox"),
) -> None:
    """Everything in one process, with its own PostgreSQL and Valkey."""
    from services.up import run_up  # noqa: PLC0415 - each command loads only what it needs

    _run(run_up(data, port), load_settings())


@app.command
def gateway(*, port: Port = 8000) -> None:
    """The REST API."""
    _serve("gateway", port)


@app.command
def webhooks(*, port: Port = 8001) -> None:
    """The webhook service."""
    _serve("webhooks", port)


@app.command
def scheduler(*, port: Port = 8002) -> None:
    """The scheduler; its port has health and metrics."""
    _serve("scheduler", port)


@app.command
def executor(*, port: Port = 8003) -> None:
    """An executor; its port has health and metrics."""
    _serve("executor", port)


@app.command
def migrate() -> None:
    """Bring the database's schema up to date."""
    from libs.common.db.migrate import migrate as apply  # noqa: PLC0415

    settings = load_settings()

    async def work() -> None:
        applied = await apply(settings.database_url.reveal())
        print("\n".join(f"applied {name}" for name in applied) or "the schema is up to date")

    _run(work(), settings)


@keys.command
def rotate() -> None:
    """Seal every secret with the first key of SIGNALBOX_MASTER_KEYS. Services may run, if they have that key first."""
    from libs.common.db.migrate import migrate as apply  # noqa: PLC0415
    from libs.common.db.pool import Database  # noqa: PLC0415
    from libs.common.key_rotation import rotate_keys  # noqa: PLC0415
    from libs.common.security.encryption import Vault  # noqa: PLC0415

    settings = load_settings()

    async def work() -> None:
        vault = Vault(settings.master_keys.reveal())
        key_id, dsn = vault.sealing_id, settings.database_url.reveal()
        await apply(dsn)
        database = Database(dsn, size=1, name="keys")
        await database.open()
        try:
            rotation = await rotate_keys(database, vault)
        finally:
            await database.close()
        counts = f"{rotation.secrets.resealed} secrets, {rotation.triggers.resealed} triggers"
        print(f"sealed with key {key_id}: {counts}, {rotation.data_keys.resealed} data keys")
        if rotation.left:
            raise OperatorError(f"{rotation.left} are still sealed with another key; the log names what does not open.")

    _run(work(), settings)


@app.command
def doctor(*, fix: Annotated[bool, Parameter(help="Mend what can be mended without harm.")] = False) -> None:
    """Look for what is stuck. Exit code 1 when something is wrong and was not mended."""
    from services.checkup import check_up  # noqa: PLC0415

    settings = load_settings()
    _run(check_up(settings, fix=fix), settings)


@app.command(name="settings")
def show_settings() -> None:
    """List every setting with its value (secrets masked), default and meaning."""
    for name, value, default, meaning in describe_settings(load_settings()):
        print(f"{name} = {value or '(not set)'}\n    {meaning}. Default: {default or '(none)'}")


def _serve(name: str, port: int) -> None:
    from services.one import run_one  # noqa: PLC0415

    settings = load_settings()
    _run(run_one(name, settings, port), settings, name)


def _run(work: Coroutine[Any, Any, None], settings: Settings, name: str = "signalbox") -> None:
    import uvloop  # noqa: PLC0415

    configure_logging(settings.log_level, settings.log_format, name)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def main() -> None:
    """Entry point of the `signalbox` command."""
    try:
        app()
    except (OperatorError, Unavailable) as error:
        print(f"signalbox: {error.detail}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
