"""Exclusions: what is left is what would be due without them, but for times that are excluded, and costs little."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from libs.common.domain.schedule import Slot, next_slot, slots
from libs.common.domain.schedule_config import CronSchedule, DateRange, IntervalSchedule
from tests.unit.domain.counting import calls_of

START = datetime(2026, 11, 20, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown(config: Any, after: datetime, count: int) -> list[str]:
    return [f"{slot.instant:%m-%d %H:%M}" for slot in slots(config, after, limit=count)]


@pytest.mark.parametrize(
    ("exclude", "expected"),
    [
        (("2026-11-21",), ["11-20 09:00", "11-22 09:00", "11-23 09:00"]),
        ((DateRange(at("2026-11-20").date(), at("2026-11-22").date()),), ["11-23 09:00", "11-24 09:00", "11-25 09:00"]),
        (("* * * * 6,0",), ["11-20 09:00", "11-23 09:00", "11-24 09:00"]),  # whole days
        (("0 9 20 * *", "2026-11-22"), ["11-21 09:00", "11-23 09:00", "11-24 09:00"]),
        (("0 10 * * *",), ["11-20 09:00", "11-21 09:00", "11-22 09:00"]),  # another time of the day
    ],
)
def test_exclusions(exclude: Any, expected: list[str]) -> None:
    assert shown(CronSchedule(expression="0 9 * * *", exclude=exclude), START, 3) == expected
    assert shown(IntervalSchedule(days=1, anchor=at("2026-01-01T09:00"), exclude=exclude), START, 3) == expected


def test_exclusions_are_read_on_the_schedules_own_wall() -> None:
    config = IntervalSchedule(hours=6, timezone="Pacific/Auckland", exclude=("2026-11-21", "* 0-9 * * *"))
    # in Auckland it is 13 hours later, so its 21st lasts until 11:00 UTC
    assert shown(config, START, 3) == ["11-20 06:00", "11-22 00:00", "11-22 06:00"]


def test_times_left_out_one_by_one() -> None:
    config = CronSchedule(expression="*/20 * * * *", exclude=("0 * * * *", "20-40 1-22 * * *"))
    assert shown(config, START, 4) == ["11-20 00:20", "11-20 00:40", "11-20 23:20", "11-20 23:40"]


@pytest.mark.parametrize(
    "config",
    [
        CronSchedule(expression="*/10 * * * * *", timezone="Europe/Berlin", exclude=("* 0-8 * * *", "* 17-23 * * *")),
        IntervalSchedule(seconds=10, timezone="Europe/Berlin", exclude=("* 0-8 * * *", "* 17-23 * * *")),
    ],
)
def test_nights_are_left_out_hour_by_hour(config: Any) -> None:
    evening = list(slots(config, at("2026-11-20T15:59:45"), limit=2))
    assert [slot.instant for slot in evening] == [at("2026-11-20T15:59:50"), at("2026-11-21T08:00:00")]
    assert calls_of(lambda: next_slot(config, at("2026-11-20T16:00"))) < 1_000


def test_an_interval_passes_over_years_that_are_left_out() -> None:
    config = IntervalSchedule(seconds=1, exclude=(DateRange(at("2026-01-01").date(), at("2035-12-31").date()),))
    assert next_slot(config, START) == Slot(at("2036-01-01T00:00"))


# what is excluded, in the calendar's terms: (as configured, does it hold this time on the wall?)
Excluded = tuple[str | DateRange, Callable[[datetime], bool]]
EXCLUDED_MINUTES: Excluded = ("0-29 * * * *", lambda wall: wall.minute < 30)
EXCLUDED: list[Excluded] = [
    ("2027-03-14", lambda wall: wall.date() == date(2027, 3, 14)),
    (
        DateRange(date(2027, 10, 3), date(2027, 11, 6)),
        lambda wall: date(2027, 10, 3) <= wall.date() <= date(2027, 11, 6),
    ),
    ("* 0-2 * * *", lambda wall: wall.hour <= 2),
    ("* 3,23 * * *", lambda wall: wall.hour in (3, 23)),
    EXCLUDED_MINUTES,
    ("30 1,2 * * *", lambda wall: wall.hour in (1, 2) and wall.minute == 30),
    ("* * * * 0", lambda wall: wall.weekday() == 6),
    ("* 12-23 1-7 * *", lambda wall: wall.hour >= 12 and wall.day <= 7),
]
CONFIGS: list[Any] = [
    CronSchedule(expression="30 1,2 * * *"), CronSchedule(expression="*/15 * * * *"),
    CronSchedule(expressions=("0 2,3 * * *", "0 */3 * * *"), dst_fold="both"),
    CronSchedule(expression="0,45 0-3 * * *", dst_gap="skip", dst_fold="second"),
    IntervalSchedule(minutes=25), IntervalSchedule(seconds=1800), IntervalSchedule(hours=25),
]  # fmt: skip
ZONES = ["America/New_York", "Africa/Cairo", "Australia/Lord_Howe", "America/Havana", "Pacific/Chatham"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(CONFIGS[2], "Australia/Lord_Howe", [EXCLUDED_MINUTES], date(2027, 10, 1))
@given(
    st.sampled_from(CONFIGS), st.sampled_from(ZONES), st.lists(st.sampled_from(EXCLUDED), min_size=1, max_size=3),
    st.sampled_from([date(2027, month, 1) for month in (3, 4, 9, 10, 11)]),
)  # fmt: skip
def test_what_is_left(config: Any, zone: str, excluded: list[Excluded], day: date) -> None:
    plain = msgspec.structs.replace(config, timezone=zone)
    lessened = msgspec.structs.replace(plain, exclude=tuple(item for item, _ in excluded))
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    end = start + timedelta(days=16)

    def is_excluded(slot: Slot) -> bool:
        wall = slot.instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        return any(holds(wall) for _, holds in excluded)

    assert list(slots(lessened, start, end)) == [slot for slot in slots(plain, start, end) if not is_excluded(slot)]
