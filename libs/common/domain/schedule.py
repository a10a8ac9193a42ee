"""Schedules: when cron expressions, an interval or a single instant are due.

Time arithmetic only: instants in and out are aware and in UTC, and each comes once. A slot in the gap of spring or in
the repeated hour of autumn says so (`mark`). Cron expressions keep Debian's rules for daylight saving and the two
choices of the config (`schedule_zone`); intervals know no calendar. How often a schedule may run (`max_runs`) is for
whoever counts its runs.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from heapq import merge
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from libs.common.domain.dates import read_zone
from libs.common.domain.schedule_config import AtSchedule, CronSchedule, IntervalSchedule, ScheduleConfig
from libs.common.domain.schedule_cron import HiddenHours, read_cron
from libs.common.domain.schedule_exclusions import ALL_DAY, Exclusions, read_exclusions
from libs.common.domain.schedule_zone import Clock, Mark, cron_instants, span_at

HORIZON_YEARS = 50
"""So far ahead a run time is looked for; the rarest calendar day, 29 February on a given weekday, is 40 years away at
most.
"""
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9900, 1, 1, tzinfo=UTC)
MAX_LEFT_OUT = 10_000
"""So many planned times in a row may be excluded one by one; whole hours do not count."""

_ANCHOR = datetime(1970, 1, 5, tzinfo=UTC)
"""A Monday, so that weeks begin on Mondays and every shorter interval at full hours, minutes …"""
_HORIZON = timedelta(days=HORIZON_YEARS * 365 + HORIZON_YEARS // 4)
_INSTANT = timedelta(microseconds=1)
_DAY = timedelta(days=1)


class Slot(msgspec.Struct, frozen=True):
    """One planned run. `mark`: its local time is left out by the clock and it stands right after the `gap`, or its
    local time comes twice (`fold`).
    """

    instant: datetime
    mark: Mark | None = None


def slots(
    config: ScheduleConfig, after: datetime, until: datetime | None = None, limit: int | None = None
) -> Iterator[Slot]:
    """The slots strictly after `after`, to `until` (included) or the end of the schedule, at most `limit`; none later
    than `HORIZON_YEARS` years after the first instant that is looked at. Raises `ValueError` for a config with faults,
    and when its exclusions leave out too much in a row (`MAX_LEFT_OUT`, `MAX_DAYS`).
    """
    if after >= LATEST:
        return iter(())
    start = max(after + _INSTANT, EARLIEST, config.start_at or EARLIEST)
    last = min(start + _HORIZON, LATEST, config.end_at or LATEST, until or LATEST)
    return islice(_SLOTS[type(config)](config, start.astimezone(UTC), last.astimezone(UTC)), limit)


def next_slot(config: ScheduleConfig, after: datetime) -> Slot | None:
    """The first slot strictly after `after`, or None when there is none any more. Raises as `slots` does."""
    return next(slots(config, after), None)


def next_run(config: ScheduleConfig, after: datetime) -> datetime | None:
    """The instant of the next slot."""
    slot = next_slot(config, after)
    return None if slot is None else slot.instant


def dispatch_delay(config: ScheduleConfig, trigger_id: UUID, slot: datetime) -> timedelta:
    """By how much the start of a slot is put off: from nothing to `jitter_seconds`, the same for a trigger and slot
    whenever it is asked, and spread evenly over triggers and slots. The slot itself stays the planned one.
    """
    if not config.jitter_seconds:
        return timedelta()
    seed = trigger_id.bytes + slot.astimezone(UTC).isoformat().encode()
    share = int.from_bytes(blake2b(seed, digest_size=8).digest()) / 2**64
    return timedelta(seconds=share * config.jitter_seconds)


def _cron_slots(config: CronSchedule, start: datetime, last: datetime) -> Iterator[Slot]:
    zone, exclusions = read_zone(config.timezone), read_exclusions(config.exclude)
    streams = [_expression_slots(text, config, zone, exclusions, start, last) for text in config.all_expressions]
    if len(streams) == 1:
        return streams[0]
    return (_plainest(same) for _, same in groupby(merge(*streams, key=_INSTANT_OF), key=_INSTANT_OF))


_INSTANT_OF = attrgetter("instant")


def _plainest(same: Iterator[Slot]) -> Slot:
    """One of several slots at an instant: what is due there anyway needs no mark of the gap."""
    return min(same, key=lambda slot: slot.mark == "gap")


def _expression_slots(
    text: str, config: CronSchedule, zone: ZoneInfo, exclusions: Exclusions, start: datetime, last: datetime
) -> Iterator[Slot]:
    cron = read_cron(text)
    clock = Clock(zone, config.dst_gap, config.dst_fold, exclusions.hidden_hours(cron), exclusions.hidden_hours(None))
    instants = cron_instants(cron, clock, start.replace(tzinfo=None), last.replace(tzinfo=None))
    found = (Slot(instant.replace(tzinfo=UTC), mark) for instant, mark in instants)
    return _without(exclusions, zone, found) if config.exclude else found


def _without(exclusions: Exclusions, zone: ZoneInfo, found: Iterator[Slot]) -> Iterator[Slot]:
    left_out = 0
    for slot in found:
        if not exclusions.hold(_wall(slot.instant, zone)):
            left_out = 0
            yield slot
            continue
        left_out += 1
        if left_out > MAX_LEFT_OUT:
            raise ValueError(f"leaves out more than {MAX_LEFT_OUT} planned times in a row")


def _interval_slots(config: IntervalSchedule, start: datetime, last: datetime) -> Iterator[Slot]:
    zone, exclusions = read_zone(config.timezone), read_exclusions(config.exclude)
    found = _interval_instants(config, zone, exclusions, start, last)
    marked = (Slot(instant, _mark(instant, zone)) for instant in found)
    return _without(exclusions, zone, marked) if config.exclude else marked


def _interval_instants(
    config: IntervalSchedule, zone: ZoneInfo, exclusions: Exclusions, start: datetime, last: datetime
) -> Iterator[datetime]:
    period, hidden = timedelta(seconds=config.period_seconds), exclusions.hidden_hours(None)
    if period <= timedelta():
        raise ValueError("the interval is empty")
    anchor = (config.anchor or config.start_at or _ANCHOR).astimezone(UTC)
    instant = anchor - (anchor - start) // period * period
    while instant <= last:
        ahead = _hidden_ahead(instant, zone, hidden)
        if not ahead:
            yield instant
        instant += max(-(-ahead // period), 1) * period


def _hidden_ahead(instant: datetime, zone: ZoneInfo, hidden: HiddenHours) -> timedelta:
    """How long it goes on that nothing is due, at least: to the end of the hour or day, if that is left out, or until
    the clock changes.
    """
    span = span_at(zone, instant.replace(tzinfo=None))
    wall = instant.replace(tzinfo=None) + span.offset
    hours = hidden(wall.date())
    if not hours >> wall.hour & 1:
        return timedelta()
    start = wall.replace(minute=0, second=0, microsecond=0)
    end = start.replace(hour=0) + _DAY if hours == ALL_DAY else start + timedelta(hours=1)
    return min(end, span.end + span.offset) - wall


def _at_slots(config: AtSchedule, start: datetime, last: datetime) -> Iterator[Slot]:
    instant, zone, exclusions = config.at.astimezone(UTC), read_zone(config.timezone), read_exclusions(config.exclude)
    is_left_out = _hidden_ahead(instant, zone, exclusions.hidden_hours(None)) or exclusions.hold(_wall(instant, zone))
    if start <= instant <= last and not is_left_out:
        yield Slot(instant, _mark(instant, zone))


_SLOTS = cast(
    "dict[type, Callable[[Any, datetime, datetime], Iterator[Slot]]]",
    {CronSchedule: _cron_slots, IntervalSchedule: _interval_slots, AtSchedule: _at_slots},
)


def _wall(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


def _mark(instant: datetime, zone: ZoneInfo) -> Mark | None:
    span = span_at(zone, instant.replace(tzinfo=None))
    wall = instant.replace(tzinfo=None) + span.offset
    return "fold" if span.is_second(wall) or span.is_first(wall) else None
