"""`find_records`: reads the tenant's own records, on a connection of its own."""

from typing import Any

from libs.common.clock import Clock
from libs.common.db.finding import find_for_action
from libs.common.db.pool import Database
from libs.common.domain.execution import Failure
from libs.common.domain.pure_actions import ActionFailed
from libs.common.errors import Unavailable
from services.executor.actions.base import Attempt

NAME = "find_records"
_PATIENCE_SECONDS = 5.0


class FindAction:
    """The action."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    async def run(self, config: dict[str, Any], attempt: Attempt) -> Any:
        """What is there now. Raises `ActionFailed`."""
        patience = min(attempt.timeout_seconds, _PATIENCE_SECONDS)
        try:
            async with self._database.connection() as connection:
                return await find_for_action(connection, attempt.tenant_id, config, self._clock.now(), patience)
        except Unavailable as error:
            raise ActionFailed(Failure("unavailable", error.detail)) from None
