"""Validation of a schedule's config: every fault with its path, also that it would never be due."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any, cast

import msgspec

from libs.common.domain.dates import read_zone
from libs.common.domain.faults import is_array, is_object, join_path, struct_faults
from libs.common.domain.paths import kind_of
from libs.common.domain.schedule import EARLIEST, HORIZON_YEARS, LATEST, next_slot
from libs.common.domain.schedule_config import (
    MAX_EXCLUSIONS,
    MAX_EXPRESSIONS,
    SCHEDULE_TYPES,
    AtSchedule,
    DateRange,
    IntervalSchedule,
    ScheduleConfig,
)
from libs.common.domain.schedule_cron import cron_problem
from libs.common.domain.schedule_exclusions import DATE
from libs.common.domain.templates import has_template
from libs.common.errors import Fault

MIN_PERIOD_SECONDS = 1
MAX_PERIOD_SECONDS = 366 * 86_400

_MAX_TEXT = 200
_INSTANTS = ("start_at", "end_at", "anchor", "at")


def schedule_faults(raw: object, path: str) -> list[Fault]:
    """Every fault of the config of a schedule. That its only run times are in the past is none."""
    if not is_object(raw):
        return [Fault(path, f"must be an object, not {kind_of(raw)}")]
    kind = raw.get("type")
    struct = SCHEDULE_TYPES.get(kind) if isinstance(kind, str) else None
    if struct is None:
        return [Fault(join_path(path, "type"), f"must be one of {', '.join(SCHEDULE_TYPES)}")]
    faults = struct_faults(raw, struct, path, skip=("type", "exclude"))
    faults += _zone_faults(raw, path) + _exclude_faults(raw, path) + _input_faults(raw, path)
    if kind == "cron":
        faults += _cron_faults(raw, path, {fault.path for fault in faults})
    if faults:
        return faults
    return _sense_faults(msgspec.convert(raw, cast("type[ScheduleConfig]", ScheduleConfig)), path)


def _zone_faults(raw: dict[str, Any], path: str) -> list[Fault]:
    zone = raw.get("timezone", "UTC")
    try:
        if isinstance(zone, str):
            read_zone(zone)
    except ValueError as error:
        return [Fault(join_path(path, "timezone"), str(error))]
    return []


def _cron_faults(raw: dict[str, Any], path: str, faulty: set[str]) -> list[Fault]:
    single, several = raw.get("expression"), raw.get("expressions")
    where, where_several = join_path(path, "expression"), join_path(path, "expressions")
    if not single and not several and not faulty & {where, where_several}:
        return [Fault(where, "is required: a cron expression, or several in expressions")]
    listed = several if is_array(several) else []
    named = [(where, single), *((f"{where_several}[{index}]", item) for index, item in enumerate(listed))]
    texts = [(where, text) for where, text in named if isinstance(text, str) and 0 < len(text) <= _MAX_TEXT]
    return [Fault(where, problem) for where, text in texts if (problem := cron_problem(text)) is not None]


def _exclude_faults(raw: dict[str, Any], path: str) -> list[Fault]:
    items, where = raw.get("exclude", []), join_path(path, "exclude")
    if not is_array(items):
        return [Fault(where, f"must be a list, not {kind_of(items)}")]
    crons = sum(isinstance(item, str) and DATE.fullmatch(item) is None for item in items)
    if len(items) > MAX_EXCLUSIONS or crons > MAX_EXPRESSIONS:
        return [Fault(where, f"has at most {MAX_EXCLUSIONS} entries, of which {MAX_EXPRESSIONS} are expressions")]
    return [fault for index, item in enumerate(items) for fault in _exclusion_faults(item, f"{where}[{index}]")]


def _exclusion_faults(item: object, where: str) -> list[Fault]:
    if is_object(item):
        faults = struct_faults(item, DateRange, where)
        if not faults and date.fromisoformat(item["to"]) < date.fromisoformat(item["from"]):
            return [Fault(f"{where}.to", "must not be before from")]
        return faults
    if not isinstance(item, str) or not 0 < len(item) <= _MAX_TEXT:
        return [Fault(where, 'must be a date, a range {"from": date, "to": date} or a cron expression')]
    if not DATE.fullmatch(item):
        problem = cron_problem(item)
        return [] if problem is None else [Fault(where, problem)]
    try:
        date.fromisoformat(item)
    except ValueError:
        return [Fault(where, f"{item!r} is not a day of the calendar")]
    return []


def _input_faults(raw: dict[str, Any], path: str) -> list[Fault]:
    where = join_path(path, "input")
    return [
        Fault(place, "is taken as it is, so there can be no template in it")
        for place, text in _texts(raw.get("input"), where)
        if has_template(text)
    ]


def _texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Every text below `value`, with its path."""
    if isinstance(value, str):
        yield path, value
    elif is_object(value):
        for name, item in value.items():
            yield from _texts(item, join_path(path, name[:64]))
    elif is_array(value):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}[{index}]")


def _sense_faults(config: ScheduleConfig, path: str) -> list[Fault]:
    faults = [
        Fault(join_path(path, name), f"must lie between {EARLIEST.year} and {LATEST.year}")
        for name in _INSTANTS
        if isinstance(instant := getattr(config, name, None), datetime) and not EARLIEST <= instant < LATEST
    ]
    if isinstance(config, IntervalSchedule) and not MIN_PERIOD_SECONDS <= config.period_seconds <= MAX_PERIOD_SECONDS:
        faults.append(Fault(path, "needs seconds, minutes, hours, days or weeks, from 1 second to 366 days in all"))
    if config.start_at is not None and config.end_at is not None and config.end_at <= config.start_at:
        faults.append(Fault(join_path(path, "end_at"), "must be after start_at"))
    return faults or _never_faults(config, path)


def _never_faults(config: ScheduleConfig, path: str) -> list[Fault]:
    """A schedule without any run time, whatever the time is now."""
    try:
        if next_slot(config, _first_look(config)) is not None:
            return []
    except ValueError as error:
        return [Fault(join_path(path, "exclude"), str(error))]
    bounded = config.start_at is not None or config.end_at is not None
    where = " between start_at and end_at" if bounded else ""
    return [Fault(path, f"has no run time within {HORIZON_YEARS} years{where}")]


def _first_look(config: ScheduleConfig) -> datetime:
    """From where a search that goes `HORIZON_YEARS` ahead says whether there is any run time at all."""
    if isinstance(config, AtSchedule):
        return config.at - timedelta(seconds=1)
    if config.start_at is None and config.end_at is not None:
        return max(config.end_at - timedelta(days=365 * HORIZON_YEARS), EARLIEST)
    return datetime(2000, 1, 1, tzinfo=EARLIEST.tzinfo)
