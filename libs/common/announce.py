"""Telling the executors what is ready, once it is committed; and what is not to be told yet, since it is beyond its
tenant's window.

    before the commit: placing ─▶ a lane of the bus, or held (its row says so from the start)
    after the commit:  announce_placed ─▶ published in the background, in batches

A failure to publish is left to the sweep, which is never far. What is announced without having been placed before is
placed then, and held by a change of its row.
"""

import asyncio
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from uuid import UUID

import msgspec
import structlog

from libs.common.bus.messages import Ready, ReadyBatch, encode
from libs.common.bus.protocol import Bus
from libs.common.db.accepting import Place
from libs.common.db.dispatching import Ticket
from libs.common.domain.fairness import Lane
from libs.common.errors import Unavailable
from libs.common.telemetry.spans import around, is_on
from libs.common.windows import Windows

_BATCH_ITEMS = 64
"""Executions in one message: enough to spread its cost, few enough to share a flood between executors."""
_PUBLISHES_UNDER_WAY = 64
"""With so many unconfirmed the bus is in trouble: further ones are left to the sweep."""

_log = structlog.get_logger(__name__)


class Announcer:
    """Publishes what is ready. Without `windows` nothing is ever held."""

    def __init__(self, bus: Bus, windows: Windows | None = None) -> None:
        self._bus, self._windows = bus, windows
        self._publishing: set[asyncio.Task[None]] = set()

    @contextmanager
    def placing(self) -> Generator[Place]:
        """Says of executions where they go, while the block stores them; when that fails, nothing was placed."""
        placed: list[UUID] = []

        def place(tenant_id: UUID) -> Lane:
            lane = self._place(tenant_id)
            if lane is not Lane.HELD:
                placed.append(tenant_id)
            return lane

        try:
            yield place
        except BaseException:
            self._settle(placed, is_stored=False)
            raise
        self._settle(placed, is_stored=True)

    def announce_placed(self, items: Sequence[tuple[Ready, Lane]], held: Sequence[UUID] = ()) -> None:
        """Put these on the bus soon; `held`: the tenants of what was stored as held. Returns at once."""
        self._start([item for item, lane in items if lane is Lane.PROMPT], bulk=False)
        self._start([item for item, lane in items if lane is Lane.BULK], bulk=True)
        if held and self._windows is not None:
            self._windows.are_held(held)

    def announce(self, items: Sequence[Ready]) -> None:
        """Put these on the bus soon, as far as their tenants' windows go; returns at once."""
        placed = [(item, self._place(item.tenant_id)) for item in items]
        self._settle([item.tenant_id for item, lane in placed if lane is not Lane.HELD], is_stored=True)
        self.announce_placed(placed)
        if self._windows is not None:
            held = [item for item, lane in placed if lane is Lane.HELD]
            self._windows.hold([Ticket(item.tenant_id, item.execution_id, item.epoch) for item in held])

    def announce_bulk(self, items: Sequence[Ready]) -> None:
        """Put these, whose turn it is, on the bus soon; returns at once."""
        self._start(items, bulk=True)

    async def close(self) -> None:
        """What is under way is confirmed or given up."""
        if self._publishing:
            await asyncio.gather(*self._publishing)

    def _place(self, tenant_id: UUID) -> Lane:
        return Lane.PROMPT if self._windows is None else self._windows.place(tenant_id)

    def _settle(self, placed: Sequence[UUID], *, is_stored: bool) -> None:
        if self._windows is not None:
            for tenant_id in placed:
                self._windows.settle(tenant_id, is_stored=is_stored)

    def _start(self, items: Sequence[Ready], *, bulk: bool) -> None:
        if not items or len(self._publishing) >= _PUBLISHES_UNDER_WAY:
            return
        task = asyncio.get_running_loop().create_task(self._publish(items, bulk))
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def _publish(self, items: Sequence[Ready], bulk: bool) -> None:
        with ExitStack() as traced:
            if is_on():
                items = [_sent(traced, item) for item in items]
            batches = [items[start : start + _BATCH_ITEMS] for start in range(0, len(items), _BATCH_ITEMS)]
            try:
                await self._bus.publish([encode(ReadyBatch(items=tuple(batch))) for batch in batches], bulk=bulk)
            except Unavailable as error:
                _log.debug("announcement left to the sweep", executions=len(items), reason=error.detail)


def _sent(traced: ExitStack, item: Ready) -> Ready:
    """The item at the place of its own publishing, which lasts as long as `traced`."""
    span = traced.enter_context(around("publish", item.traceparent, "producer"))
    span.note_ids(tenant=item.tenant_id, execution=item.execution_id)
    return msgspec.structs.replace(item, traceparent=span.place)
