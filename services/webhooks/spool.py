"""Calls on the local disk while PostgreSQL is away: appended, synced, delivered when it is back.

    header ─ record ─ record ─ …        a record: length and CRC-32 (4 bytes each, big-endian), then the call as msgpack

Whoever `append` has returned to is on the disk: many calls share one sync. A process writes files of its own, locked
as long as it lives; what a process that died has left behind is delivered by the next that looks. Delivering knows the
calls by their ids, so doing it twice does it once. What is torn at the end of a file was answered to nobody.
"""

import asyncio
import fcntl
import os
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import structlog

from libs.common.accept import Spooled
from libs.common.clock import new_id
from libs.common.db.group_commit import GroupCommit
from libs.common.errors import OperatorError, Unavailable

_HEADER = b"SIGNALBOX-SPOOL-1\n"
_FRAME = struct.Struct(">II")
_SUFFIX = ".spool"
_BATCH = 128
_FILE_BYTES = 8 * 1024 * 1024
"""Beyond, the next file is begun: a file is read whole when it is delivered."""
_ROUNDS = 5
"""So often a file with calls that the database refuses is tried, then it is put aside for the operator."""

Write = Callable[[Sequence[Spooled]], Awaitable[int]]
"""Stores calls; returns how many were refused for what they hold. Raises `Unavailable`."""

_log = structlog.get_logger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Spooled).decode


class _File:
    """A file that this process holds."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self.descriptor, self.rounds = path, descriptor, 0

    def size(self) -> int:
        return os.fstat(self.descriptor).st_size


class Spool:
    """The spool in a folder. Raises `OperatorError` when it cannot be used."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._current: _File | None = None
        self._held: dict[Path, _File] = {}
        self._changing = asyncio.Lock()
        self._appends = GroupCommit[Spooled, None](self._append, lanes=1)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._bytes = sum(path.stat().st_size for path in folder.glob(f"*{_SUFFIX}"))
            probe = os.open(folder, os.O_RDONLY)
            os.close(probe)
        except OSError as error:
            raise OperatorError(f"The spool {folder} cannot be used: {error.strerror}.") from None

    async def append(self, call: Spooled) -> None:
        """The call is on the disk. Raises `Unavailable` when there is no room."""
        await self._appends.submit(call)

    async def deliver(self, write: Write) -> int:
        """Store everything that is there and forget it; returns how many calls. Raises `Unavailable`."""
        async with self._changing:
            self._current = None
            files = await asyncio.to_thread(self._take_files)
        delivered = 0
        for file in files:
            delivered += await self._deliver_file(file, write)
        return delivered

    def has_files(self) -> bool:
        """Whether there is anything in the folder."""
        return next(self._folder.glob(f"*{_SUFFIX}"), None) is not None

    async def close(self) -> None:
        """Files stay for the next process."""
        await self._appends.close()
        for file in self._held.values():
            os.close(file.descriptor)
        self._held, self._current = {}, None

    async def _append(self, batch: Sequence[Spooled]) -> list[None]:
        payloads = [_encode(call) for call in batch]
        data = b"".join(_FRAME.pack(len(one), zlib.crc32(one)) + one for one in payloads)
        async with self._changing:
            if self._bytes + len(data) > self._most_bytes:
                raise Unavailable("The spool is full.")
            try:
                await asyncio.to_thread(self._write, data)
            except OSError as error:
                _log.error("the spool cannot be written", reason=str(error))
                raise Unavailable("The spool cannot be written.") from None
        return [None] * len(batch)

    def _write(self, data: bytes) -> None:
        if self._current is None or self._current.size() > _FILE_BYTES:
            self._current = self._new_file()
        file, before = self._current, self._current.size()
        try:
            _write_all(file.descriptor, data)
            os.fsync(file.descriptor)
        except OSError:
            self._current = None  # nothing may stand behind what may be torn
            os.ftruncate(file.descriptor, before)
            self._current = file
            raise
        self._bytes += len(data)

    def _new_file(self) -> _File:
        path = self._folder / f"{new_id()}{_SUFFIX}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _write_all(descriptor, _HEADER)
            self._sync_folder()
        except OSError:  # what stands behind a torn header could not be read
            path.unlink()
            os.close(descriptor)
            raise
        self._held[path] = _File(path, descriptor)
        return self._held[path]

    def _take_files(self) -> list[_File]:
        """Every file that is ours, or nobody's any more, oldest first; none is being written."""
        taken: list[_File] = []
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            file = self._held.get(path) or self._lock(path)
            if file is not None:
                self._held[path] = file
                taken.append(file)
        return taken

    def _lock(self, path: Path) -> _File | None:
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        if os.fstat(descriptor).st_nlink == 0:  # delivered and removed a moment ago
            os.close(descriptor)
            return None
        return _File(path, descriptor)

    async def _deliver_file(self, file: _File, write: Write) -> int:
        data = await asyncio.to_thread(file.path.read_bytes)
        calls, damaged = read_calls(data)
        refused = 0
        for start in range(0, len(calls), _BATCH):
            refused += await write(calls[start : start + _BATCH])
        file.rounds += 1
        if refused and file.rounds < _ROUNDS:
            return 0
        await asyncio.to_thread(self._forget, file, len(data), put_aside=bool(refused) or damaged)
        if refused or damaged:
            _log.error("a spool file is put aside", file=file.path.name, refused=refused, damaged=damaged)
        return len(calls) - refused

    def _forget(self, file: _File, size: int, *, put_aside: bool) -> None:
        if put_aside:
            file.path.rename(file.path.with_suffix(".refused"))
        else:
            file.path.unlink()
        self._sync_folder()
        del self._held[file.path]
        os.close(file.descriptor)
        self._bytes = max(0, self._bytes - size)

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    """All of it; a disk that fills up takes a part and raises at the next."""
    written = 0
    while written < len(data):
        written += os.write(descriptor, data[written:])


def read_calls(data: bytes) -> tuple[list[Spooled], bool]:
    """The calls of a file, up to where it is torn; and whether it is damaged, which a torn end is not."""
    if not data.startswith(_HEADER):
        return [], not _HEADER.startswith(data)
    calls: list[Spooled] = []
    for payload in _payloads(data):
        if payload is None:
            return calls, True
        try:
            calls.append(_decode(payload))
        except msgspec.MsgspecError:
            return calls, True
    return calls, False


def _payloads(data: bytes) -> Iterator[bytes | None]:
    """The payload of each record; None for one whose sum is wrong, after which nothing can be told."""
    place = len(_HEADER)
    while place + _FRAME.size <= len(data):
        length, checksum = _FRAME.unpack_from(data, place)
        place += _FRAME.size
        payload = data[place : place + length]
        if length == 0 or len(payload) < length:  # no record is empty: a power failure may leave zeros at the end
            return
        if zlib.crc32(payload) != checksum:
            yield None
            return
        yield payload
        place += length
