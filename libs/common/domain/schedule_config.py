"""The configuration of a schedule as typed values: cron expressions, an interval or a single instant.

Only the shape: what a faulty config is stands in `schedule_validation`, when a schedule is due in `schedule`.
"""

from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Zoned = Annotated[datetime, msgspec.Meta(tz=True)]
CronText = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]

Overlap = Literal["skip", "buffer_one", "buffer_all", "cancel_running", "allow"]
Catchup = Literal["all", "last", "none"]
DstGap = Literal["skip", "shift"]
DstFold = Literal["first", "second", "both"]

MAX_EXPRESSIONS = 20
MAX_EXCLUSIONS = 500
MAX_JITTER_SECONDS = 86_400


class DateRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days of the schedule's own calendar, both ends included."""

    from_: date = msgspec.field(name="from")
    to: date


class _Schedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What every schedule may say.

    Its bounds (both included), how often it runs in all, by how much a start may be put off, days and times on which
    it does not run, what becomes of a slot that comes while a run goes on (`overlap`) or that was not fired in time
    (`catchup`), after how many failures in a row it pauses, and the input of its runs.
    """

    timezone: str = "UTC"
    start_at: Zoned | None = None
    end_at: Zoned | None = None
    max_runs: Annotated[int, msgspec.Meta(ge=1)] | None = None
    jitter_seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_JITTER_SECONDS)] = 0
    exclude: Annotated[tuple[CronText | DateRange, ...], msgspec.Meta(max_length=MAX_EXCLUSIONS)] = ()
    overlap: Overlap = "allow"
    catchup: Catchup = "all"
    catchup_seconds: Seconds | None = None
    pause_after_failures: Annotated[int, msgspec.Meta(ge=1)] | None = None
    input: dict[str, Any] = {}


class CronSchedule(_Schedule, frozen=True, tag_field="type", tag="cron"):
    """Cron expressions in an IANA time zone: `expression`, or several in `expressions`."""

    expression: CronText | None = None
    expressions: Annotated[tuple[CronText, ...], msgspec.Meta(max_length=MAX_EXPRESSIONS)] = ()
    dst_gap: DstGap = "shift"
    dst_fold: DstFold = "first"

    @property
    def all_expressions(self) -> tuple[str, ...]:
        """Every expression, whichever field holds it."""
        return self.expressions if self.expression is None else (self.expression, *self.expressions)


class IntervalSchedule(_Schedule, frozen=True, tag_field="type", tag="interval"):
    """Every so many seconds, minutes …, which add up; counted from `anchor`, else `start_at`, else Monday 1970-01-05
    00:00 UTC. A day is 24 hours here, a week seven of them: clocks that change do not matter.
    """

    seconds: Seconds = 0
    minutes: Seconds = 0
    hours: Seconds = 0
    days: Seconds = 0
    weeks: Seconds = 0
    anchor: Zoned | None = None

    @property
    def period_seconds(self) -> float:
        """The whole length."""
        return self.seconds + 60 * self.minutes + 3600 * self.hours + 86_400 * self.days + 604_800 * self.weeks


class AtSchedule(_Schedule, frozen=True, tag_field="type", tag="at"):
    """Once, at an instant."""

    at: Zoned


ScheduleConfig = CronSchedule | IntervalSchedule | AtSchedule

SCHEDULE_TYPES: dict[str, type[msgspec.Struct]] = {"cron": CronSchedule, "interval": IntervalSchedule, "at": AtSchedule}
