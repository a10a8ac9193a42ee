"""What the effects of a world's actions reach. Whether a call succeeds depends on the action and its past alone, so
that every order of things gives the same end. It tells the laws what really happened, to compare with the records.
"""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

from libs.common.domain.catalogue import CATALOGUE
from libs.common.domain.execution import Failure
from libs.common.domain.pure_actions import ActionFailed
from services.executor.actions.base import Attempt, Effects, insist_ours
from tests.simulation.laws import Laws
from tests.simulation.programs import succeeds
from tests.simulation.tables import UNSTORABLE, Tables
from tests.simulation.weather import Weather

_NAME = "http_request"
_CONNECTING_SECONDS = (0.0, 0.0, 0.0, 0.02, 3.0)
_SECONDS = (0.0, 0.01, 0.3, 1.5, 6.0)


class Endpoint:
    """In the place of `HttpAction`."""

    def __init__(self, weather: Weather, laws: Laws, tables: Tables, worker: Callable[[], UUID | None]) -> None:
        self._weather, self._laws, self._tables, self._worker = weather, laws, tables, worker

    def types(self) -> Effects:
        return {name: self.run for name, entry in CATALOGUE.items() if entry.name == _NAME}

    async def close(self) -> None:
        return

    async def run(self, _config: dict[str, Any], attempt: Attempt) -> Any:
        await asyncio.sleep(self._weather.pick(_CONNECTING_SECONDS))
        await insist_ours(attempt)
        execution_id, key, iteration = attempt.idempotency_key.split(":")
        row, where = self._tables.executions[UUID(execution_id)], (key, int(iteration))
        number = self._laws.begin(row, self._worker(), *where)
        failures = sum(
            1 for one in row.attempts.values()
            if (one["key"], one["iteration"]) == where and one["status"] == "failed"
        )  # fmt: skip
        await self._weather.may_strike()
        await asyncio.sleep(self._weather.pick(_SECONDS))
        await self._weather.may_strike()
        outcome = "completed" if succeeds(*where, failures) else "failed"
        self._laws.end(number, outcome)
        if outcome == "failed":
            raise ActionFailed(Failure("unavailable", f"number {number}", http_status=503))
        if self._weather.happens("unstorable"):
            return {"status": 200, "number": number, "text": UNSTORABLE}
        return {"status": 200, "number": number}
