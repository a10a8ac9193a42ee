"""What the private servers share: a part of the data folder, a lock on it, a place for sockets, start and stop.

A subclass says how its server comes up; here it is made sure that one process at a time uses the folder, that a failed
start leaves nothing running, and that after `stop` the process is gone.
"""

import fcntl
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from signal import Signals
from tempfile import gettempdir

from libs.common.embedded.process import ChildProcess
from libs.common.errors import OperatorError

_LONGEST_SOCKET_PATH = 107  # sun_path of Linux, without its final zero byte
_SOCKET_NAME_ROOM = 20


class PrivateServer(ABC):
    """One server beside us; may be started and stopped any number of times."""

    def __init__(self, data_dir: Path, part: str, *, mode: int, shutdown: Sequence[tuple[Signals, float]]) -> None:
        """`data_dir`: the installation's data folder, of which this uses `part`, made with `mode`; `shutdown`: signals
        to stop it by, each with the seconds it may take.
        """
        self._folder = data_dir.absolute() / part
        self._lock = FolderLock(self._folder, mode)
        self._shutdown = tuple(shutdown)
        self._server: ChildProcess | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._server.pid if self._server is not None and self._server.alive else None

    async def start(self) -> str:
        """Start it; returns its address, password included. Call this from the main thread (see `process`).

        Raises `OperatorError`, one line, when the folder is in use or not ours, or the server does not come up.
        """
        self._lock.acquire()
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop it, cleanly if it lets us; then its process is gone and the folder free. Harmless when not running."""
        if self._server is not None:
            await self._server.stop(*self._shutdown)
            self._server = None
            remove_sockets(self._folder)
        self._lock.release()

    @abstractmethod
    async def _start(self) -> str:
        """Set `_server` to a process that is ready, and return its address. The folder exists and is ours."""


class FolderLock:
    """Keeps a second process off a folder; the kernel frees it when the holder dies."""

    def __init__(self, folder: Path, mode: int) -> None:
        self._folder, self._mode = folder, mode
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the folder, made if need be. Raises `OperatorError` naming its holder, or why it can't be used."""
        try:
            self._folder.mkdir(mode=self._mode, parents=True, exist_ok=True)
            handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OperatorError(f"{self._folder} can't be used: {error.strerror}.") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise OperatorError(f"{self._folder.parent} is in use by process {holder}.") from None
        os.truncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        self._handle = handle

    def release(self) -> None:
        """Give the folder back; harmless when it is not held."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def make_socket_folder(folder: Path, owner: int) -> Path:
    """Make the place for the sockets of the server in `folder`, for the user id `owner` alone; the same each time.

    It is inside, or in the temporary folder when that path is too long for a socket. Raises `OperatorError` when its
    name is taken by something else.
    """
    sockets = _socket_folder(folder)
    sockets.mkdir(mode=0o700, exist_ok=True)
    found = sockets.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), owner):
        raise OperatorError(f"{sockets} belongs to somebody else; remove it or choose another data folder.")
    if found.st_uid != owner:
        os.chown(sockets, owner, -1)
    return sockets


def remove_sockets(folder: Path) -> None:
    """Remove what `make_socket_folder` made, with the sockets of a server that is gone."""
    sockets = _socket_folder(folder)
    with suppress(FileNotFoundError):
        for socket in sockets.iterdir():
            socket.unlink()
        sockets.rmdir()


def _socket_folder(folder: Path) -> Path:
    inside = folder / "run"
    if len(os.fsencode(inside)) + _SOCKET_NAME_ROOM <= _LONGEST_SOCKET_PATH:
        return inside
    return Path(gettempdir()) / f"signalbox-{sha256(os.fsencode(folder)).hexdigest()[:16]}"
