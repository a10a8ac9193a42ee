"""What becomes of a due slot, by its lag, by what runs, and by the schedule's policy."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from libs.common.domain.firing_policy import (
    MOST_WAITING,
    FiringPolicy,
    Judge,
    dispatch_delay,
    judge_lag,
    read_schedule,
    run_input,
)

SLOT = datetime(2027, 6, 1, 12, tzinfo=UTC)
TRIGGER = UUID(int=7)


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
    found, reason = judge_lag(FiringPolicy(**policy), lag, superseded=superseded)
    assert found == outcome
    assert (reason is not None) == (outcome == "missed")


def judged(overlap: Any, slots: int, *, running: int = 0, waiting: int = 0) -> list[str]:
    """What becomes of so many slots that are due on time, together."""
    judge = Judge(FiringPolicy(overlap=overlap), runs=0, running=running, waiting=waiting, suppressed=None)
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
    judge = Judge(FiringPolicy(overlap="buffer_one", max_runs=5), runs=3, running=1, waiting=0, suppressed=None)
    assert [judge.judge(1, superseded=False).act for _ in range(2)] == ["wait", "pass"]
    assert (judge.runs, judge.exhausted) == (4, False)
    last = Judge(FiringPolicy(max_runs=5), runs=4, running=0, waiting=0, suppressed=None)
    assert (last.judge(100, superseded=False).outcome, last.exhausted) == ("missed", False)
    assert (last.judge(1, superseded=False).outcome, last.exhausted) == ("fired", True)


def test_a_suppressed_slot_is_nothing_else() -> None:
    judge = Judge(FiringPolicy(catchup="none"), runs=0, running=0, waiting=0, suppressed="paused")
    assert [judge.judge(lag, superseded=True).outcome for lag in (1, 10, 1000)] == ["suppressed"] * 3


def test_jitter_is_the_same_for_a_slot_whenever_asked_and_spread_over_its_range() -> None:
    policy = FiringPolicy(jitter_seconds=30)
    delays = [dispatch_delay(policy, UUID(int=number), SLOT) for number in range(300)]
    assert delays == [dispatch_delay(policy, UUID(int=number), SLOT) for number in range(300)]
    assert 0 <= min(delays) < 1
    assert 29 < max(delays) < 30
    assert 13 < sum(delays) / len(delays) < 17
    assert dispatch_delay(FiringPolicy(), TRIGGER, SLOT) == 0


def test_the_config_is_read_in_two_halves_and_fields_of_others_are_let_be() -> None:
    text = '{"type":"interval","seconds":5,"overlap":"skip","input":{"a":1},"something_else":true}'
    schedule = read_schedule(text)
    assert schedule.config.__class__.__name__ == "IntervalSchedule"
    assert schedule.policy == FiringPolicy(overlap="skip", input={"a": 1})
    assert run_input(schedule.policy, SLOT) == b'{"a":1,"scheduled_for":"2027-06-01T12:00:00Z"}'
    for bad in ("{}", '{"type":"moon"}', '{"type":"at"}', "[]", '{"type":"interval","seconds":5,"overlap":"never"}'):
        with pytest.raises((ValueError, KeyError)):
            read_schedule(bad)
