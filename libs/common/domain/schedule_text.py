"""A schedule as an English sentence, for people who do not read cron.

The sentence of an expression is cron-descriptor's; the rest of the config is added to it.
"""

from itertools import chain

from cron_descriptor import ExpressionDescriptor, Options  # pyright: ignore[reportMissingTypeStubs]

from libs.common.domain.dates import rfc3339
from libs.common.domain.schedule_config import AtSchedule, CronSchedule, DateRange, IntervalSchedule, ScheduleConfig
from libs.common.domain.schedule_cron import expanded
from libs.common.domain.schedule_exclusions import DATE

_SHOWN_EXCLUSIONS = 5


def describe(config: ScheduleConfig) -> str:
    """What the schedule does, as one sentence: when, in which zone, from and until when, how often, and when not."""
    return ", ".join(chain([_when(config)], _bounds(config), _exclusions(config)))


def _when(config: ScheduleConfig) -> str:
    match config:
        case CronSchedule():
            texts = [_describe_cron(expression) for expression in config.all_expressions]
            return f"{'; '.join(texts)} ({config.timezone})"
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
    text = _describe_cron(item)
    return text[:1].lower() + text[1:]


def _describe_cron(expression: str) -> str:
    options = Options()
    options.use_24hour_time_format = True
    options.locale_code = "en_US"
    try:
        return str(ExpressionDescriptor(expanded(expression), options).get_full_description())
    except Exception:  # noqa: BLE001  it knows fewer forms than we do and raises various errors for the others
        return f"Cron {expression}"
