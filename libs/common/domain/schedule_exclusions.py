"""Days and times on which a schedule does not run: dates, ranges of dates, and cron expressions (holidays).

All are read on the schedule's own wall. Whole days and hours are left out before their times are looked at, so that
a year that is excluded costs no more than 365 looks.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable
from datetime import date, datetime
from functools import lru_cache

from libs.common.domain.schedule_config import DateRange
from libs.common.domain.schedule_cron import Cron, HiddenHours, nothing_hidden, read_cron

MAX_DAYS = 5_000
"""So many days may be left out in a row, of those that a schedule names; more is a mistake, and costly to pass over."""

ALL_DAY = (1 << 24) - 1

DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

_EVERY_TIME = (range(24), range(60), range(60))


class Exclusions:
    """What a schedule says in `exclude`, read. Raises `ValueError` for what can't be read."""

    def __init__(self, items: tuple[str | DateRange, ...]) -> None:
        texts = [item for item in items if isinstance(item, str)]
        self._days = frozenset(date.fromisoformat(text) for text in texts if DATE.fullmatch(text))
        self._starts, self._ends = _disjoint([item for item in items if isinstance(item, DateRange)])
        self._crons = tuple(read_cron(text) for text in texts if not DATE.fullmatch(text))

    def hidden_hours(self, cron: Cron | None) -> HiddenHours:
        """Tells the hours of a day in which no time of `cron` is left (None: no time at all), asked day by day. What
        expressions leave out minute by minute, or only together, does not hide an hour. What this returns raises
        `ValueError` after `MAX_DAYS` days in a row with no hour left.
        """
        hours, minutes, seconds = (cron.hours, cron.minutes, cron.seconds) if cron else _EVERY_TIME
        hiding = [(it, _mask(it.hours)) for it in self._crons if it.covers(minutes, seconds)]
        if not (hiding or self._days or self._starts):
            return nothing_hidden
        wanted, in_a_row = _mask(hours), 0

        def hidden(day: date) -> int:
            nonlocal in_a_row
            mask = ALL_DAY if self._holds(day) else 0
            for excluded, bits in hiding:
                mask |= bits if excluded.is_on(day) else 0
            in_a_row = in_a_row + 1 if mask & wanted == wanted else 0
            if in_a_row > MAX_DAYS:
                raise ValueError(f"leaves out more than {MAX_DAYS} days in a row")
            return mask

        return hidden

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


def _mask(hours: Iterable[int]) -> int:
    return sum(1 << hour for hour in hours)


@lru_cache(maxsize=1024)
def read_exclusions(items: tuple[str | DateRange, ...]) -> Exclusions:
    """The exclusions of a config."""
    return Exclusions(items)
