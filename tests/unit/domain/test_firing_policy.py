"""What becomes of a due slot, by its lag, by what runs, and by the schedule's policy."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from libs.common.domain.firing_policy import (
    MOST_WAITING,
    Judge,
    due_slots,
    first_slot_from,
    judge_lag,
    read_schedule,
    run_input,
)
from libs.common.domain.schedule_config import IntervalSchedule

SLOT = datetime(2027, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def schedule(**fields: Any) -> IntervalSchedule:
    """Every hour, unless said otherwise."""
    given: dict[str, Any] = {"hours": 1, **fields}
    return IntervalSchedule(**given)


@pytest.mark.parametrize(
    ("policy", "lag", "superseded", "outcome"),
    [
        ({}, 0, False, "fired"),
        ({}, 5, True, "fired"),
        ({}, 6, False, "late"),
        ({}, 6, True, "caught_up"),
        ({}, 60, False, "late"),
        ({}, 61, False, "missed"),
        ({"catchup_seconds": 0}, 5, False, "fired"),
        ({"catchup_seconds": 0}, 6, False, "missed"),
        ({"catchup_seconds": 3600}, 3600, False, "late"),
        ({"catchup_seconds": 1e300}, 86_400, False, "late"),
        ({"catchup": "none", "catchup_seconds": 3600}, 4, True, "fired"),
        ({"catchup": "none", "catchup_seconds": 3600}, 6, False, "missed"),
        ({"catchup": "last", "catchup_seconds": 3600}, 6, False, "late"),
        ({"catchup": "last", "catchup_seconds": 3600}, 6, True, "missed"),
    ],
)
def test_the_outcome_follows_from_the_lag(policy: dict[str, Any], lag: float, superseded: bool, outcome: str) -> None:
    found, reason = judge_lag(schedule(**policy), lag, superseded=superseded)
    assert found == outcome
    assert (reason is not None) == (outcome == "missed")


def judged(overlap: Any, slots: int, *, running: int = 0, waiting: int = 0) -> list[str]:
    """What becomes of so many slots that are due on time, together."""
    judge = Judge(schedule(overlap=overlap), runs=0, running=running, waiting=waiting, suppressed=None)
    return [judge.judge(1, superseded=left > 1).act for left in range(slots, 0, -1)]


def test_slots_that_are_due_together_overlap_as_if_they_had_come_one_by_one() -> None:
    assert judged("allow", 3) == ["run"] * 3
    assert judged("skip", 3) == ["run", "pass", "pass"]
    assert judged("buffer_one", 3) == ["run", "wait", "pass"]
    assert judged("buffer_all", 3) == ["run", "wait", "wait"]
    assert judged("cancel_running", 3) == ["pass", "pass", "replace"]


def test_what_runs_and_what_waits_decide() -> None:
    assert judged("skip", 1, running=1) == ["pass"]
    assert judged("buffer_one", 2, running=1) == ["wait", "pass"]
    assert judged("buffer_one", 1, running=1, waiting=1) == ["pass"]
    assert judged("buffer_one", 1, waiting=1) == ["pass"], "its turn has not come yet, though nothing runs"
    assert judged("buffer_all", 2, running=1, waiting=1) == ["wait", "wait"]
    assert judged("buffer_all", 1, waiting=1) == ["wait"], "nobody overtakes"
    assert judged("buffer_all", 2, running=1, waiting=MOST_WAITING - 1) == ["wait", "pass"]
    assert judged("cancel_running", 1, running=1) == ["replace"]


def test_only_what_runs_or_will_run_counts_for_max_runs() -> None:
    judge = Judge(schedule(overlap="buffer_one", max_runs=5), runs=3, running=1, waiting=0, suppressed=None)
    assert [judge.judge(1, superseded=False).act for _ in range(2)] == ["wait", "pass"]
    assert (judge.runs, judge.exhausted) == (4, False)
    last = Judge(schedule(max_runs=5), runs=4, running=0, waiting=0, suppressed=None)
    assert (last.judge(100, superseded=False).outcome, last.exhausted) == ("missed", False)
    assert (last.judge(1, superseded=False).outcome, last.exhausted) == ("fired", True)


def test_a_suppressed_slot_is_nothing_else() -> None:
    judge = Judge(schedule(catchup="none"), runs=0, running=0, waiting=0, suppressed="paused")
    assert [judge.judge(lag, superseded=True).outcome for lag in (1, 10, 1000)] == ["suppressed"] * 3


def test_what_is_due_comes_with_the_slot_after_it() -> None:
    hourly, half = schedule(hours=1, end_at=SLOT + 2 * HOUR), timedelta(minutes=30)
    assert list(due_slots(hourly, SLOT, SLOT + HOUR + half)) == [(SLOT, SLOT + HOUR), (SLOT + HOUR, SLOT + 2 * HOUR)]
    assert list(due_slots(hourly, SLOT + 2 * HOUR, SLOT + 9 * HOUR)) == [(SLOT + 2 * HOUR, None)]
    assert list(due_slots(hourly, SLOT + half, SLOT + half)) == [(SLOT + half, SLOT + HOUR)], "as it was planned"
    assert list(due_slots(hourly, SLOT + HOUR, SLOT + half)) == list(due_slots(hourly, None, SLOT)) == []
    assert first_slot_from(hourly, SLOT) == SLOT
    assert first_slot_from(hourly, SLOT + 3 * HOUR) is None


def test_the_input_of_a_run_names_its_slot() -> None:
    assert run_input(schedule(input={"a": 1}), SLOT) == b'{"a":1,"scheduled_for":"2027-06-01T12:00:00Z"}'


def test_a_stored_config_that_cannot_be_read_is_an_error() -> None:
    assert read_schedule('{"type":"interval","seconds":5}') == IntervalSchedule(seconds=5)
    for bad in ("{}", '{"type":"moon"}', '{"type":"at"}', "[]", '{"type":"interval","seconds":5,"overlap":"never"}'):
        with pytest.raises(msgspec.MsgspecError):
            read_schedule(bad)
