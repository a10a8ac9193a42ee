"""An event loop whose time is a number, and processes that can be killed or frozen between any two of their steps.

Nothing here reads a clock or waits: when nobody has anything to do, time jumps to the next timer. What is ready runs in
the order in which it became ready, so a run is decided by whoever sets the timers. A process is a context: every
callback carries the one in which it was made, so that killing the process drops all that it still had to do, without
any of its `except` and `finally`, as SIGKILL does.
"""

import asyncio
import heapq
from asyncio.events import _set_running_loop  # pyright: ignore[reportPrivateUsage] - what every event loop calls
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""What a world's clock shows at its beginning."""


class Process:
    """One process of the simulated installation. `skew`: seconds by which its clock is wrong; `weight`: how readily
    it is struck.
    """

    def __init__(self, loop: "VirtualLoop", name: str, skew: float = 0.0, weight: float = 1.0) -> None:
        self.loop, self.name, self.skew, self.weight = loop, name, skew, weight
        self.alive, self.frozen = True, False
        self.context = Context()
        self.context.run(PROCESS.set, self)
        self.held_back: list[_Call] = []
        loop.processes.append(self)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Its first task."""
        return self.loop.create_task(work, context=self.context)

    def now(self) -> datetime:
        """What its clock shows (a `Clock`)."""
        return EPOCH + timedelta(seconds=self.loop.time() + self.skew)

    def freeze(self, seconds: float) -> None:
        """It does nothing for a while and does not notice, as when its machine is suspended."""
        self.frozen = True
        self.loop.call_later(seconds, self._thaw, context=OUTSIDE)

    def _thaw(self) -> None:
        self.frozen = False
        self.loop.call_again(self)


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
OUTSIDE = Context()
"""Of what belongs to no process: what is on its way, and the database and the broker themselves."""


class _Call(asyncio.TimerHandle):
    """A callback to come. Its own fields instead of its parent's: a world makes thousands."""

    __slots__ = ("arguments", "callback", "context", "dropped")

    def __init__(self, callback: Callable[..., object], arguments: tuple[Any, ...], context: Context) -> None:
        self.callback, self.arguments, self.context, self.dropped = callback, arguments, context, False

    def cancel(self) -> None:
        self.dropped = True

    def cancelled(self) -> bool:
        return self.dropped


class _Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address, so that a world is the same every time."""

    def __init__(self, number: int, coro: Coroutine[Any, Any, Any], **more: Any) -> None:
        self._number = number
        super().__init__(coro, **more)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as tasks, futures and timers need."""

    def __init__(self) -> None:
        self._now, self._made = 0.0, 0
        self._ready: deque[_Call] = deque()
        self._timers: list[tuple[float, int, _Call]] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self.processes: list[Process] = []
        self.broken: list[str] = []
        """What tasks and callbacks raised that nobody looked at."""

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        call = _Call(callback, args, copy_context() if context is None else context)
        self._ready.append(call)
        return call

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        call = _Call(callback, args, copy_context() if context is None else context)
        self._made += 1
        heapq.heappush(self._timers, (when, self._made, call))
        return call

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_again(self, process: Process) -> None:
        """What the process would have done meanwhile is ready now."""
        self._ready += process.held_back
        process.held_back.clear()

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:  # fmt: skip
        self._made += 1
        task = _Task(self._made, coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.broken.append(f"{context.get('message')}: {context.get('exception')!r}")

    def run(self, *, until: Callable[[], bool], deadline: float) -> bool:
        """Run until the condition holds, which is looked at whenever time moves. False: the deadline came before."""
        _set_running_loop(self)
        try:
            while True:
                self._run_ready()
                if until():
                    return True
                if not self._advance(deadline):
                    return False
        finally:
            _set_running_loop(None)

    def close_all(self) -> None:
        """Cancel every task, the killed processes' too, so that nothing is left for the garbage collector to say."""
        _set_running_loop(self)
        try:
            while left := [task for task in self._tasks if not task.done()]:
                for process in self.processes:
                    self.call_again(process)
                for task in left:
                    task.cancel()
                while self._ready:
                    self._call(self._ready.popleft())
        finally:
            _set_running_loop(None)

    def _advance(self, deadline: float) -> bool:
        """Time jumps to the next timer; False: there is none before the deadline."""
        while self._timers and self._timers[0][0] <= deadline:
            when, _, call = heapq.heappop(self._timers)
            if not call.dropped:
                self._now = max(self._now, when)
                self._ready.append(call)
                return True
        return False

    def _run_ready(self) -> None:
        while self._ready:
            call = self._ready.popleft()
            process = call.context.get(PROCESS)
            if process is not None and (process.frozen or not process.alive):
                process.held_back.append(call)
            else:
                self._call(call)

    def _call(self, call: _Call) -> None:
        if not call.dropped:
            try:
                call.context.run(call.callback, *call.arguments)
            except Exception as error:  # noqa: BLE001 - as every event loop does
                self.broken.append(repr(error))
