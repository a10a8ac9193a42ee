"""Refused calls on record, without letting anybody fill the disk by being refused.

Of each trigger and check the first hundred of an hour are kept one by one; of what follows every hundredth, which says
for how many it stands. So the sum of `stands_for` is the number of calls that a check refused, whatever the flood.
"""

from collections import OrderedDict
from time import monotonic
from uuid import UUID

import msgspec

from libs.common.db.accepting import CallRow

KEPT_WHOLE = 100
ONE_OF = 100
WINDOW_SECONDS = 3600.0
BODY_BYTES = 4_096
"""Of a refused call's body so much is kept."""
_MOST_WINDOWS = 2_000


class _Window(msgspec.Struct):
    until: float
    count: int = 0
    skipped: int = 0
    last: CallRow | None = None


class Refusals:
    """Says which refused calls are to be written."""

    def __init__(self) -> None:
        self._windows: OrderedDict[tuple[UUID, str], _Window] = OrderedDict()
        self._due: list[CallRow] = []

    def sample(self, row: CallRow) -> CallRow | None:
        """The row to write for this call; None: a later one stands for it."""
        key = (row.trigger_id, row.outcome)
        window = self._windows.get(key)
        if window is None or window.until < monotonic():
            self._close(window)
            window = self._windows[key] = _Window(monotonic() + WINDOW_SECONDS)
            if len(self._windows) > _MOST_WINDOWS:
                self._close(self._windows.popitem(last=False)[1])
        window.count += 1
        if window.count <= KEPT_WHOLE:
            return row
        window.skipped, window.last = window.skipped + 1, row
        if window.skipped < ONE_OF:
            return None
        window.skipped, window.last = 0, None
        return msgspec.structs.replace(row, stands_for=ONE_OF)

    def due(self) -> list[CallRow]:
        """Rows for those that no written one stands for yet; they are the caller's now."""
        for window in self._windows.values():
            self._close(window)
        due, self._due = self._due, []
        return due

    def give_back(self, rows: list[CallRow]) -> None:
        """These could not be written; they are due again."""
        self._due += rows[: _MOST_WINDOWS - len(self._due)]

    def _close(self, window: _Window | None) -> None:
        if window is not None and window.last is not None:
            self._due.append(msgspec.structs.replace(window.last, stands_for=window.skipped))
            window.skipped, window.last = 0, None
