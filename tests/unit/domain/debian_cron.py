"""A slow cron daemon to compare schedules with: it looks at the wall every quarter of an hour, as Debian's does every
minute, and keeps the rules that its manual states for changes of the clock.

    Special considerations exist when the clock is changed by less than 3 hours […]. If the time has moved
    forwards, those jobs which would have run in the time that was skipped will be run soon after the change.
    Conversely, if the time has moved backwards by less than 3 hours, those jobs that fall into the repeated
    time will not be re-run. Only jobs that run at a particular time (not specified as @hourly, nor with '*' in
    the hour or minute specifier) are affected. Jobs which are specified with wildcards are run based on the new
    time immediately. Clock changes of more than 3 hours are considered to be corrections to the clock, and the
    new time is used immediately.

It shares no code with what it judges: it reads expressions of numbers, lists, ranges and steps by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

STEP = timedelta(minutes=15)
THREE_HOURS = timedelta(hours=3)
_RANGES = (range(60), range(24), range(1, 32), range(1, 13), range(8))

Run = tuple[datetime, str | None]


class Job:
    """An expression of five fields, with minutes that are quarters of an hour."""

    def __init__(self, expression: str) -> None:
        fields = expression.split()
        self.minutes, self.hours, self.days, self.months, self.weekdays = (
            {value for item in field.split(",") for value in _values(item, bounds)}
            for field, bounds in zip(fields, _RANGES, strict=True)
        )
        self.wild = fields[0][0] == "*" or fields[1][0] == "*"
        self.both_days = fields[2][0] == "*" or fields[4][0] == "*"

    def matches(self, wall: datetime) -> bool:
        if wall.minute not in self.minutes or wall.hour not in self.hours or wall.month not in self.months:
            return False
        by_day = wall.day in self.days
        by_weekday = wall.isoweekday() in self.weekdays or (wall.isoweekday() == 7 and 0 in self.weekdays)
        return by_day and by_weekday if self.both_days else by_day or by_weekday


def _values(item: str, bounds: range) -> range:
    span, _, step = item.partition("/")
    low, _, high = span.partition("-")
    if span == "*":
        return range(bounds.start, bounds.stop, int(step or 1))
    return range(int(low), int(high or low) + 1, int(step or 1))


@dataclass(frozen=True)
class Tick:
    """One look at the wall. `skipped`: the times that were left out just before it. `repeats`: it was shown before;
    `comes_again`: it will be shown again.
    """

    instant: datetime
    wall: datetime
    skipped: tuple[datetime, ...]
    repeats: bool
    comes_again: bool


def ticks(zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[Tick]:
    """Every look from `start` until before `end`."""
    margin = THREE_HOURS + STEP
    instants = list(_every(start - margin, end + margin))
    walls = [instant.astimezone(zone).replace(tzinfo=None) for instant in instants]
    shown: dict[datetime, list[int]] = {}
    for index, wall in enumerate(walls):
        shown.setdefault(wall, []).append(index)
    for index in range(1, len(walls)):
        if start <= instants[index] < end:
            wall, before = walls[index], walls[index - 1]
            jump = wall - before - STEP
            skipped = tuple(_every(before + STEP, wall)) if timedelta() < jump <= THREE_HOURS else ()
            places = shown[wall]
            yield Tick(instants[index], wall, skipped, places[0] < index, places[-1] > index)


def _every(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += STEP


def runs(job: Job, looks: list[Tick], gap: str = "shift", fold: str = "first") -> list[Run]:
    """When the daemon runs the job, and whether in a gap or a fold."""
    found: list[Run] = []
    for tick in looks:
        is_left_out = not job.wild and ((fold == "first" and tick.repeats) or (fold == "second" and tick.comes_again))
        if job.matches(tick.wall) and not is_left_out:
            found.append((tick.instant, "fold" if tick.repeats or tick.comes_again else None))
        elif not job.wild and gap == "shift" and any(job.matches(wall) for wall in tick.skipped):
            found.append((tick.instant, "gap"))
    return found


def changes(zone: ZoneInfo, first_year: int, last_year: int) -> list[datetime]:
    """The days (midnight UTC) of those years in which the offset of the zone changes."""
    found: list[datetime] = []
    day, end = datetime(first_year, 1, 1, tzinfo=UTC), datetime(last_year + 1, 1, 1, tzinfo=UTC)
    while day < end:
        after = day + timedelta(days=1)
        if day.astimezone(zone).utcoffset() != after.astimezone(zone).utcoffset():
            found.append(day)
        day = after
    return found
