"""A schedule as an English sentence, for people who do not read cron.

The sentence of an expression is cron-descriptor's, but for lists of odd days and for days of month and week that must
both fit, of which it tells a different story than the calendar; cronsim tells the right one. The rest of the config is
added to it.
"""

from collections.abc import Iterable
from itertools import chain

from cron_descriptor import ExpressionDescriptor, Options  # pyright: ignore[reportMissingTypeStubs]
from cronsim.explain import Expression

from libs.common.domain.dates import rfc3339
from libs.common.domain.schedule_config import AtSchedule, CronSchedule, DateRange, IntervalSchedule, ScheduleConfig
from libs.common.domain.schedule_cron import fields_of
from libs.common.domain.schedule_exclusions import DATE

_SHOWN_EXCLUSIONS = 5


def describe(config: ScheduleConfig) -> str:
    """What the schedule does, as one sentence: when, in which zone, from and until when, how often, and when not."""
    return ", ".join(chain([_when(config)], _bounds(config), _exclusions(config)))


def _when(config: ScheduleConfig) -> str:
    match config:
        case CronSchedule():
            return f"{_one_after_another(config.all_expressions)} ({config.timezone})"
        case IntervalSchedule():
            named = [(name, getattr(config, name)) for name in ("weeks", "days", "hours", "minutes", "seconds")]
            parts = [(name, count) for name, count in named if count]
            if len(parts) == 1 and parts[0][1] == 1:
                return f"Every {parts[0][0][:-1]}"
            return "Every " + ", ".join(f"{count:g} {name if count != 1 else name[:-1]}" for name, count in parts)
        case AtSchedule():
            return f"Once at {rfc3339(config.at)}"


def _bounds(config: ScheduleConfig) -> list[str]:
    texts = list[str]()
    if isinstance(config, IntervalSchedule) and config.anchor is not None:
        texts.append(f"counted from {rfc3339(config.anchor)}")
    if config.start_at is not None:
        texts.append(f"from {rfc3339(config.start_at)}")
    if config.end_at is not None:
        texts.append(f"until {rfc3339(config.end_at)}")
    if config.max_runs is not None:
        texts.append("once" if config.max_runs == 1 else f"{config.max_runs} times at most")
    if config.jitter_seconds:
        texts.append(f"each up to {config.jitter_seconds:g} seconds later")
    return texts


def _exclusions(config: ScheduleConfig) -> list[str]:
    if not config.exclude:
        return []
    texts = [_describe_exclusion(item) for item in config.exclude[:_SHOWN_EXCLUSIONS]]
    more = len(config.exclude) - len(texts)
    return ["except " + "; ".join([*texts, f"and {more} more"] if more else texts)]


def _describe_exclusion(item: str | DateRange) -> str:
    if isinstance(item, DateRange):
        return f"{item.from_} to {item.to}"
    if DATE.fullmatch(item):
        return item
    return _lowered(_describe_cron(item))


def _one_after_another(expressions: Iterable[str]) -> str:
    first, *rest = [_describe_cron(expression) for expression in expressions]
    return "; ".join([first, *map(_lowered, rest)])


def _describe_cron(expression: str) -> str:
    *times, days, months, weekdays = fields_of(expression)
    try:
        if "," in days and "W" in days and (days[0] != "*" or weekdays == "*"):
            return _one_after_another(" ".join([*times, day, months, weekdays]) for day in days.split(","))
        must_both = "*" not in (days, weekdays) and "*" in (days[0], weekdays[0])
        odd_list = ("," in days and "L" in days) or ("," in weekdays and ("L" in weekdays or "#" in weekdays))
        if must_both or odd_list:
            return Expression([*["0"][: 3 - len(times)], *times, days, months, weekdays]).explain()
        return _descriptor_text(" ".join([*times, days, months, weekdays]))
    except Exception:  # noqa: BLE001  both know fewer forms than we do and raise various errors for the others
        return f"Cron {expression}"


def _descriptor_text(expression: str) -> str:
    options = Options()
    options.use_24hour_time_format = True
    options.locale_code = "en_US"
    return str(ExpressionDescriptor(expression, options).get_full_description())


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
