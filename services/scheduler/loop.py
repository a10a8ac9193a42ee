"""THE loop of the scheduler: work a batch, and again at once while there is more; else wait, longer and longer while
idle.

Every duty (firing, waking, rescuing, housekeeping) is one object with a `work` method. A duty that fails is logged
and tried again after a while: one sick duty never stops the others.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from libs.common.errors import Unavailable

_FAILED_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class Duty(Protocol):
    """Something that is due again and again. Pauses in seconds: `least` after work, growing to `most` while idle."""

    @property
    def name(self) -> str: ...

    @property
    def least(self) -> float: ...

    @property
    def most(self) -> float: ...

    async def work(self) -> bool | float:
        """Handle one batch; True when there may be more right now, or the seconds until there will be, if it knows:
        it waits no longer than that, and no longer than `most`.
        """
        ...


class Loop:
    """Runs duties side by side until it is stopped."""

    def __init__(self, duties: Sequence[Duty]) -> None:
        self._duties = duties
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin all duties."""
        self._tasks = [asyncio.get_running_loop().create_task(self._run(duty)) for duty in self._duties]

    async def stop(self) -> None:
        """Let each duty finish the batch it is at."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    async def _run(self, duty: Duty) -> None:
        pause = duty.least
        while not self._stopping.is_set():
            try:
                more = await duty.work()
            except Unavailable as error:
                _log.warning("duty waits", duty=duty.name, reason=error.detail)
                more, pause = False, max(duty.least, 0.5)
            except Exception:  # noqa: BLE001 - one sick duty must not end the loop
                _log.exception("duty failed", duty=duty.name)
                more, pause = False, max(duty.most, _FAILED_SECONDS)
            else:
                if isinstance(more, float):
                    more, pause = False, min(max(more, duty.least), duty.most)
                else:
                    pause = duty.least if more else min(max(pause * 1.5, duty.least), duty.most)
            if not more:
                await self._wait(pause)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
