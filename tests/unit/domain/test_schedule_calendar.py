"""The calendar of cron expressions: ends of months and years, leap days, weekdays, over all days from 1990 to 2037."""

import calendar
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.domain.schedule import next_run, slots
from libs.common.domain.schedule_config import CronSchedule
from libs.common.domain.schedule_cron import cron_problem, read_cron

FIRST, LAST = date(1990, 1, 1), date(2037, 12, 31)
DAYS = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
MONDAY, TUESDAY, FRIDAY, SUNDAY = 0, 1, 4, 6


def length(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def is_last_weekday(day: date) -> bool:
    rest = [day.replace(day=number) for number in range(day.day, length(day) + 1)]
    return [other for other in rest if other.weekday() <= FRIDAY] == [day]


def is_nearest(target: int) -> Callable[[date], bool]:
    """Whether the day is, of the weekdays of its month, the one nearest to the target."""

    def judge(day: date) -> bool:
        if target > length(day):
            return False
        weekdays = [number for number in range(1, length(day) + 1) if day.replace(day=number).weekday() <= FRIDAY]
        return min(weekdays, key=lambda number: abs(number - target)) == day.day

    return judge


def nth(weekday: int, number: int) -> Callable[[date], bool]:
    return lambda day: day.weekday() == weekday and (day.day - 1) // 7 + 1 == number


def last(weekday: int) -> Callable[[date], bool]:
    return lambda day: day.weekday() == weekday and day.day + 7 > length(day)


RULES: list[tuple[str, Callable[[date], bool]]] = [
    ("0 0 * * *", lambda day: True),
    ("0 0 L * *", lambda day: day.day == length(day)),
    ("0 0 L 2 *", lambda day: day.month == 2 and day.day == length(day)),
    ("0 0 LW * *", is_last_weekday),
    ("0 0 1W * *", is_nearest(1)),
    ("0 0 15W * *", is_nearest(15)),
    ("0 0 30W * *", is_nearest(30)),
    ("0 0 31W * *", is_nearest(31)),
    ("0 0 3W,20W,L 1-6 *", lambda day: day.month <= 6 and (
        is_nearest(3)(day) or is_nearest(20)(day) or day.day == length(day))),
    ("0 0 * * FRI#2", nth(FRIDAY, 2)),
    ("0 0 * * 1#5", nth(MONDAY, 5)),
    ("0 0 * * 0#1,7#3", lambda day: nth(SUNDAY, 1)(day) or nth(SUNDAY, 3)(day)),
    ("0 0 * * 5L", last(FRIDAY)),
    ("0 0 * * friL", last(FRIDAY)),
    ("0 0 * * SUNL,7L", last(SUNDAY)),
    ("0 0 29 2 *", lambda day: (day.month, day.day) == (2, 29)),
    ("0 0 * 2 mon#5", lambda day: (day.month, day.day) == (2, 29) and day.weekday() == MONDAY),
    ("0 0 31 * *", lambda day: day.day == 31),
    ("0 0 31 12 *", lambda day: (day.month, day.day) == (12, 31)),
    ("@yearly", lambda day: (day.month, day.day) == (1, 1)),
    ("@monthly", lambda day: day.day == 1),
    ("@weekly", lambda day: day.weekday() == SUNDAY),
    ("0 0 * jan,Mar-APR mon-wed", lambda day: day.month in (1, 3, 4) and day.weekday() <= 2),
    ("0 0 13 * 5", lambda day: day.day == 13 or day.weekday() == FRIDAY),  # two lists: either
    ("0 0 */2 * 2", lambda day: day.day % 2 == 1 and day.weekday() == TUESDAY),  # a star: both
    ("0 0 15W * 1", lambda day: is_nearest(15)(day) or day.weekday() == MONDAY),
    ("0 0 * * 5-7", lambda day: day.weekday() >= FRIDAY),
    ("0 0 10-20/5 6/3 *", lambda day: day.day in (10, 15, 20) and day.month in (6, 9, 12)),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "rule"), RULES, ids=[expression for expression, _ in RULES])
