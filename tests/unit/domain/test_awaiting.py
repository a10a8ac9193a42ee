"""Waiting to be told something, in the machine: whoever is first, told twice, too late, or about something else."""

from datetime import timedelta
from typing import Any

import pytest

from libs.common.domain.execution import ActionStatus, ExecutionStatus, Failure
from libs.common.domain.run import Run
from libs.common.domain.scope import build_scope
from libs.common.domain.turns import Outcome, PastAttempt, Turn
from tests.unit.domain.test_run import EXECUTION, NOW, new_run, program

ASK: dict[str, Any] = {"key": "ask", "type": "wait", "config": {"approval": {"message": "?"}, "timeout_seconds": 60}}
SUB: dict[str, Any] = {"key": "sub", "type": "run_workflow", "config": {"workflow": "other"}}
WAITS = Outcome(state={"for": "approval", "approval_id": "1"}, wake_at=NOW + timedelta(seconds=60))
YES = {"id": "1", "decision": "approve", "comment": None, "actor": "ada"}


def begun(run: Run, outcome: Outcome = WAITS) -> Turn:
    """The run's only local action has begun and gave that."""
    turn = run.advance(NOW)
    (effect,) = turn.local
    run.settle(effect, outcome, NOW, 0.5)
    return run.advance(NOW)


def test_a_wait_has_an_end_and_goes_on_when_it_is_told() -> None:
    run = new_run(program(ASK))
    assert begun(run).wake_at == NOW + timedelta(seconds=60)
    assert [tuple(place) for place in run.listening()] == [(0, 0)]
    run.tell(0, 0, YES)
    end = run.advance(NOW).end
    assert end is not None
    assert end.status is ExecutionStatus.COMPLETED
    assert run.listening() == []


def test_what_is_told_twice_counts_once_and_in_vain_not_at_all() -> None:
    run = new_run(program(ASK, {"key": "again", **{k: v for k, v in ASK.items() if k != "key"}}))
    begun(run)
    run.tell(0, 0, YES)
    (second,) = run.advance(NOW).local
    run.tell(0, 0, YES)
    run.tell(1, 0, YES)  # has not begun to wait
    run.settle(second, WAITS, NOW, 0.5)
    turn = run.advance(NOW)
    assert (turn.end, turn.wake_at) == (None, NOW + timedelta(seconds=60))


def test_a_wait_in_vain_fails_at_its_end_and_not_before() -> None:
    run = new_run(program(ASK))
    begun(run)
    assert run.advance(NOW + timedelta(seconds=59)).end is None
    end = run.advance(NOW + timedelta(seconds=60)).end
    assert end is not None
    assert end.failure is not None
    assert end.failure.error_class == "timeout"


def test_what_waits_in_vain_is_known_in_memory_and_by_its_records() -> None:
    """Of a run that is taken up again it is asked before its first turn."""
    run = new_run(program(ASK))
    begun(run)
    again = new_run(program(ASK))
    again.remember(list(run.attempts.finals()))
    for one in (run, again):
        assert one.in_vain(NOW + timedelta(seconds=59)) == []
        assert [tuple(place) for place in one.in_vain(NOW + timedelta(seconds=60))] == [(0, 0)]


def test_a_child_of_an_earlier_attempt_is_not_heard() -> None:
    run = new_run(program(SUB))
    assert begun(run, Outcome(state={"for": "execution", "execution_id": "new"})).wake_at is None
    run.tell(0, 0, {"execution_id": "old", "status": "completed", "output": 1, "error": None})
    assert run.advance(NOW).end is None
    run.tell(0, 0, {"execution_id": "new", "status": "completed", "output": 2, "error": None})
    assert run.advance(NOW).end is not None
    (record,) = run.attempts.finals()
    assert record.output == {"execution_id": "new", "status": "completed", "output": 2}


