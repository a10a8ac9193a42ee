"""When secrets of triggers were last used: noted for every call that was signed, written once a minute."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db.pool import Database
from libs.common.db.webhook_secrets import note_secret_uses
from libs.common.noted_uses import NotedUses


class UsedSecret(msgspec.Struct, frozen=True, order=True):
    """One secret of one trigger."""

    tenant_id: UUID
    trigger_id: UUID
    id: UUID


class SecretUses(NotedUses[UsedSecret]):
    """The notes of one process."""

    def __init__(self, database: Database, every_seconds: float = 60.0) -> None:
        async def write(noted: Sequence[tuple[UsedSecret, datetime]]) -> None:
            async with database.connection() as connection:
                await note_secret_uses(
                    connection, [(used.tenant_id, used.trigger_id, used.id, at) for used, at in noted]
                )

        super().__init__(write, every_seconds)
