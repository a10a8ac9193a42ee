"""Days and times on which a schedule does not run: dates, ranges of dates, and cron expressions (holidays).

All are read on the schedule's own wall. Whole days are left out before their times are looked at, so that a year that
is excluded costs no more than 365 looks.
"""

import re
from bisect import bisect_right
from collections.abc import Callable
from datetime import date, datetime
from functools import lru_cache

from libs.common.domain.schedule_config import DateRange
from libs.common.domain.schedule_cron import Cron, read_cron

MAX_DAYS = 5_000
"""So many days may be left out in a row, of those that a schedule names; more is a mistake, and costly to pass over."""

DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class Exclusions:
    """What a schedule says in `exclude`, read. Raises `ValueError` for what can't be read."""

    def __init__(self, items: tuple[str | DateRange, ...]) -> None:
        texts = [item for item in items if isinstance(item, str)]
        self._days = frozenset(date.fromisoformat(text) for text in texts if DATE.fullmatch(text))
        self._starts, self._ends = _disjoint([item for item in items if isinstance(item, DateRange)])
        self._crons = tuple(read_cron(text) for text in texts if not DATE.fullmatch(text))

    def whole_days(self, cron: Cron | None) -> Callable[[date], bool]:
        """Tells the days on which no time of `cron` is left (None: none at all), asked in order. Times left out one by
        one, by several expressions together, do not make a whole day. What it returns raises `ValueError` after
        `MAX_DAYS` such days in a row.
        """
        whole = [excluded for excluded in self._crons if excluded.covers(cron)]
        if not (whole or self._days or self._starts):
            return _never
        in_a_row = 0

        def is_left_out(day: date) -> bool:
            nonlocal in_a_row
            in_a_row = in_a_row + 1 if self._holds(day) or any(excluded.is_on(day) for excluded in whole) else 0
            if in_a_row > MAX_DAYS:
                raise ValueError(f"leaves out more than {MAX_DAYS} days in a row")
            return in_a_row > 0

        return is_left_out

    def _holds(self, day: date) -> bool:
        place = bisect_right(self._starts, day)
        return day in self._days or (place > 0 and day <= self._ends[place - 1])

    def hold(self, wall: datetime) -> bool:
        """Whether the time on the wall is one of those that expressions leave out."""
        return any(excluded.is_at(wall) for excluded in self._crons)


def _disjoint(ranges: list[DateRange]) -> tuple[list[date], list[date]]:
    """First and last days of the ranges, in order, those that overlap made one."""
    starts, ends = list[date](), list[date]()
    for item in sorted(ranges, key=lambda item: item.from_):
        if ends and item.from_ <= ends[-1]:
            ends[-1] = max(ends[-1], item.to)
        else:
            starts.append(item.from_)
            ends.append(item.to)
    return starts, ends


def _never(_day: date) -> bool:
    return False


@lru_cache(maxsize=1024)
def read_exclusions(items: tuple[str | DateRange, ...]) -> Exclusions:
    """The exclusions of a config."""
    return Exclusions(items)