def test_a_child_that_failed_is_started_anew_under_a_retry() -> None:
    retry: dict[str, Any] = {"max_attempts": 2, "initial_seconds": 5, "jitter": False, "retry_on": ["child_failed"]}
    run = new_run(program(SUB | {"retry": retry}))
    begun(run, Outcome(state={"for": "execution", "execution_id": "a"}))
    run.tell(0, 0, {"execution_id": "a", "status": "failed", "output": None, "error": {"message": "no"}})
    turn = run.advance(NOW)
    assert (turn.end, turn.wake_at) == (None, NOW + timedelta(seconds=5))
    (effect,) = run.advance(NOW + timedelta(seconds=5)).local
    assert effect.record.attempt == 2


def test_a_run_taken_up_again_goes_on_waiting_and_is_told_what_came_meanwhile() -> None:
    compiled = program(ASK)
    first = new_run(compiled)
    begun(first)
    run = Run(EXECUTION, compiled, build_scope({"id": None, "type": "manual", "key": ""}, {}, {}, {}, {}), NOW)
    run.remember(list(first.attempts.finals()))
    run.tell(0, 0, YES)
    end = run.advance(NOW).end
    assert end is not None
    assert end.status is ExecutionStatus.COMPLETED


def test_what_waits_inside_of_a_stopped_part_is_cancelled() -> None:
    failing: dict[str, Any] = {"key": "no", "type": "fail", "needs": []}
    run = new_run(program(ASK | {"needs": []}, failing))
    turn = run.advance(NOW)
    assert turn.end is None
    (effect,) = turn.local
    run.settle(effect, WAITS, NOW, 0.5)
    end = run.advance(NOW).end
    assert end is not None
    assert end.status is ExecutionStatus.FAILED
    latest = {record.key: record.status.value for record in run.attempts.take_records()}
    assert latest == {"ask": "cancelled", "no": "failed"}


@pytest.mark.parametrize(("decision", "goes_on"), [("approve", True), ("reject", False)])
def test_an_attempt_in_doubt_is_made_again_only_after_a_yes(decision: str, goes_on: bool) -> None:
    call: dict[str, Any] = {
        "key": "a",
        "type": "http_request",
        "config": {"url": "https://example.com"},
        "on_unknown": "ask",
    }
    run = new_run(program(call))
    run.remember([PastAttempt(0, 1, ActionStatus.STARTED, NOW)])
    turn = run.advance(NOW)
    (effect,) = turn.local
    assert (turn.effects, effect.asks, effect.record.attempt) == ((), True, 2)
    run.settle(effect, Outcome(state={"for": "doubt", "approval_id": "1"}), NOW, 0.5)
    assert run.advance(NOW).end is None
    run.tell(0, 0, {**YES, "decision": decision})
    turn = run.advance(NOW)
    assert (len(turn.effects), turn.end is None) == ((1, True) if goes_on else (0, False))


def test_a_local_action_that_failed_is_tried_again_as_any_other() -> None:
    retry: dict[str, Any] = {"max_attempts": 2, "initial_seconds": 0, "backoff": "fixed", "retry_on": ["not_found"]}
    create: dict[str, Any] = {
        "key": "save",
        "type": "create_record",
        "config": {"collection": "x", "data": {}},
        "retry": retry,
    }
    run = new_run(program(create))
    begun_at = begun(run, Outcome(failure=Failure("not_found", "no")))
    (again,) = begun_at.local
    run.settle(again, Outcome({"id": "1"}), NOW, 0.5)
    end = run.advance(NOW).end
    assert end is not None
    assert end.status is ExecutionStatus.COMPLETED


def test_what_was_told_just_before_a_cancellation_leaves_no_record_open() -> None:
    """Found by the simulation (seed 7791)."""
    run = new_run(program(ASK))
    begun(run)
    run.tell(0, 0, YES)
    run.interrupt(ExecutionStatus.CANCELLED, None, NOW)
    latest = {record.key: record.status.value for record in run.attempts.take_records()}
    assert latest == {"ask": "cancelled"}
