"""Keeps one session with a server open, for ever: open it, wait until it is lost, pause, open it again.

    start ─▶ opening ──▶ ready (session) ──lost──▶ closing ─▶ pause 0.2 … 2 s ─▶ opening …
                └─ failed ───────────────────────────────────▶ pause

Everything that can go wrong with a session ends in the same way, by a new one, so there is no repair in place. A link
knows nothing of the server; opening, and noticing the loss, are the session's affair.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import structlog

from libs.common.errors import Unavailable

_PATIENCE_SECONDS = 10.0
"""Longer than the closing of a session takes."""

_log = structlog.get_logger(__name__)


class Session(Protocol):
    """A usable connection. `lost` is done, with the reason, as soon as it is not usable any more."""

    @property
    def lost(self) -> asyncio.Future[str]: ...

    async def close(self) -> None:
        """Free everything, in bounded time, without raising; also when it is lost already."""
        ...


S = TypeVar("S", bound=Session)


class Link(Generic[S]):
    """One session that is opened again after every loss. `name` is for the log."""

    def __init__(self, name: str, open_session: Callable[[], Awaitable[S]], pauses: tuple[float, float]) -> None:
        """`pauses`: the first and the longest pause before opening again, in seconds; it doubles in between."""
        self._name, self._open, self._pauses = name, open_session, pauses
        self._session: S | None = None
        self._ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._trouble = "not connected yet"
        self._closing = False

    @property
    def session(self) -> S | None:
        """The session, while there is one and it is not known to be lost."""
        session = self._session
        return session if session is not None and not session.lost.done() else None

    def start(self) -> None:
        """Begin to keep a session. Starting twice is harmless; what was closed stays closed."""
        if self._keeper is None and not self._closing:
            self._keeper = asyncio.get_running_loop().create_task(self._keep(), name=f"link {self._name}")

    async def wait_ready(self, seconds: float) -> None:
        """Returns once there is a session. Raises `Unavailable`, with the reason, when there is none in that time."""
        try:
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            raise Unavailable(f"The message broker cannot be used: {self._trouble}.") from None

    async def close(self) -> None:
        """The session is closed and none is opened any more."""
        self._closing = True
        while self._keeper is not None and not self._keeper.done():
            self._keeper.cancel()
            await asyncio.wait([self._keeper], timeout=_PATIENCE_SECONDS)

    async def _keep(self) -> None:
        pause, longest = self._pauses
        # The flag counts, not the cancellation alone: the AMQP client swallows one now and then.
        while not self._closing:
            try:
                session = await self._open()
            except asyncio.CancelledError:
                if cancelled_from_outside():
                    raise
                self._note_trouble("the connection was cut while it was opened")
            except Exception as error:  # noqa: BLE001 - whatever it was, the answer is to try again
                self._note_trouble(reason_of(error))
            else:
                await self._serve(session)
                pause = self._pauses[0]
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    async def _serve(self, session: S) -> None:
        self._session, self._trouble = session, ""
        self._ready.set()
        _log.info("bus connection ready", link=self._name)
        try:
            if not self._closing:
                self._note_trouble(await session.lost)
        finally:
            self._session = None
            self._ready.clear()
            await session.close()

    def _note_trouble(self, reason: str) -> None:
        if reason != self._trouble:
            _log.warning("bus connection lost", link=self._name, reason=reason)
        self._trouble = reason


def cancelled_from_outside() -> bool:
    """Whether the running task was asked to stop.

    If not, a `CancelledError` is the AMQP client's word for a lost connection.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def reason_of(error: BaseException) -> str:
    """The error in words, for logs and `Unavailable`."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
