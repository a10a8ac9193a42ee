"""Mending slots of concurrency keys that `watch_slots` found astray: what ended gives its slot back, what holds one is
woken, what is replaced is cancelled.
"""

from collections.abc import Sequence

from libs.common.db.controlling import Replaced, cancel_replaced
from libs.common.db.pool import Database
from libs.common.db.slots import Place, Watched, leave, wake_holders


async def mend_slots(database: Database, strays: Sequence[Watched]) -> None:
    """None of them is astray any more. What was mended by somebody else meanwhile is left as it is."""
    async with database.transaction() as connection:
        await leave(connection, [place_of(one) for one in strays if one.finding == "ended"])
    async with database.connection() as connection:
        await wake_holders(connection, [place_of(one) for one in strays if one.finding == "unwoken"])
        replaced = [Replaced(*place_of(one), one.replaced_by) for one in strays if one.replaced_by is not None]
        if replaced:
            await cancel_replaced(connection, replaced)


def place_of(one: Watched) -> Place:
    """The execution of a slot."""
    return Place(one.tenant_id, one.execution_id)
