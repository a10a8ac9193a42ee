"""Group commit: many small writes, few transactions.

Writes that arrive while a flush is under way go together in the next one. A lone write is flushed at once: there is
no timer, so an idle system answers as fast as PostgreSQL does, and a busy one forms large batches by itself.

    submit ──▶ pending ──┬─▶ lane 1: take up to `max_batch` ─▶ write ─▶ answer each waiter ─▶ take again …
                         └─▶ lane 2: the same, while lane 1 waits for its commit

A write that the database refuses for what it holds (not for being away) fails alone: its batch is halved until it
stands by itself, so one bad row costs its neighbours a retry and nothing else.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Generic, TypeVar

import asyncpg

from libs.common.errors import SignalboxError, Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)


class RefusedWrite(SignalboxError):
    """The database does not take this item for what it holds; trying again will not mend it."""

    slug = "refused-write"


class GroupCommit(Generic[Item, Result]):
    """Turns `write(batch) -> results` (one transaction, results in the order of the batch) into `submit(item) ->
    result`.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        max_batch: int = 256,
        lanes: int = 2,
        observe: Callable[[int, float], None] | None = None,
        failed: Callable[[int], None] | None = None,
    ) -> None:
        """`observe(size, seconds)` is told of every flush that was committed, `failed(size)` of every one that was
        not.
        """
        self._write, self._max_batch, self._lanes, self._observe = write, max_batch, lanes, observe
        self._failed = failed
        self._pending: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    async def submit(self, item: Item) -> Result:
        """Returns when the item's transaction is committed.

        Raises `RefusedWrite` when the database refuses this item, else what the write raised.
        """
        return await self.enqueue(item)

    async def submit_all(self, items: Sequence[Item]) -> list[Result | BaseException]:
        """As `submit` for several items, which may be committed in several transactions: each one's result or error."""
        return await asyncio.gather(*[self.enqueue(item) for item in items], return_exceptions=True)

    def enqueue(self, item: Item) -> asyncio.Future[Result]:
        """Put the item into the next flush; the future ends with its commit. Raises `Unavailable` once closed."""
        if self._closed:
            raise Unavailable("This process is stopping.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._pending.append((item, future))
        if len(self._running) < self._lanes:
            lane = loop.create_task(self._run_lane())
            self._running.add(lane)
        return future

    async def close(self) -> None:
        """Take nothing more and wait until everything taken is answered."""
        self._closed = True
        while self._running:
            await asyncio.gather(*self._running)

    async def _run_lane(self) -> None:
        lane = asyncio.current_task()
        try:
            while self._pending:
                size = min(len(self._pending), self._max_batch)
                await self._flush([self._pending.popleft() for _ in range(size)])
        finally:
            # Here, not in a callback of the task: an item that comes in between would wait for a lane that is gone.
            self._running.discard(lane)  # pyright: ignore[reportArgumentType]

    async def _flush(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        started = perf_counter()
        try:
            results = await self._write([item for item, _ in batch])
        except _REFUSED as error:
            await self._flush_apart(batch, error)
        except Exception as error:  # noqa: BLE001 - each waiter gets it; the lane must live on
            if self._failed is not None:
                self._failed(len(batch))
            _fail(batch, error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
            if self._observe is not None:
                self._observe(len(batch), perf_counter() - started)

    async def _flush_apart(self, batch: list[tuple[Item, asyncio.Future[Result]]], error: Exception) -> None:
        if len(batch) == 1:
            _fail(batch, RefusedWrite(f"The database refuses it: {type(error).__name__}."))
            return
        middle = len(batch) // 2
        await self._flush(batch[:middle])
        await self._flush(batch[middle:])


def _fail(batch: Sequence[tuple[Item, asyncio.Future[Result]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
