"""When credentials were last used: noted in memory for every request, written once a minute.

A note is one entry in a dict, so a request pays nothing for it. What was noted and not yet written is lost with the
process: the time shown is right to the minute, and says in a rotation whether anybody still uses the old one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Generic, TypeAlias, TypeVar, cast

import msgspec
import structlog

from libs.common.errors import Unavailable
from libs.common.tasks import end_tasks

_log = structlog.get_logger(__name__)

Used = TypeVar("Used", bound=msgspec.Struct)
"""What is used: a frozen struct that has an order, in which rows are locked."""

Write: TypeAlias = Callable[[Sequence[tuple[Used, datetime]]], Awaitable[None]]
"""Stores a batch of uses, in order. Raises `Unavailable`."""


class NotedUses(Generic[Used]):
    """The notes of one process."""

    def __init__(self, write: Write[Used], every_seconds: float = 60.0) -> None:
        self._write, self._every_seconds = write, every_seconds
        self._noted: dict[Used, datetime] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, used: Used, now: datetime) -> None:
        """It was used."""
        self._noted[used] = now

    def start(self) -> None:
        """Write every so many seconds from now on."""
        self._task = asyncio.get_running_loop().create_task(self._write_on())

    async def stop(self) -> None:
        """Write what is left, if the database is there."""
        await end_tasks(self._task)
        await self.write()

    async def write(self) -> None:
        """Write what was noted; what can't be written now is kept for the next time."""
        noted, self._noted = self._noted, {}
        if not noted:
            return
        try:
            in_order: list[Used] = sorted(cast("Any", noted))
            await self._write([(used, noted[used]) for used in in_order])
        except Unavailable as error:
            _log.warning("uses of credentials are not written yet", reason=error.detail)
            self._noted = {**noted, **self._noted}

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(self._every_seconds)
            await self.write()