def test_the_days_of_48_years(expression: str, rule: Callable[[date], bool]) -> None:
    assert cron_problem(expression) is None
    start = datetime(1989, 12, 31, 23, 59, tzinfo=UTC)
    found = slots(CronSchedule(expression=expression), start, datetime(2037, 12, 31, 23, tzinfo=UTC))
    expected = [day for day in DAYS if rule(day)]
    assert [slot.instant.date() for slot in found] == expected
    assert [day for day in DAYS if read_cron(expression).is_on(day)] == expected


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("2026-01-01", "2028-02-29"),
        ("2028-02-29", "2032-02-29"),
        ("2096-02-29", "2104-02-29"),  # 2100 is no leap year
    ],
)
def test_leap_days(after: str, expected: str) -> None:
    found = next_run(CronSchedule(expression="0 0 29 2 *"), datetime.fromisoformat(after).replace(tzinfo=UTC))
    assert found is not None
    assert found.date().isoformat() == expected


def test_the_rarest_day_is_found_over_the_end_of_a_century() -> None:
    config = CronSchedule(expression="0 0 * 2 MON#5", timezone="Asia/Tokyo")
    assert next_run(config, datetime(2072, 3, 1, tzinfo=UTC)) == datetime(2112, 2, 28, 15, tzinfo=UTC)


def test_the_turn_of_a_year_comes_zone_by_zone() -> None:
    zones = ["Pacific/Kiritimati", "Asia/Kathmandu", "UTC", "America/St_Johns", "Pacific/Pago_Pago"]
    runs = [
        next_run(CronSchedule(expression="@yearly", timezone=zone), datetime(2027, 6, 1, tzinfo=UTC)) for zone in zones
    ]
    assert [f"{run:%d %H:%M}" for run in runs if run] == ["31 10:00", "31 18:15", "01 00:00", "01 03:30", "01 11:00"]


fields = st.tuples(
    st.sampled_from(["0", "*/7", "59", "5-8,30", "*"]), st.sampled_from(["0", "*/11", "59", "1,2,3", "*"]),
    st.sampled_from(["0", "23", "*/6", "*"]), st.sampled_from(["*", "1", "L", "28-31", "15W"]),
    st.sampled_from(["*", "2", "*/5"]), st.sampled_from(["*", "0", "1-5", "3#2"]),
).map(" ".join)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(fields, st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1)))
def test_six_fields_to_the_second(expression: str, naive: datetime) -> None:
    """All seconds of three hours, looked at one by one."""
    cron, start = read_cron(expression), naive.replace(microsecond=0, tzinfo=UTC)
    seconds = [start + timedelta(seconds=number) for number in range(1, 3 * 3600)]
    found = [slot.instant for slot in slots(CronSchedule(expression=expression), start, seconds[-1])]
    assert found == [second for second in seconds if cron.is_at(second.replace(tzinfo=None))]


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("61 * * * *", "is not a cron expression: bad minute '61' (0 to 59)"),
        ("0 24 * * *", "is not a cron expression: bad hour '24' (0 to 23)"),
        ("60 0 0 * * *", "is not a cron expression: bad second '60' (0 to 59)"),
        ("0 0 0 * *", "is not a cron expression: bad day-of-month '0' (1 to 31)"),
        ("0 0 32W * *", "is not a cron expression: bad day-of-month '32W' (1 to 31)"),
        ("0 0 * 13 *", "is not a cron expression: bad month '13' (1 to 12)"),
        ("0 0 * * 8", "is not a cron expression: bad day-of-week '8' (0 to 7)"),
        ("0 0 * * 1#6", "is not a cron expression: bad day-of-week '1#6' (0 to 7)"),
        ("*/0 * * * *", "is not a cron expression: bad minute '*/0' (0 to 59)"),
        ("* * * *", "is not a cron expression: needs 5 or 6 fields, not 4"),
        ("", "is not a cron expression: needs 5 or 6 fields, not 0"),
        ("0 0 30 2 *", "will never be due: no month has such a day"),
        ("0 0 31 4,6,9,11 *", "will never be due: no month has such a day"),
        ("0 0 31W 2 *", "will never be due: no month has such a day"),
        ("0 0 */31 * 1#5", "will never be due: no month has such a day"),
    ],
)
def test_what_is_wrong_with_an_expression(expression: str, problem: str) -> None:
    assert cron_problem(expression) == problem
