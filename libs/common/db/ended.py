"""What others have to know of executions that have ended: whoever waits for one of them is told.

For whoever ends executions, in the same transaction. Doing it again for the same ones changes nothing.
"""

from collections.abc import Sequence
from uuid import UUID

from libs.common.db.children import signals_for_parents
from libs.common.db.pool import Connection
from libs.common.db.signals import send_signals


async def settle_ends(connection: Connection, ended: Sequence[tuple[UUID, UUID]]) -> None:
    """See to what hangs on these executions (tenant, execution)."""
    if ended:
        await send_signals(connection, await signals_for_parents(connection, ended))
