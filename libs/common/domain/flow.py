"""What the actions decide that only steer the run: which arm, which items, how long to wait."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from libs.common.domain.dates import read_instant, shift
from libs.common.domain.execution import Failure
from libs.common.domain.frames import MAX_ITEMS
from libs.common.domain.planner import Step
from libs.common.domain.pure_actions import ActionFailed

MAX_WAIT_SECONDS = 366 * 86_400.0


def chosen_arm(step: Step, scope: Mapping[str, Any]) -> int:
    """The first arm of a branch whose guard holds; the last one is the default and has none. Raises `TemplateError`."""
    return next(number for number, guard in enumerate(step.arms) if guard is None or guard.holds(scope))


def loop_items(config: Mapping[str, Any]) -> list[Any]:
    """The items of a loop. Raises `ActionFailed` when they are no list, or too many."""
    items = config["items"]
    if not isinstance(items, list):
        raise ActionFailed(Failure("invalid_config", f"items must be a list, not {type(items).__name__}"))
    if len(items) > MAX_ITEMS:  # pyright: ignore[reportUnknownArgumentType]
        raise ActionFailed(Failure("invalid_config", f"there are more than {MAX_ITEMS} items"))
    return items  # pyright: ignore[reportUnknownVariableType]


def wait_until(config: Mapping[str, Any], now: datetime) -> datetime:
    """When a `wait` ends that begins now: after `seconds`, or `until` a time or a shift such as `+3 days`. Raises
    `ActionFailed` when its config does not say.
    """
    try:
        instant = _instant(config.get("seconds"), config.get("until"), now)
    except ValueError as error:
        raise ActionFailed(Failure("invalid_config", str(error))) from None
    if (instant - now).total_seconds() > MAX_WAIT_SECONDS:
        raise ActionFailed(Failure("invalid_config", "a wait lasts at most 366 days"))
    return max(instant, now)


def latest_end(timeout_seconds: Any, now: datetime) -> datetime | None:
    """When a wait that begins now is in vain; None: it has no end. Raises `ActionFailed` for what is no duration."""
    if timeout_seconds is None:
        return None
    is_number = isinstance(timeout_seconds, int | float) and not isinstance(timeout_seconds, bool)
    if not is_number or not 0 <= timeout_seconds <= MAX_WAIT_SECONDS:
        raise ActionFailed(Failure("invalid_config", "timeout_seconds must be from 0 to 366 days"))
    return now + timedelta(seconds=timeout_seconds)


def _instant(seconds: Any, until: Any, now: datetime) -> datetime:
    if isinstance(seconds, int | float) and not isinstance(seconds, bool):
        if not 0 <= seconds <= MAX_WAIT_SECONDS:
            raise ValueError("a wait lasts from 0 seconds to 366 days")
        return now + timedelta(seconds=seconds)
    if isinstance(until, str) and until.lstrip()[:1] in ("+", "-"):
        return shift(now, until)
    if until is None:
        raise ValueError("a wait needs seconds or until")
    return read_instant(until)
