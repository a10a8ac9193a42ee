"""Another process that holds a data folder, and what can be seen of processes from outside."""

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from libs.common.embedded.account import Account, setpriv_arguments
from libs.common.embedded.postgres import EmbeddedPostgres
from libs.common.embedded.process import ChildProcess, pauses
from libs.common.embedded.server import PrivateServer
from libs.common.embedded.valkey import EmbeddedValkey
from tests.servers import ROOT

_HOLDER = [sys.executable, "-m", "tests.integration.embedded.holder"]


class Holder:
    """The process, and what it said when its servers were up."""

    def __init__(self, process: ChildProcess, said: dict[str, Any]) -> None:
        self.process = process
        self.dsn: str = said["dsn"]
        self.postgres: int = said["postgres"]
        self.valkey: int = said["valkey"]


OpenHolder = Callable[[Path, Account], Awaitable[Holder]]


class Servers:
    """Makes private servers; all are stopped in the end."""

    def __init__(self) -> None:
        self._made: list[PrivateServer] = []

    def postgres(self, folder: Path, port: int | None = None, **settings: str) -> EmbeddedPostgres:
        server = EmbeddedPostgres(folder, port, settings)
        self._made.append(server)
        return server

    def valkey(self, folder: Path) -> EmbeddedValkey:
        server = EmbeddedValkey(folder)
        self._made.append(server)
        return server

    async def stop(self) -> None:
        for server in self._made:
            await server.stop()


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    made = Servers()
    yield made
    await made.stop()


@pytest.fixture
async def hold(tmp_path: Path) -> AsyncIterator[OpenHolder]:
    """Start a holder of a data folder as some account; all are gone in the end."""
    started: list[ChildProcess] = []

    async def open_holder(folder: Path, account: Account) -> Holder:
        log = tmp_path / f"holder-{len(started)}.log"
        guard = setpriv_arguments(account, Path(sys.executable).resolve(), folder.parent)
        process = ChildProcess("holder", [*_HOLDER, str(folder)], log=log, cwd=ROOT, guard=guard)
        started.append(process)
        process.start()

        async def spoke() -> bool:
            return log.read_bytes().endswith(b"}\n")

        await process.wait_ready(spoke, 30)
        return Holder(process, json.loads(log.read_bytes().splitlines()[-1]))

    yield open_holder
    for process in started:
        await process.stop()


async def gone(pid: int) -> None:
    """Return once the process has ended (a zombie has)."""
    async for _ in pauses():
        try:
            if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return
        except (FileNotFoundError, ProcessLookupError):
            return


def owner_of(pid: int) -> int:
    """The user id that a process runs as."""
    return Path(f"/proc/{pid}").stat().st_uid
