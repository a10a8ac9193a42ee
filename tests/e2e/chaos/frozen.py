"""Servers that stand still: stopped by SIGSTOP with everything they have started, and continued."""

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path


def family(pid: int) -> list[int]:
    """A process and all that came of it, the oldest first."""
    found = [pid]
    for one in found:
        with suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


@contextmanager
def frozen(pid: int) -> Generator[None]:
    """They stand still as long as the block lasts; connections to them stay open."""
    stopped = family(pid)
    try:
        for one in stopped:
            _send(one, signal.SIGSTOP)
        yield
    finally:
        for one in reversed(stopped):
            _send(one, signal.SIGCONT)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
