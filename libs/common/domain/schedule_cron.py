"""Cron expressions on a plain calendar: which days and times of day they name, without any time zone.

Reading and the calendar rules (`L`, `LW`, `#`, Debian's rule for day of month and day of week) are cronsim's; `nW` and
names before `L` (`FRIL`) are added here. A month is looked up by its shape (first weekday and length, of which there
are 28), so that a search over decades costs a few thousand steps at most.
"""

import calendar
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from functools import lru_cache
from typing import cast

from cronsim import CronSim, CronSimError
from cronsim.cronsim import FIELD_NAMES, SYMBOLIC_DAYS, Field

NAMED: dict[str, str] = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
    "@every_minute": "* * * * *",
}

HiddenHours = Callable[[date], int]
"""Of a day, the hours that are left out: a bit for each, midnight's first."""

_MACRO = re.compile(r"@[a-z_]+", re.IGNORECASE)
_NEAREST = re.compile(r"(\d{1,2})W")
_DAYS = {name: number for number, name in enumerate(SYMBOLIC_DAYS)}
_LAST_NAMED = re.compile(rf"\b({'|'.join(_DAYS)})L\b")
_BOUNDS = dict(zip(FIELD_NAMES, ("0 to 59", "0 to 59", "0 to 23", "1 to 31", "1 to 12", "0 to 7"), strict=True))
_FIRST, _LAST = date(2000, 1, 1), date(2050, 12, 31)
"""Every month occurs in every shape that it can have within these years."""


class _Calendar(CronSim):
    """cronsim as reader and calendar, with the weekday nearest to a day of the month (`15W`)."""

    def __init__(self, parts: list[str]) -> None:
        items = parts[3].split(",")
        self.nearest = frozenset(int(found[1]) for item in items if (found := _NEAREST.fullmatch(item)))
        if not all(1 <= day <= 31 for day in self.nearest):
            raise CronSimError("Bad day-of-month")
        plain = [item for item in items if not _NEAREST.fullmatch(item)]
        # read with any month: it would call the 30th of February no expression, where it is one that is never due
        super().__init__(" ".join([*parts[:3], ",".join(plain) or "1", "*", parts[5]]), datetime(2000, 1, 1))
        self.months = cast("set[int]", Field.MONTH.parse(parts[4]))
        if not plain:
            self.days = set[int]()

    def match_dom(self, d: date) -> bool:
        return super().match_dom(d) or any(d.day == _nearest_weekday(d.year, d.month, day) for day in self.nearest)


def _nearest_weekday(year: int, month: int, day: int) -> int | None:
    """The day from Monday to Friday nearest to `day`, in the same month; None when the month has no such day."""
    first, length = calendar.monthrange(year, month)
    if day > length:
        return None
    match (first + day - 1) % 7:
        case 5:
            return day - 1 if day > 1 else 3
        case 6:
            return day + 1 if day < length else day - 2
        case _:
            return day


