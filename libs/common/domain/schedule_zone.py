"""Time zones as spans of constant offset, and what a change of the clock makes of a cron expression.

Inside a span, a time on the wall and an instant differ by the offset alone; everything odd happens where two spans
meet. If the clock went forward there, times on the wall are left out (the *gap*); if it went back, they come twice
(the *fold*). As in Debian's cron, a change by more than three hours is a correction and no daylight saving: then what
is left out is left out, and what comes twice runs twice. Instants are naive and in UTC in here.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import starmap
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from libs.common.domain.schedule_config import DstFold, DstGap
from libs.common.domain.schedule_cron import Cron, HiddenHours, nothing_hidden

Mark = Literal["gap", "fold"]

_LONGEST_CHANGE = timedelta(hours=3)
_PROBE = timedelta(hours=12)
"""No zone of the database changes twice in so short a time."""
_TICK = timedelta(seconds=1)


class Span(NamedTuple):
    """From `start` until before `end` the wall is `offset` ahead of UTC; it was `before`, and will be `after`."""

    start: datetime
    end: datetime
    before: timedelta
    offset: timedelta
    after: timedelta

    @property
    def skipped(self) -> timedelta:
        """How far the clock went forward at the start."""
        return max(self.offset - self.before, timedelta())

    def is_second(self, wall: datetime) -> bool:
        """Whether the wall has shown this time before the clock went back."""
        return wall < self.start + self.before

    def is_first(self, wall: datetime) -> bool:
        """Whether the wall will show this time again when the clock has gone back."""
        return wall >= self.end + self.after


def span_at(zone: ZoneInfo, instant: datetime) -> Span:
    """The span that an instant lies in. It is cut off two years away if the clock does not change before."""
    return next(span for span in _spans(zone, instant.year) if span.end > instant)


@lru_cache(maxsize=4096)
def _spans(zone: ZoneInfo, year: int) -> tuple[Span, ...]:
    """The spans of a year and of those beside it."""
    start, end = datetime(max(year - 1, 1), 1, 2), datetime(min(year + 2, 9999), 1, 2)
    changes = [start, *_changes(zone, start, end), end]
    own = [_offset(zone, change) for change in changes[:-1]]
    before, after = [own[0], *own[:-1]], [*own[1:], own[-1]]
    return tuple(starmap(Span, zip(changes[:-1], changes[1:], before, own, after, strict=True)))


def _changes(zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """The instants at which the offset becomes another one."""
    low, offset = start, _offset(zone, start)
    while low < end:
        high = min(low + _PROBE, end)
        if (new := _offset(zone, high)) != offset:
            yield _change(zone, low, high)
            offset = new
        low = high


def _change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    old = _offset(zone, low)
    while high - low > _TICK:
        middle = low + (high - low) // (2 * _TICK) * _TICK
        low, high = (middle, high) if _offset(zone, middle) == old else (low, middle)
    return high


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    return instant.replace(tzinfo=UTC).astimezone(zone).utcoffset() or timedelta()


class Clock(NamedTuple):
    """The wall that a cron expression is read on: a zone, the two choices, and hours that are left out: of the times
    that the expression names (`hidden`), and whole (`hidden_whole`).
    """

    zone: ZoneInfo
    gap: DstGap
    fold: DstFold
    hidden: HiddenHours
    hidden_whole: HiddenHours


def cron_instants(cron: Cron, clock: Clock, start: datetime, last: datetime) -> Iterator[tuple[datetime, Mark | None]]:
    """When the expression is due, from `start` to `last`, both included, in order and each instant once."""
    while start <= last:
        span = span_at(clock.zone, start)
        for instant, mark in _in_span(cron, clock, span, start):
            if instant > last:
                return
            yield instant, mark
        start = _next_start(cron, span, last)


def _next_start(cron: Cron, span: Span, last: datetime) -> datetime:
    """The end of the span, or shortly before the next day that the expression names; after `last` if there is none."""
    near = (span.end - timedelta(days=2)).date()
    day = next(cron.dates(near, min(last, datetime.max - timedelta(days=3)).date() + timedelta(days=2)), None)
    if day is None:
        return datetime.max
    return max(span.end, datetime(day.year, day.month, day.day) - timedelta(days=2))


def _in_span(cron: Cron, clock: Clock, span: Span, start: datetime) -> Iterator[tuple[datetime, Mark | None]]:
    if start <= span.start and _is_due_after_gap(cron, clock, span):
        yield span.start, "gap"
    begin = max(start, span.start) + span.offset
    if begin.microsecond:
        begin = begin.replace(microsecond=0) + _TICK
    for wall in cron.walls(begin, span.end + span.offset, clock.hidden):
        second, first = span.is_second(wall), span.is_first(wall)
        if cron.fixed and (
            (second and clock.fold == "first" and span.before - span.offset <= _LONGEST_CHANGE)
            or (first and clock.fold == "second" and span.offset - span.after <= _LONGEST_CHANGE)
        ):
            continue
        yield wall - span.offset, "fold" if second or first else None


def _is_due_after_gap(cron: Cron, clock: Clock, span: Span) -> bool:
    """Whether a time in the gap before the span is made up for at its start, where nothing is due otherwise.

    What is excluded is judged by what the wall shows then, as for every slot.
    """
    if not cron.fixed or clock.gap == "skip" or not timedelta() < span.skipped <= _LONGEST_CHANGE:
        return False
    left, arrived = span.start + span.before, span.start + span.offset
    is_hidden = clock.hidden_whole(arrived.date()) >> arrived.hour & 1
    if is_hidden or next(cron.walls(left, arrived, nothing_hidden), None) is None:
        return False
    return next(cron.walls(arrived, arrived + _TICK, clock.hidden), None) is None
