"""What `find_records` finds: beside the journal, not in its transaction, so nobody waits for the search of another."""

from datetime import datetime
from typing import Any
from uuid import UUID

from libs.common.db.collections import find_collection
from libs.common.db.pool import Connection
from libs.common.db.record_search import search_records
from libs.common.domain.execution import Failure
from libs.common.domain.local_actions import Find, read_wish
from libs.common.domain.pure_actions import ActionFailed
from libs.common.domain.records import STANDARD_COLLECTIONS, record_document


async def find_for_action(
    connection: Connection, tenant_id: UUID, config: dict[str, Any], now: datetime, patience_seconds: float
) -> dict[str, Any]:
    """The output of an action with this rendered config. Raises `ActionFailed`, also when it takes longer."""
    wish = read_wish("find_records", config, now)
    assert isinstance(wish, Find)  # it is what that type reads
    name = wish.collection
    if name not in STANDARD_COLLECTIONS and await find_collection(connection, tenant_id, name) is None:
        raise ActionFailed(Failure("not_found", f"there is no collection {name!r}"))
    try:
        found = await search_records(
            connection, tenant_id, name, wish.filter, wish.order,
            after=None, limit=wish.limit + 1, offset=0, patience_seconds=patience_seconds,
        )  # fmt: skip
    except TimeoutError:
        message = "the search took too long; ask for a field to be equal to a value"
        raise ActionFailed(Failure("timeout", message)) from None
    records = [record_document(one.record) for one in found[: wish.limit]]
    return {"records": records, "count": len(records), "has_more": len(found) > wish.limit}
