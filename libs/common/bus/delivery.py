"""What every implementation of the bus shares: a delivery that is settled once, and the running of handlers.

The handlers run in tasks of their own, which no lost connection cancels: whoever is in the middle of an execution
goes on, and only its settlement comes to nothing.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

import structlog

from libs.common.bus.protocol import Handler
from libs.common.telemetry import metrics

Outcome = Literal["acked", "rejected", "put_back", "failed"]

_CANCEL_SECONDS = 5.0
"""So long may a cancelled handler take to clean up before it is left alone."""

_log = structlog.get_logger(__name__)


class OnceDelivery(ABC):
    """A delivery whose first settlement counts. Implementers carry it out, without raising."""

    def __init__(self, body: bytes, attempt: int, redelivered: bool) -> None:
        self.body, self.attempt, self.redelivered = body, attempt, redelivered
        self.settled = False
        self.headers: Mapping[str, Any] = {}
        self.message_id = ""

    @property
    @abstractmethod
    def gone(self) -> bool:
        """Whether the broker will hand it out again whatever is done here, so that a handler need not start."""

    @abstractmethod
    async def _carry_out(self, outcome: Outcome) -> None: ...

    async def ack(self) -> None:
        await self._settle("acked")

    async def reject(self) -> None:
        await self._settle("rejected")

    async def put_back(self) -> None:
        await self._settle("put_back")

    async def fail(self) -> None:
        """It goes back and counts against the delivery limit."""
        await self._settle("failed")

    async def _settle(self, outcome: Outcome) -> None:
        if self.settled:
            return
        self.settled = True
        metrics.count_delivery(outcome)
        await self._carry_out(outcome)


class Handlers:
    """Runs one handler for each delivery, at most `limit` at once; the others wait in their order of arrival."""

    def __init__(self, handler: Handler, limit: int) -> None:
        self._handler, self._limit = handler, limit
        self._waiting: deque[OnceDelivery] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = False

    def submit(self, delivery: OnceDelivery) -> None:
        """Its handler starts now or when another one ends."""
        self._waiting.append(delivery)
        self._start_waiting()

    async def stop(self, grace_seconds: float) -> None:
        """No handler starts any more, what waited is put back, and those under way have ended or were cancelled."""
        self._stopping = True
        while self._waiting:
            await self._waiting.popleft().put_back()
        if self._running:
            await asyncio.wait(self._running, timeout=grace_seconds)
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=_CANCEL_SECONDS)

    def _start_waiting(self) -> None:
        while self._waiting and not self._stopping and len(self._running) < self._limit:
            delivery = self._waiting.popleft()
            if not delivery.gone:
                task = asyncio.get_running_loop().create_task(self._run(delivery))
                self._running.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start_waiting()

    async def _run(self, delivery: OnceDelivery) -> None:
        try:
            await self._handler(delivery)
        except Exception:  # noqa: BLE001 - a handler may fail as it likes; the consumer lives on
            _log.exception("handler of a message failed", attempt=delivery.attempt)
        else:
            if not delivery.settled:
                _log.error("handler left its message unsettled", attempt=delivery.attempt)
        await delivery.fail()
