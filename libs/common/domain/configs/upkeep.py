"""Configs of the actions about the tenant's own history: a report of it, and deleting what is old of it."""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

MAX_PERIOD_DAYS = 366
MAX_AGE_DAYS = 3_660

ALL_OLD = ("executions", "webhook_calls", "events", "notifications")

Old: TypeAlias = Literal["executions", "webhook_calls", "events", "notifications"]


class MakeReportConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Statistics of the last days."""

    period_days: Annotated[
        int, Meta(ge=1, le=MAX_PERIOD_DAYS, description="how many times 24 hours, until it runs")
    ] = 7


class CleanUpConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is older goes for good."""

    older_than_days: Annotated[int, Meta(ge=1, le=MAX_AGE_DAYS, description="how many times 24 hours are kept")]
    what: Annotated[
        Annotated[list[Old], Meta(min_length=1)] | None,
        Meta(description="which of them; finished executions count from their end. Without it all"),
    ] = None
