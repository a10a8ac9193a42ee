"""What a tenant may have and do: the limits, the plans that set them, and when one is near.

A limit that is None does not limit. A plan is a named set of limits; a tenant has a plan and may override single
limits. Numbers only: who counts and who refuses stands elsewhere.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from libs.common.domain.faults import join_path, struct_faults
from libs.common.domain.webhook_settings import RATE, Rate, parse_rate
from libs.common.errors import Fault

UNLIMITED, STANDARD = "unlimited", "standard"
NEAR = 0.8
"""The share of a limit from which on its tenant is warned."""

RateText = Annotated[str, msgspec.Meta(pattern=RATE, description="Calls by period: 10/s, 100/m, 1000/h, 5000/d")]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limits of one tenant. `executions_in_flight` counts those that are pending or running, not those that wait;
    `actions_per_execution` the actions of a definition.
    """

    api_rate: RateText | None = None
    webhook_rate: RateText | None = None
    event_rate: RateText | None = None
    workflows: Count | None = None
    schedules: Count | None = None
    executions_in_flight: Count | None = None
    actions_per_execution: Count | None = None
    payload_bytes: Count | None = None
    stored_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**60)] | None = None
    retention_days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] | None = None


_NO_RATE = "must be a number and a period, as 60/m (s, m, h or d)"
RATES = ("api_rate", "webhook_rate", "event_rate")
STOCKS = ("workflows", "schedules", "executions_in_flight", "stored_bytes")
"""What is counted in the database."""

BUILT_IN: Mapping[str, Limits] = {
    UNLIMITED: Limits(),
    STANDARD: Limits(
        api_rate="3000/m", webhook_rate="6000/m", event_rate="6000/m", workflows=100, schedules=50,
        executions_in_flight=1_000, actions_per_execution=100, payload_bytes=1_048_576, stored_bytes=10 * 2**30,
        retention_days=30,
    ),
}  # fmt: skip
"""Plans that are there without being set."""


def rate_of(limits: Limits, name: str) -> Rate | None:
    """One of `RATES` as numbers; None: any rate."""
    text: str | None = getattr(limits, name)
    return None if text is None else _parsed(text)


@lru_cache(maxsize=1_024)
def _parsed(text: str) -> Rate:
    return parse_rate(text)


def override(plan: Limits, own: Mapping[str, Any]) -> Limits:
    """The plan with what a tenant has of its own; null lifts a limit. `own` has no fault."""
    return msgspec.convert({**msgspec.structs.asdict(plan), **own}, Limits)


def limit_faults(own: Mapping[str, Any], path: str) -> list[Fault]:
    """What is wrong with limits that somebody sets."""
    wrong = {join_path(path, name) for name in RATES if isinstance(own.get(name), str)}
    return [
        Fault(fault.path, _NO_RATE) if fault.path in wrong else fault
        for fault in struct_faults(dict(own), Limits, path)
    ]


def is_near(value: int, used: int) -> bool:
    """Whether so much of a limit is used that its tenant should know."""
    return value > 0 and used >= NEAR * value
