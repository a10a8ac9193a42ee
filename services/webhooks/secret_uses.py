"""When secrets of triggers were last used: noted in memory for every call, written once a minute.

A note is one entry in a dict, so a call pays nothing for it. What was noted and not yet written is lost with the
process: the time shown is right to the minute, and says in a rotation whether anybody still signs with the old one.
"""

import asyncio
from contextlib import suppress
from datetime import datetime
from uuid import UUID

import msgspec
import structlog

from libs.common.db.pool import Database
from libs.common.db.webhook_secrets import note_secret_uses
from libs.common.errors import Unavailable

_log = structlog.get_logger(__name__)


class UsedSecret(msgspec.Struct, frozen=True, order=True):
    """One secret of one trigger."""

    tenant_id: UUID
    trigger_id: UUID
    id: UUID


class SecretUses:
    """The notes of one process."""

    def __init__(self, database: Database, every_seconds: float = 60.0) -> None:
        self._database, self._every_seconds = database, every_seconds
        self._noted: dict[UsedSecret, datetime] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, secret: UsedSecret, now: datetime) -> None:
        """A call was signed with it."""
        self._noted[secret] = now

    def start(self) -> None:
        """Write every so many seconds from now on."""
        self._task = asyncio.get_running_loop().create_task(self._write_on())

    async def stop(self) -> None:
        """Write what is left, if the database is there."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.write()

    async def write(self) -> None:
        """Write what was noted; what can't be written now is kept for the next time."""
        noted, self._noted = self._noted, {}
        if not noted:
            return
        try:
            async with self._database.connection() as connection:
                await note_secret_uses(
                    connection, [(key.tenant_id, key.trigger_id, key.id, noted[key]) for key in sorted(noted)]
                )
        except Unavailable as error:
            _log.warning("uses of secrets are not written yet", reason=error.detail)
            self._noted = {**noted, **self._noted}

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(self._every_seconds)
            await self.write()
