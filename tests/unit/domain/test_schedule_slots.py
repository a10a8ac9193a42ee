"""Slots as an iterator: unions, bounds, faults, marks, jitter, and how much work they may be."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.schedule import LATEST, Slot, dispatch_delay, next_slot, slots
from libs.common.domain.schedule_config import AtSchedule, CronSchedule, IntervalSchedule
from libs.common.domain.schedule_validation import schedule_faults
from tests.unit.domain.counting import calls_of

DAY = timedelta(days=1)
START = datetime(2026, 11, 20, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown(config: Any, after: datetime, count: int) -> list[str]:
    return [f"{slot.instant:%m-%d %H:%M}" for slot in slots(config, after, limit=count)]


def test_several_expressions_are_united_and_each_slot_comes_once() -> None:
    config = CronSchedule(expression="0 */6 * * *", expressions=("0 0,9 * * *", "0 9,18 * * *"))
    assert shown(config, START, 5) == ["11-20 06:00", "11-20 09:00", "11-20 12:00", "11-20 18:00", "11-21 00:00"]


def test_what_is_due_anyway_right_after_a_gap_is_no_mark_of_it() -> None:
    spring, new_york = at("2026-03-08T05:00"), "America/New_York"
    made_up = CronSchedule(expression="30 2 * * *", timezone=new_york)
    both = CronSchedule(expressions=("30 2 * * *", "0 3 * * *"), timezone=new_york)
    assert next_slot(made_up, spring) == Slot(at("2026-03-08T07:00"), "gap")
    assert next_slot(both, spring) == Slot(at("2026-03-08T07:00"), None)
    assert next_slot(CronSchedule(expression="0 2,3 * * *", timezone=new_york), spring) == Slot(at("2026-03-08T07:00"))


def test_intervals_and_instants_show_the_repeated_hour_and_keep_their_rhythm() -> None:
    config = IntervalSchedule(hours=1, timezone="America/New_York")
    found = list(slots(config, at("2026-11-01T04:00"), limit=3))
    assert [slot.mark for slot in found] == ["fold", "fold", None]
    assert [second.instant - first.instant for first, second in pairwise(found)] == [timedelta(hours=1)] * 2
    once = AtSchedule(at=at("2026-11-01T05:30"), timezone="America/New_York")
    assert next_slot(once, START - 30 * DAY) == Slot(at("2026-11-01T05:30"), "fold")


def test_until_and_limit() -> None:
    config = CronSchedule(expression="0 9 * * *")
    assert len(list(slots(config, START, at("2026-11-22T09:00")))) == 3  # the end is included
    assert len(list(slots(config, START, at("2026-11-22T08:59")))) == 2
    assert len(list(slots(config, START, limit=7))) == 7
    assert next(slots(config, at("2026-11-20T09:00"))).instant == at("2026-11-21T09:00")  # strictly after


def test_start_and_end_are_included() -> None:
    config = IntervalSchedule(hours=1, start_at=at("2026-11-20T10:30"), end_at=at("2026-11-20T12:30"))
    assert shown(config, START, 9) == ["11-20 10:30", "11-20 11:30", "11-20 12:30"]


@given(
    st.builds(
        IntervalSchedule,
        seconds=st.integers(1, 10**6),
        anchor=st.datetimes(datetime(1980, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)),
        timezone=st.sampled_from(["UTC", "Africa/Cairo", "Australia/Lord_Howe"]),
        exclude=st.sampled_from([(), ("2026-11-21",), ("* * * * 6,0",)]),
    ),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
)
def test_intervals_keep_their_beat_from_the_anchor(config: IntervalSchedule, after: datetime) -> None:
    assert config.anchor is not None
    found = [slot.instant for slot in slots(config, after, limit=5)]
    assert len(found) == 5
    assert found[0] > after
    assert all((instant - config.anchor) % timedelta(seconds=config.period_seconds) == timedelta() for instant in found)
    if not config.exclude:
        assert found[0] - after <= timedelta(seconds=config.period_seconds)


def test_nothing_is_due_after_the_end_of_the_calendar() -> None:
    for config in (CronSchedule(expression="* * * * *"), IntervalSchedule(seconds=1), AtSchedule(at=LATEST)):
        assert next_slot(config, LATEST) is None
        assert next_slot(config, datetime.max.replace(tzinfo=UTC)) is None
    assert next_slot(CronSchedule(expression="* * * * *"), datetime.min.replace(tzinfo=UTC)) == Slot(
        at("1970-01-01T00:00")
    )


def test_jitter_is_the_same_whenever_asked_and_even() -> None:
    config = IntervalSchedule(minutes=1, jitter_seconds=30)
    delays = [
        dispatch_delay(config, UUID(int=trigger), START + number * timedelta(minutes=1))
        for trigger in range(20)
        for number in range(100)
    ]
    assert dispatch_delay(config, UUID(int=0), START.astimezone()) == delays[0]
    assert all(timedelta() <= delay < timedelta(seconds=30) for delay in delays)
    assert len(set(delays)) == len(delays)
    thirds = [sum(delay // timedelta(seconds=10) == third for delay in delays) for third in range(3)]
    assert all(abs(count - len(delays) / 3) < 150 for count in thirds)
    assert dispatch_delay(IntervalSchedule(minutes=1), UUID(int=1), START) == timedelta()


@pytest.mark.parametrize(
    ("raw", "faults"),
    [
        ({"expression": "0 0 1 1 *", "start_at": "2026-02-01T00:00:00Z", "end_at": "2026-12-01T00:00:00Z"},
         {"c": "has no run time within 50 years between start_at and end_at"}),
        ({"expression": "* * * * *", "exclude": ["* * * * *"]},
         {"c.exclude": "leaves out more than 5000 days in a row"}),
        ({"expression": "* * * * * *", "exclude": ["0-29 * * * *", "30-59 * * * *"]},
         {"c.exclude": "leaves out more than 10000 planned times in a row"}),
        ({"expression": "0 0 * * *", "start_at": "0001-01-01T00:00:00Z", "end_at": "9999-12-31T00:00:00Z"},
         {"c.start_at": "must lie between 1970 and 9900", "c.end_at": "must lie between 1970 and 9900"}),
        ({"expression": "0 9 * * *", "dst_gap": "both", "dst_fold": "x", "catchup": "some", "catchup_seconds": -1,
          "max_runs": 0, "jitter_seconds": 100_000, "pause_after_failures": 0, "overlap": 5},
         {f"c.{name}": "" for name in ("dst_gap dst_fold catchup catchup_seconds max_runs jitter_seconds "
                                       "pause_after_failures overlap").split()}),
        ({"expression": "0 9 * * *", "exclude": ["2026-02-30", {"from": "2026-01-02", "to": "2026-01-01"},
                                                 {"from": "x"}, 5, "61 * * * *", "2026-01-01"]},
         {"c.exclude[0]": "'2026-02-30' is not a day of the calendar", "c.exclude[1].to": "must not be before from",
          "c.exclude[2].from": "", "c.exclude[2].to": "is required", "c.exclude[3]": "", "c.exclude[4]": ""}),
        ({"expression": "0 9 * * *", "exclude": ["* * * * 0"] * 21},
         {"c.exclude": "has at most 500 entries, of which 20 are expressions"}),
        ({"expression": "0 9 * * *", "input": {"a": [1, {"b": "{{ now }}"}]}},
         {"c.input.a[1].b": "is taken as it is, so there can be no template in it"}),
        ({"expression": "0 9 * * *", "input": []}, {"c.input": ""}),
        ({"expressions": ["0 9 * * *"] * 21}, {"c.expressions": ""}),
    ],
)  # fmt: skip
def test_every_fault_has_its_path(raw: dict[str, Any], faults: dict[str, str]) -> None:
    found = {fault.path: fault.message for fault in schedule_faults({"type": "cron", **raw}, "c")}
    assert found.keys() == faults.keys()
    assert all(message in ("", found[path]) for path, message in faults.items())


def test_choices_of_the_clock_are_for_cron_only() -> None:
    assert [fault.path for fault in schedule_faults({"type": "interval", "hours": 1, "dst_gap": "skip"}, "c")] == [
        "c.dst_gap"
    ]


def test_a_full_config_is_read_and_written_again() -> None:
    raw = {
        "type": "cron", "expression": "0 9 * * 1-5", "timezone": "Europe/Berlin", "start_at": "2026-01-01T00:00:00Z",
        "end_at": "2027-01-01T00:00:00Z", "max_runs": 10, "jitter_seconds": 30.0, "overlap": "buffer_one",
        "exclude": ["2026-12-25", {"from": "2026-12-28", "to": "2026-12-31"}, "* * 1 1 *"], "catchup": "last",
        "catchup_seconds": 600.0, "pause_after_failures": 3, "input": {"region": "eu", "list": [1, None]},
        "dst_gap": "skip", "dst_fold": "both",
    }  # fmt: skip
    assert schedule_faults(raw, "c") == []
    assert msgspec.json.decode(msgspec.json.encode(msgspec.convert(raw, CronSchedule))) == raw


@pytest.mark.parametrize(
    ("expression", "least"),
    [
        ("* * * * * *", timedelta(seconds=1)),
        ("0 9 * * 1-5", timedelta(days=1)),
        ("0 0 * 2 MON#5", timedelta(days=365 * 10)),  # 29 February on a Monday
    ],
)
def test_the_next_slot_costs_little_however_near_or_far(expression: str, least: timedelta) -> None:
    config = CronSchedule(expression=expression, timezone="Europe/London")
    found = next_slot(config, at("2026-07-03T09:00"))
    assert found is not None
    assert found.instant - at("2026-07-03T09:00") >= least
    assert calls_of(lambda: next_slot(config, at("2026-07-03T09:00"))) < 1_000


def test_every_second_of_a_day_costs_a_few_calls_each() -> None:
    config = CronSchedule(expression="* * * * * *", timezone="Europe/London")
    found: list[Slot] = []
    assert calls_of(lambda: found.extend(slots(config, START, limit=86_400))) < 20 * 86_400
    assert found[-1].instant - found[0].instant == timedelta(seconds=86_399)