class Cron:
    """A read expression. `fixed`: it names times of day, as Debian's cron sees it (neither minute nor hour begins with
    `*`), so that daylight saving is settled for it by a choice; any other keeps its rhythm.
    """

    def __init__(self, expression: str) -> None:
        parts = fields_of(expression)
        self.has_seconds = len(parts) == 6
        if len(parts) not in (5, 6):
            raise CronSimError("Wrong number of fields")
        parts = parts if self.has_seconds else ["0", *parts]
        self._calendar = _Calendar(parts)
        self.seconds, self.minutes, self.hours = (
            tuple(sorted(values)) for values in (self._calendar.seconds, self._calendar.minutes, self._calendar.hours)
        )
        self.months = frozenset(self._calendar.months)
        self.fixed = not parts[1].startswith("*") and not parts[2].startswith("*")
        self._shapes: dict[tuple[int, int], tuple[int, ...]] = {}

    def is_on(self, day: date) -> bool:
        """Whether it names this day."""
        return day.month in self.months and day.day in self._days_of(day.year, day.month)

    def is_at(self, wall: datetime) -> bool:
        """Whether it names this time on the wall. With five fields any second of the minute counts."""
        in_minute = not self.has_seconds or wall.second in self.seconds
        return in_minute and wall.minute in self.minutes and wall.hour in self.hours and self.is_on(wall.date())

    def covers(self, minutes: Iterable[int], seconds: Iterable[int]) -> bool:
        """Whether, in each hour that it names, it names all these minutes and seconds."""
        in_minute = not self.has_seconds or set(seconds) <= set(self.seconds)
        return in_minute and set(minutes) <= set(self.minutes)

    def dates(self, first: date, last: date) -> Iterator[date]:
        """The days it names, both ends included."""
        year, month, least = first.year, first.month, first.day
        while (year, month) <= (last.year, last.month):
            for day in self._days_of(year, month) if month in self.months else ():
                if day >= least:
                    found = date(year, month, day)
                    if found > last:
                        return
                    yield found
            year, month, least = (year, month + 1, 1) if month < 12 else (year + 1, 1, 1)

    def walls(self, start: datetime, end: datetime, hidden: HiddenHours) -> Iterator[datetime]:
        """The times on the wall it names, from `start` until before `end`, but for hours that are hidden."""
        for day in self.dates(start.date(), end.date()):
            for hour, minute, second in self._times(start if day == start.date() else None, hidden(day)):
                wall = datetime(day.year, day.month, day.day, hour, minute, second)
                if wall >= end:
                    return
                if wall >= start:
                    yield wall

    def _times(self, start: datetime | None, hidden: int) -> Iterator[tuple[int, int, int]]:
        """The times of a day, from the second of `start` on."""
        first_hour, first_minute, first_second = (start.hour, start.minute, start.second) if start else (0, 0, 0)
        for hour in self.hours[bisect_left(self.hours, first_hour) :]:
            if hidden >> hour & 1:
                continue
            least_minute = first_minute if hour == first_hour else 0
            for minute in self.minutes[bisect_left(self.minutes, least_minute) :]:
                least = first_second if (hour, minute) == (first_hour, first_minute) else 0
                for second in self.seconds[bisect_left(self.seconds, least) :]:
                    yield hour, minute, second

    def _days_of(self, year: int, month: int) -> tuple[int, ...]:
        shape = calendar.monthrange(year, month)
        days = self._shapes.get(shape)
        if days is None:
            days = tuple(day for day in range(1, shape[1] + 1) if self._calendar.match_day(date(year, month, day)))
            self._shapes[shape] = days
        return days


def nothing_hidden(_day: date) -> int:
    """Leaves out no hour of any day."""
    return 0


def fields_of(expression: str) -> list[str]:
    """The fields of an expression or name, in capitals; `FRIL` is written `5L`."""
    text = NAMED.get(expression.strip().lower(), expression).upper()
    return _LAST_NAMED.sub(lambda found: f"{_DAYS[found[1]]}L", text).split()


@lru_cache(maxsize=1024)
def read_cron(expression: str) -> Cron:
    """The expression, of 5 or 6 fields or a name. Raises `ValueError` that says what is wrong with it."""
    if _MACRO.fullmatch(expression.strip()) and expression.strip().lower() not in NAMED:
        raise ValueError(f"{expression!r} is not known; there are {', '.join(NAMED)}")
    try:
        return Cron(expression)
    except CronSimError as error:
        raise ValueError(f"is not a cron expression: {_explained(str(error), expression)}") from None
    except Exception:  # noqa: BLE001  cronsim lets ValueError, AssertionError … through for some odd fields
        raise ValueError("is not a cron expression") from None


def _explained(problem: str, expression: str) -> str:
    """cronsim's message with the field and its bounds."""
    name = problem.removeprefix("Bad ")
    if name not in FIELD_NAMES:
        return f"needs 5 or 6 fields, not {len(fields_of(expression))}"
    parts = fields_of(expression)
    text = parts[FIELD_NAMES.index(name) - (6 - len(parts))]
    return f"bad {name} {text[:40]!r} ({_BOUNDS[name]})"


def cron_problem(expression: str) -> str | None:
    """What is wrong with a cron expression, if anything; one that names no day at all is wrong."""
    try:
        cron = read_cron(expression)
    except ValueError as error:
        return str(error)
    return None if next(cron.dates(_FIRST, _LAST), None) else "will never be due: no month has such a day"
