"""Schedules: expected instants around daylight-saving changes in several zones, intervals, bounds and faults."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.domain.schedule import next_run
from libs.common.domain.schedule_config import AtSchedule, CronSchedule, IntervalSchedule
from libs.common.domain.schedule_validation import schedule_faults


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def runs(config: Any, after: str, count: int) -> list[str]:
    found: list[str] = []
    instant: datetime | None = at(after)
    while len(found) < count and (instant := next_run(config, instant)) is not None:
        found.append(instant.strftime("%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("zone", "expression", "after", "expected"),
    [
        # spring in New York 2026-03-08: 02:00 EST → 03:00 EDT
        ("America/New_York", "0 9 * * *", "2026-03-07T00:00", ["03-07 14:00", "03-08 13:00", "03-09 13:00"]),
        ("America/New_York", "30 2 * * *", "2026-03-07T12:00", ["03-08 07:00", "03-09 06:30"]),
        ("America/New_York", "*/30 * * * *", "2026-03-08T06:00", ["03-08 06:30", "03-08 07:00", "03-08 07:30"]),
        # autumn in New York 2026-11-01: 02:00 EDT → 01:00 EST
        ("America/New_York", "30 1 * * *", "2026-10-31T12:00", ["11-01 05:30", "11-02 06:30"]),
        ("America/New_York", "0 * * * *", "2026-11-01T04:30", ["11-01 05:00", "11-01 06:00", "11-01 07:00"]),
        ("America/New_York", "0 9 * * *", "2026-10-31T00:00", ["10-31 13:00", "11-01 14:00"]),
        # Berlin 2026-03-29 and 2026-10-25
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00", ["03-29 01:00", "03-30 00:30"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00", ["10-25 00:30", "10-26 01:30"]),
        # half an hour: Lord Howe 2026-04-05 02:00 +11 → 01:30 +10:30
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-03T20:00", ["04-04 14:45", "04-05 15:15"]),
        # midnight gap: Cairo 2026-04-24 00:00 → 01:00; no day is lost
        ("Africa/Cairo", "0 0 * * *", "2026-04-22T23:00", ["04-23 22:00", "04-24 21:00"]),
        # no daylight saving
        ("Asia/Kolkata", "0 9 * * *", "2026-03-29T00:00", ["03-29 03:30", "03-30 03:30"]),
        ("UTC", "0 9 * * 1-5", "2026-11-20T09:00", ["11-23 09:00"]),
        ("UTC", "@daily", "2026-11-20T09:00", ["11-21 00:00", "11-22 00:00"]),
        ("UTC", "0 0 L 2 *", "2026-01-01T00:00", ["02-28 00:00"]),
        ("UTC", "0 0 * * MON#1", "2026-11-01T00:00", ["11-02 00:00", "12-07 00:00"]),
    ],
)
def test_cron(zone: str, expression: str, after: str, expected: list[str]) -> None:
    assert runs(CronSchedule(expression=expression, timezone=zone), after, len(expected)) == expected


def test_six_fields_have_seconds() -> None:
    assert next_run(CronSchedule(expression="*/20 * * * * *"), at("2026-01-01T00:00:20")) == at("2026-01-01T00:00:40")


def test_several_expressions_give_the_earliest() -> None:
    config = CronSchedule(expressions=("0 9 * * *", "0 17 * * *"))
    assert runs(config, "2026-01-01T00:00", 3) == ["01-01 09:00", "01-01 17:00", "01-02 09:00"]


@given(
    st.sampled_from(
        ["America/New_York", "Europe/Berlin", "Africa/Cairo", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]
    ),
    st.sampled_from(["30 2 * * *", "0 0 * * *", "*/15 * * * *", "5 1-3 * * *", "0 */2 * * 0", "30 1 * * * *"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
)
def test_a_run_is_always_later_and_in_utc(zone: str, expression: str, naive: datetime) -> None:
    after = naive.replace(tzinfo=UTC)
    run = next_run(CronSchedule(expression=expression, timezone=zone), after)
    assert run is not None
    assert run > after
    assert run.utcoffset() == timedelta(0)
    assert next_run(CronSchedule(expression=expression, timezone=zone), run - timedelta(microseconds=1)) == run


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (IntervalSchedule(minutes=30), "2026-11-21T10:30:00"),
        (IntervalSchedule(hours=1, minutes=30), "2026-11-21T10:30:00"),
        (IntervalSchedule(days=1), "2026-11-22T00:00:00"),
        (IntervalSchedule(weeks=1), "2026-11-23T00:00:00"),
        (IntervalSchedule(minutes=30, anchor=at("2026-01-01T00:07:00")), "2026-11-21T10:37:00"),
        (IntervalSchedule(minutes=30, start_at=at("2027-01-01T00:05:00")), "2027-01-01T00:05:00"),
    ],
)
def test_intervals(config: IntervalSchedule, expected: str) -> None:
    assert next_run(config, at("2026-11-21T10:11:12")) == at(expected)


@given(st.integers(1, 10**6), st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))
def test_intervals_are_even_and_strictly_later(seconds: int, naive: datetime) -> None:
    config, after = IntervalSchedule(seconds=seconds), naive.replace(tzinfo=UTC)
    first = next_run(config, after)
    assert first is not None
    assert after < first <= after + timedelta(seconds=seconds)
    assert next_run(config, first) == first + timedelta(seconds=seconds)


def test_once() -> None:
    config = AtSchedule(at=at("2026-12-01T00:00"))
    assert next_run(config, at("2026-11-30T00:00")) == at("2026-12-01T00:00")
    assert next_run(config, at("2026-12-01T00:00")) is None


def test_start_and_end_bound_the_runs() -> None:
    config = CronSchedule(expression="0 9 * * *", start_at=at("2026-01-02T09:00"), end_at=at("2026-01-03T09:00"))
    assert runs(config, "2025-01-01T00:00", 5) == ["01-02 09:00", "01-03 09:00"]


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (5, "c"),
        ({}, "c.type"),
        ({"type": "never"}, "c.type"),
        ({"type": "cron"}, "c.expression"),
        ({"type": "cron", "expression": "61 * * * *"}, "c.expression"),
        ({"type": "cron", "expression": "* * * *"}, "c.expression"),
        ({"type": "cron", "expression": "0 0 30 2 *"}, "c.expression"),
        ({"type": "cron", "expression": "@reboot"}, "c.expression"),
        ({"type": "cron", "expression": 5}, "c.expression"),
        ({"type": "cron", "expressions": ["0 9 * * *", "x"]}, "c.expressions[1]"),
        ({"type": "cron", "expression": "0 9 * * *", "timezone": "Mars/Base"}, "c.timezone"),
        ({"type": "cron", "expression": "0 9 * * *", "timezone": "../../etc/passwd"}, "c.timezone"),
        ({"type": "cron", "expression": "0 9 * * *", "minutes": 5}, "c.minutes"),
        ({"type": "cron", "expression": "0 9 * * *", "overlap": "never"}, "c.overlap"),
        ({"type": "interval"}, "c"),
        ({"type": "interval", "seconds": -1}, "c.seconds"),
        ({"type": "interval", "weeks": 100}, "c"),
        ({"type": "at"}, "c.at"),
        ({"type": "at", "at": "tomorrow"}, "c.at"),
        (
            {
                "type": "at",
                "at": "2026-01-01T00:00:00Z",
                "start_at": "2026-01-02T00:00:00Z",
                "end_at": "2026-01-01T00:00:00Z",
            },
            "c.end_at",
        ),
    ],
)
def test_faults(raw: Any, path: str) -> None:
    assert path in [fault.path for fault in schedule_faults(raw, "c")]


def test_a_schedule_in_the_past_is_no_fault() -> None:
    assert schedule_faults({"type": "at", "at": "2020-01-01T00:00:00Z"}, "c") == []


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from("type expression expressions timezone seconds at start_at".split()),
        st.text(max_size=12) | st.integers() | st.lists(st.text(max_size=5), max_size=3),
    )
)
def test_faults_never_raise(raw: dict[str, Any]) -> None:
    for kind in ("cron", "interval", "at"):
        schedule_faults({**raw, "type": kind}, "c")
