"""When API keys were last used: noted for every request that they let in, written once a minute."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.api_keys import note_key_uses
from libs.common.db.pool import Database
from libs.common.noted_uses import NotedUses


class UsedKey(msgspec.Struct, frozen=True, order=True):
    """One key of one tenant."""

    tenant_id: UUID
    id: UUID


class KeyUses(NotedUses[UsedKey]):
    """The notes of one process."""

    def __init__(self, database: Database, every_seconds: float = 60.0) -> None:
        async def write(noted: Sequence[tuple[UsedKey, datetime]]) -> None:
            async with database.connection() as connection:
                await note_key_uses(connection, [(used.tenant_id, used.id, at) for used, at in noted])

        super().__init__(write, every_seconds)
