"""Schedules: when a cron expression, an interval or a single instant is due next.

Time arithmetic only: instants in and out are aware and in UTC. Daylight saving as in Debian's cron (cronsim): a job
at a fixed time that falls into the gap of spring runs right after it, one in the repeated hour of autumn runs once,
and wildcard jobs keep their rhythm.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
from cron_descriptor import ExpressionDescriptor, Options  # pyright: ignore[reportMissingTypeStubs]
from cronsim import CronSim, CronSimError

from libs.common.domain.dates import read_zone, rfc3339
from libs.common.domain.faults import is_array, is_object, struct_faults
from libs.common.domain.paths import kind_of
from libs.common.domain.trigger import (
    LATER_SCHEDULE_FIELDS,
    SCHEDULE_TYPES,
    AtSchedule,
    CronSchedule,
    IntervalSchedule,
    ScheduleConfig,
)
from libs.common.errors import Fault

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
MIN_PERIOD_SECONDS = 1
MAX_PERIOD_SECONDS = 366 * 86_400

_ANCHOR = datetime(1970, 1, 5, tzinfo=UTC)
"""A Monday, so that weeks begin on Mondays and every shorter interval at full hours, minutes …"""
_MACRO = re.compile(r"@[a-z_]+", re.IGNORECASE)


def next_run(config: ScheduleConfig, after: datetime) -> datetime | None:
    """The first due instant strictly after `after`, or None when there is none any more. Raises `ValueError` for a bad
    config.
    """
    floor = after
    if config.start_at is not None and config.start_at > after:
        floor = config.start_at.astimezone(UTC) - timedelta(microseconds=1)
    try:
        found = _NEXT[type(config)](config, floor)
    except OverflowError:
        return None
    if found is None or (config.end_at is not None and found > config.end_at):
        return None
    return found


def _next_cron(config: CronSchedule, after: datetime) -> datetime | None:
    zone = read_zone(config.timezone)
    runs = [_next_of(expression, after, zone) for expression in config.all_expressions]
    return min((run for run in runs if run is not None), default=None)


def _next_of(expression: str, after: datetime, zone: Any) -> datetime | None:
    try:
        for local in CronSim(_expanded(expression), after.astimezone(zone)):
            run = local.astimezone(UTC)
            if run > after:  # around a repeated hour the first results may lie before
                return run
    except CronSimError as error:
        raise ValueError(str(error)) from None
    return None


def _expanded(expression: str) -> str:
    return NAMED.get(expression.strip().lower(), expression)


def _next_interval(config: IntervalSchedule, after: datetime) -> datetime:
    anchor = config.anchor or config.start_at or _ANCHOR
    period = timedelta(seconds=config.period_seconds)
    if period <= timedelta(0):
        raise ValueError("the interval is empty")
    passed = (after - anchor) // period
    return (anchor + (passed + 1) * period).astimezone(UTC)


def _next_at(config: AtSchedule, after: datetime) -> datetime | None:
    return config.at.astimezone(UTC) if config.at > after else None


_NEXT = cast(
    "dict[type, Callable[[Any, datetime], datetime | None]]",
    {CronSchedule: _next_cron, IntervalSchedule: _next_interval, AtSchedule: _next_at},
)


def describe(config: ScheduleConfig) -> str:
    """The schedule as an English sentence."""
    match config:
        case CronSchedule():
            texts = [_describe_cron(expression) for expression in config.all_expressions]
            return f"{'; '.join(texts)} ({config.timezone})"
        case IntervalSchedule():
            parts = [(name, getattr(config, name)) for name in ("weeks", "days", "hours", "minutes", "seconds")]
            return "Every " + ", ".join(
                f"{count:g} {name if count != 1 else name[:-1]}" for name, count in parts if count
            )
        case AtSchedule():
            return f"Once at {rfc3339(config.at)}"


def _describe_cron(expression: str) -> str:
    options = Options()
    options.use_24hour_time_format = True
    options.locale_code = "en_US"
    try:
        return str(ExpressionDescriptor(_expanded(expression), options).get_full_description())
    except Exception:  # noqa: BLE001  it knows fewer forms than cronsim and raises various errors for the others
        return f"Cron {expression}"


def schedule_faults(raw: object, path: str, now: datetime | None = None) -> list[Fault]:
    """Every fault of the config of a schedule. With `now`, one that will never be due is a fault too."""
    if not is_object(raw):
        return [Fault(path, f"must be an object, not {kind_of(raw)}")]
    kind = raw.get("type")
    struct = SCHEDULE_TYPES.get(kind) if isinstance(kind, str) else None
    if struct is None:
        return [Fault(f"{path}.type", f"must be one of {', '.join(SCHEDULE_TYPES)}")]
    faults = struct_faults(raw, struct, path, skip=("type",), later=LATER_SCHEDULE_FIELDS)
    faulty = {fault.path for fault in faults}
    faults += _zone_faults(raw, path)
    if kind == "cron":
        faults += _cron_faults(raw, path, faulty)
    if faults:
        return faults
    return _sense_faults(msgspec.convert(raw, cast("type[ScheduleConfig]", ScheduleConfig)), path, now)


def _zone_faults(raw: dict[str, Any], path: str) -> list[Fault]:
    zone = raw.get("timezone", "UTC")
    try:
        if isinstance(zone, str):
            read_zone(zone)
    except ValueError as error:
        return [Fault(f"{path}.timezone", str(error))]
    return []


def _cron_faults(raw: dict[str, Any], path: str, faulty: set[str]) -> list[Fault]:
    single, several = raw.get("expression"), raw.get("expressions")
    if not single and not several and not faulty & {f"{path}.expression", f"{path}.expressions"}:
        return [Fault(f"{path}.expression", "is required: a cron expression, or several in expressions")]
    listed = several if is_array(several) else []
    named = [
        (f"{path}.expression", single),
        *((f"{path}.expressions[{index}]", item) for index, item in enumerate(listed)),
    ]
    texts = [(where, text) for where, text in named if isinstance(text, str) and 0 < len(text) <= 200]
    return [Fault(where, problem) for where, text in texts if (problem := cron_problem(text)) is not None]


def cron_problem(expression: str) -> str | None:
    """What is wrong with a cron expression (5 or 6 fields, or a name such as `@daily`), if anything."""
    if _MACRO.fullmatch(expression.strip()) and expression.strip().lower() not in NAMED:
        return f"{expression!r} is not known; there are {', '.join(NAMED)}"
    try:
        simulation = CronSim(_expanded(expression), datetime(2024, 1, 1, tzinfo=UTC))
        return "will never be due" if next(simulation, None) is None else None
    except CronSimError as error:
        return f"is not a cron expression: {str(error)[:1].lower()}{str(error)[1:]}"
    except Exception:  # noqa: BLE001  cronsim lets ValueError, AssertionError … through for some odd fields
        return "is not a cron expression"


def _sense_faults(config: ScheduleConfig, path: str, now: datetime | None) -> list[Fault]:
    if isinstance(config, IntervalSchedule) and not MIN_PERIOD_SECONDS <= config.period_seconds <= MAX_PERIOD_SECONDS:
        return [Fault(path, "needs seconds, minutes, hours, days or weeks, from 1 second to 366 days in all")]
    if config.start_at is not None and config.end_at is not None and config.end_at <= config.start_at:
        return [Fault(f"{path}.end_at", "must be after start_at")]
    if now is not None and next_run(config, now) is None:
        return [Fault(path, "will never be due")]
    return []
