"""Child processes that serve us: private database and cache servers, and whatever the tests run beside themselves.

Guarantees: a child that was started is reaped by `stop`, whatever state it is in; its output is in a log file whose end
is quoted when it fails; where Linux's `setpriv` is installed the child receives its death signal when this process
dies, even by SIGKILL. (The kernel ties that to the thread that starts the child: call `start` from the main thread.) A
terminal's Ctrl-C never reaches a child: whoever started it stops it, in its own order. Nothing here knows what the
child is.
"""

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from io import BufferedWriter
from itertools import chain, repeat
from pathlib import Path

from libs.common.errors import OperatorError

_LOG_LIMIT_BYTES = 10_000_000
_TAIL_BYTES = 2_000
_POLL_SECONDS = (0.005, 0.01, 0.02, 0.05)


class ChildProcess:
    """One process: started, watched until ready, stopped. Not reusable: make another to start again."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
        guard: Sequence[str] = (),
    ) -> None:
        """`name` is for messages; `log` takes both output streams and begins anew, at a start, once it is past 10 MB;
        `guard` are further arguments for `setpriv`.
        """
        self.name = name
        self._argv = [*_guarded(death_signal, guard), *argv]
        self._log, self._env, self._cwd = log, env, cwd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id. Raises `RuntimeError` before `start`."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, stdin: bytes = b"") -> None:
        """Start it; `stdin` is all that it can read. Raises `OperatorError` when the program cannot be run."""
        with _open_log(self._log) as log:
            try:
                self._process = subprocess.Popen(
                    self._argv,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=None if self._env is None else dict(self._env),
                    cwd=self._cwd,
                    start_new_session=True,
                )
            except OSError as error:
                raise OperatorError(f"{self.name} can't be started: {error}") from error
        if self._process.stdin is not None:
            with (
                suppress(BrokenPipeError),
                self._process.stdin as pipe,
            ):  # broken: it ended at once, `wait_ready` says why
                pipe.write(stdin)

    async def wait_ready(self, ready: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Return once `ready` says yes. Raises `OperatorError` with the log's end when it dies or is not in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._poll(ready)
        except TimeoutError:
            raise OperatorError(f"{self.name} was not ready within {seconds:g} s: {self.log_tail()}") from None

    async def _poll(self, ready: Callable[[], Awaitable[bool]]) -> None:
        async for _ in pauses():
            if await ready():
                return
            if not self.alive:
                raise OperatorError(f"{self.name} ended at once: {self.log_tail()}")

    async def wait(self, seconds: float) -> int:
        """Its exit status, once it ended by itself. Raises `TimeoutError` when it still runs after `seconds`."""
        async with asyncio.timeout(seconds):
            async for _ in pauses():
                status = None if self._process is None else self._process.poll()
                if status is not None:
                    return status
        raise AssertionError("unreachable")

    async def stop(self, *steps: tuple[signal.Signals, float]) -> None:
        """Send each signal in turn, with the seconds it may take; SIGKILL last. Returns when the process is gone."""
        for number, seconds in (*steps, (signal.SIGKILL, 10.0)):
            if not self.alive:
                return
            self.send(number)
            try:
                await self.wait(seconds)
            except TimeoutError:
                continue

    def send(self, number: signal.Signals) -> None:
        """Send one signal; harmless when it has ended."""
        if self._process is not None:
            self._process.send_signal(number)

    def log_tail(self) -> str:
        """The last lines it wrote, as one line."""
        return tail(self._log)


def tail(log: Path) -> str:
    """The last lines of a log file, joined to one; empty when there is none."""
    if not log.exists():
        return ""
    text = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
    return " | ".join(line.strip() for line in text.splitlines()[-6:] if line.strip())


def _open_log(log: Path) -> BufferedWriter:
    handle = log.open("ab")
    if handle.tell() > _LOG_LIMIT_BYTES:
        handle.truncate(0)
    return handle


def bundled(package: str, pattern: str) -> Path | None:
    """The file of an installed package that matches `pattern`, found without importing it; None when absent."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob(pattern))), None)


async def pauses() -> AsyncIterator[None]:
    """Turns of a loop that asks about what nobody announces: quick ones at first, then every 50 ms."""
    for seconds in chain(_POLL_SECONDS, repeat(_POLL_SECONDS[-1])):
        yield
        await asyncio.sleep(seconds)


def _guarded(death_signal: signal.Signals, guard: Sequence[str]) -> list[str]:
    program = shutil.which("setpriv")
    if program is None:
        return []
    return [program, f"--pdeathsig={death_signal.name.removeprefix('SIG')}", "--no-new-privs", *guard]
