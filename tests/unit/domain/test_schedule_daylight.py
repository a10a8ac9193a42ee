"""Daylight saving: every change of the clock from 1990 to 2037 in many zones, compared with a slow cron daemon."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.domain.schedule import next_slot, slots
from libs.common.domain.schedule_config import CronSchedule
from tests.unit.domain.debian_cron import Job, Run, changes, runs, ticks

FIRST_YEAR, LAST_YEAR = 1990, 2037
DAY = timedelta(days=1)

ZONES = {
    "America/New_York": 96,
    "Europe/London": 96,
    "Australia/Sydney": 96,
    "Australia/Lord_Howe": 96,  # by half an hour
    "Africa/Cairo": 70,  # at midnight, and not in every year
    "Pacific/Chatham": 96,  # 12:45 and 13:45 ahead of UTC
    "America/Havana": 90,  # forward at midnight
    "Africa/Casablanca": 60,  # back for Ramadan
    "Antarctica/Troll": 60,  # by two hours
    "Pacific/Apia": 20,  # a day that was not
}
"""The zones, and how often their clocks change in those years at least: governments change their minds."""

FIXED = ("30 2 * * *", "0 0 * * *", "15,45 0-4 * * *", "0 3 * * 0", "30 1 13 * 5", "45 1 */2 * 6,0")
WILD = ("*/15 * * * *", "30 * * * *", "0 */2 * * *", "*/30 1 * * *")


def made(zone: str, expression: str, start: datetime, end: datetime, **choices: Any) -> list[Run]:
    """What the schedule says, from `start` until before `end`."""
    config = CronSchedule(expression=expression, timezone=zone, **choices)
    tick = timedelta(microseconds=1)
    return [(slot.instant, slot.mark) for slot in slots(config, start - tick, end - tick)]


@pytest.mark.parametrize("zone", ZONES)
def test_every_change_of_the_clock_as_in_debian(zone: str) -> None:
    days = changes(ZoneInfo(zone), FIRST_YEAR, LAST_YEAR)
    assert len(days) >= ZONES[zone]
    jobs = {expression: Job(expression) for expression in FIXED + WILD}
    for day in days:
        start, end = day - DAY, day + 2 * DAY
        looks = list(ticks(ZoneInfo(zone), start, end))
        for expression, job in jobs.items():
            assert made(zone, expression, start, end) == runs(job, looks), (expression, day)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("gap", ["skip", "shift"])
@pytest.mark.parametrize("fold", ["first", "second", "both"])
def test_the_choices_at_changes_of_the_clock(zone: str, gap: str, fold: str) -> None:
    jobs = {expression: Job(expression) for expression in (FIXED[2], FIXED[0], WILD[3])}
    for day in changes(ZoneInfo(zone), 2006, 2012):
        start, end = day - DAY, day + 2 * DAY
        looks = list(ticks(ZoneInfo(zone), start, end))
        for expression, job in jobs.items():
            found = made(zone, expression, start, end, dst_gap=gap, dst_fold=fold)
            assert found == runs(job, looks, gap, fold), (expression, day)


YEARLY = ("0 0 29 2 *", "45 23 31 * *", "0 0 1 1,7 *", "30 2 * * 0", "15 */3 28-31 * *", "0 12 1-7 * 1")


@pytest.mark.parametrize("year", [1996, 2000, 2023])
@pytest.mark.parametrize("zone", list(ZONES)[:6])
def test_whole_years_with_their_ends_of_months(zone: str, year: int) -> None:
    start, end = datetime(year - 1, 12, 31, tzinfo=UTC), datetime(year + 1, 1, 2, tzinfo=UTC)
    looks = list(ticks(ZoneInfo(zone), start, end))
    for expression in YEARLY:
        assert made(zone, expression, start, end) == runs(Job(expression), looks), expression


quarters = st.sampled_from(["0", "15", "30,45", "*/15", "*/30", "0-45/15"])
hours = st.sampled_from(["0", "1", "2", "3", "23", "0-3", "*/2", "*", "1,2,22", "*/5"])
days = st.sampled_from(["*", "1", "31", "28-31", "*/3", "1-7", "13,15"])
months = st.sampled_from(["*", "3", "10-11", "*/2", "2", "4,9"])
weekdays = st.sampled_from(["*", "0", "7", "1-5", "6,0", "*/2", "5"])
expressions = st.tuples(quarters, hours, days, months, weekdays).map(" ".join)
zones = st.sampled_from([*ZONES, "UTC", "Asia/Tehran", "America/Sao_Paulo", "Asia/Kathmandu", "Antarctica/Casey"])
instants = st.datetimes(datetime(FIRST_YEAR, 1, 1), datetime(LAST_YEAR, 12, 1), timezones=st.just(UTC))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(zones, expressions, instants, st.sampled_from(["skip", "shift"]), st.sampled_from(["first", "second", "both"]))
def test_any_expression_anywhere_over_weeks(zone: str, expression: str, day: datetime, gap: str, fold: str) -> None:
    start = day.replace(minute=0, second=0, microsecond=0)
    end = start + 30 * DAY
    expected = runs(Job(expression), list(ticks(ZoneInfo(zone), start, end)), gap, fold)
    assert made(zone, expression, start, end, dst_gap=gap, dst_fold=fold) == expected


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(zones, st.lists(expressions, min_size=1, max_size=3), st.data())
def test_one_after_the_other_gives_what_all_at_once_gives(zone: str, several: list[str], data: st.DataObject) -> None:
    day = data.draw(st.sampled_from(changes(ZoneInfo(zone), 2006, 2014) or [datetime(2026, 1, 1, tzinfo=UTC)]))
    config = CronSchedule(
        expressions=tuple(several), timezone=zone, dst_gap=data.draw(st.sampled_from(["skip", "shift"])),
        dst_fold=data.draw(st.sampled_from(["first", "second", "both"])),
    )  # fmt: skip
    after = day - DAY + timedelta(seconds=data.draw(st.integers(0, 2 * 86_400)))
    at_once = list(slots(config, after, limit=40))
    one_by_one = [slot := next_slot(config, after)]
    while slot is not None and len(one_by_one) < len(at_once):
        one_by_one.append(slot := next_slot(config, slot.instant))
    assert one_by_one[: len(at_once)] == at_once
    assert all(first.instant < second.instant for first, second in pairwise(at_once))


@pytest.mark.parametrize(
    ("zone", "expression", "choices", "after", "expected"),
    [
        ("America/New_York", "30 2 * * *", {}, "2027-03-14T05:00", ["14 03:00 EDT 07:00 gap", "15 02:30 EDT 06:30"]),
        ("America/New_York", "30 2 * * *", {"dst_gap": "skip"}, "2027-03-14T05:00", ["15 02:30 EDT 06:30"]),
        ("America/New_York", "0 2,3 * * *", {}, "2027-03-14T05:00", ["14 03:00 EDT 07:00", "15 02:00 EDT 06:00"]),
        ("America/New_York", "*/30 * * * *", {}, "2027-03-14T06:00", ["14 01:30 EST 06:30", "14 03:00 EDT 07:00"]),
        ("America/New_York", "30 1 * * *", {}, "2027-11-07T04:00", ["07 01:30 EDT 05:30 fold", "08 01:30 EST 06:30"]),
        ("America/New_York", "30 1 * * *", {"dst_fold": "second"}, "2027-11-07T04:00",
         ["07 01:30 EST 06:30 fold", "08 01:30 EST 06:30"]),
        ("America/New_York", "30 1 * * *", {"dst_fold": "both"}, "2027-11-07T04:00",
         ["07 01:30 EDT 05:30 fold", "07 01:30 EST 06:30 fold", "08 01:30 EST 06:30"]),
        ("America/New_York", "30 * * * *", {"dst_fold": "first"}, "2027-11-07T05:00",
         ["07 01:30 EDT 05:30 fold", "07 01:30 EST 06:30 fold", "07 02:30 EST 07:30"]),
        ("Africa/Cairo", "0 0 * * *", {}, "2026-04-23T12:00", ["24 01:00 EEST 22:00 gap", "25 00:00 EEST 21:00"]),
        ("Australia/Lord_Howe", "15 2 * * *", {}, "2026-10-03T12:00", ["04 02:30 +11 15:30 gap", "05 02:15 +11 15:15"]),
    ],
)  # fmt: skip
def test_the_table_of_the_guide(
    zone: str, expression: str, choices: dict[str, Any], after: str, expected: list[str]
) -> None:
    config = CronSchedule(expression=expression, timezone=zone, **choices)
    found = slots(config, datetime.fromisoformat(after).replace(tzinfo=UTC), limit=len(expected))
    assert [
        f"{slot.instant.astimezone(ZoneInfo(zone)):%d %H:%M %Z} {slot.instant:%H:%M} {slot.mark or ''}".rstrip()
        for slot in found
    ] == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # 2011-12-29 was followed by 2011-12-31: more than three hours are a correction, and nothing is made up for
        ("0 9 * * *", ["2011-12-28 19:00", "2011-12-29 19:00", "2011-12-30 19:00"]),
        ("30 23 30 12 *", []),
    ],
)
def test_the_day_that_was_not(expression: str, expected: list[str]) -> None:
    start, end = datetime(2011, 12, 28, 12, tzinfo=UTC), datetime(2011, 12, 31, 12, tzinfo=UTC)
    assert [f"{instant:%Y-%m-%d %H:%M}" for instant, _ in made("Pacific/Apia", expression, start, end)] == expected


def test_six_fields_keep_the_choices_too() -> None:
    start, end = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)
    found = made("America/New_York", "15,30 30 1 * * *", start, end, dst_fold="both")
    assert [f"{instant:%H:%M:%S}" for instant, _ in found] == ["05:30:15", "05:30:30", "06:30:15", "06:30:30"]
    assert len(made("America/New_York", "15,30 30 1 * * *", start, end)) == 2
