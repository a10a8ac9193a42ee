"""The run machine: what it does next, and that a run built from its records continues where they end."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from libs.common.domain.catalogue import kind_of_action
from libs.common.domain.execution import ActionStatus, AttemptRecord, ExecutionStatus, Failure
from libs.common.domain.planner import Program, compile_program
from libs.common.domain.run import Run
from libs.common.domain.scope import build_scope
from libs.common.domain.steps import CRASH_LIMIT
from libs.common.domain.turns import Effect, End, PastAttempt, Turn
from libs.common.domain.workflow import Definition

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EXECUTION = UUID(int=7)
CALL = {"url": "https://example.com", "body": {"n": "{{ input.n }}"}}
UNAVAILABLE = Failure("unavailable", "503", http_status=503)


def program(*actions: dict[str, Any], **more: Any) -> Program:
    definition = msgspec.convert({"name": "test", "actions": list(actions), **more}, Definition)
    return compile_program(definition, kind_of_action)


def new_run(compiled: Program, data: Any = None, past: list[AttemptRecord] | None = None) -> Run:
    trigger = {"id": None, "type": "manual", "key": ""}
    run = Run(EXECUTION, compiled, build_scope(trigger, data or {}, {"id": str(EXECUTION)}, {}, {}), NOW)
    run.remember([remembered(record) for record in past or ()])
    return run


def remembered(record: AttemptRecord) -> PastAttempt:
    return PastAttempt(
        record.position, record.attempt, record.status, record.started_at, record.output, record.error, record.wake_at,
        record.iteration, record.state,
    )  # fmt: skip


def begun(run: Run, now: datetime = NOW) -> Effect:
    """The one effect that the run asks for."""
    (effect,) = run.advance(now).effects
    return effect


def ended(run: Run, now: datetime = NOW) -> End:
    end = run.advance(now).end
    assert end is not None
    return end


def waits(until: datetime) -> Turn:
    return Turn(wake_at=until)


def shape(run: Run) -> list[tuple[str, int, str]]:
    return [(record.key, record.attempt, record.status.value) for record in run.attempts.take_records()]


def call(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "type": "http_request", "config": CALL, **more}


def log(key: str, message: Any = "hello", **more: Any) -> dict[str, Any]:
    return {"key": key, "type": "log", "config": {"message": message}, **more}


def test_pure_actions_run_to_the_end_at_once() -> None:
    actions = [
        {"key": "v", "type": "set_variables", "config": {"values": {"x": "{{ input.n * 2 }}"}}},
        log("l", "{{ vars.x }}"),
    ]
    run = new_run(program(*actions, output={"x": "{{ vars.x }}", "said": "{{ actions.l.output.message }}"}), {"n": 21})
    assert ended(run, NOW) == End(ExecutionStatus.COMPLETED, {"x": 42, "said": 42})
    assert shape(run) == [("v", 1, "completed"), ("l", 1, "completed")]


def test_an_effect_is_asked_for_with_its_attempt_on_record() -> None:
    run = new_run(program(log("before"), call("crm"), log("after")), {"n": 1})
    effect = begun(run)
    assert effect.config["body"] == {"n": 1}
    assert shape(run) == [("before", 1, "completed"), ("crm", 1, "started")]
    run.succeed(effect, {"status": 200}, NOW)
    assert ended(run, NOW) == End(ExecutionStatus.COMPLETED)
    assert shape(run) == [("crm", 1, "completed"), ("after", 1, "completed")]


@pytest.mark.parametrize(("number", "taken"), [(1, "low"), (5, "middle"), (9, "high")])
def test_a_branch_takes_the_first_case_that_holds(number: int, taken: str) -> None:
    cases = [
        {"if": "{{ input.n < 3 }}", "actions": [log("low")]},
        {"conditions": [{"field": "input.n", "operator": "less_than", "value": 7}], "actions": [log("middle")]},
    ]
    branch = {"key": "b", "type": "branch", "config": {"cases": cases, "default": [log("high")]}}
    run = new_run(program(branch, log("after")), {"n": number})
    ended(run)
    assert [key for key, _, _ in shape(run)] == ["b", taken, "after"]


def test_an_action_whose_if_does_not_hold_is_skipped_and_recorded() -> None:
    run = new_run(program(log("a", **{"if": "{{ input.n > 1 }}"}), log("b")), {"n": 1})
    assert ended(run, NOW) == End(ExecutionStatus.COMPLETED)
    assert shape(run) == [("a", 1, "skipped"), ("b", 1, "completed")]
    assert (run.progress.executed, run.progress.skipped) == (1, 1)


def test_a_skipped_branch_passes_over_its_actions() -> None:
    branch = {"key": "b", "type": "branch", "if": False, "config": {"cases": [], "default": [log("inner")]}}
    run = new_run(program(branch, log("after")))
    run.advance(NOW)
    assert [key for key, _, _ in shape(run)] == ["b", "after"]


def test_a_template_error_fails_the_action_and_names_the_expression() -> None:
    run = new_run(program(log("a", "{{ input.nothing }}")), {"n": 1})
    end = ended(run)
    assert end.status is ExecutionStatus.FAILED
    assert end.failure is not None
    assert (end.failure.error_class, end.failure.action) == ("template_error", "a")
    assert "input.nothing" in (end.failure.expression or "")


@pytest.mark.parametrize(
    ("on_error", "keys", "status"),
    [
        ("stop", ["f"], ExecutionStatus.FAILED),
        ("continue", ["f", "b", "c"], ExecutionStatus.COMPLETED),
        ("goto:c", ["f", "c"], ExecutionStatus.COMPLETED),
    ],
)
def test_on_error_decides_what_follows_a_failure(on_error: str, keys: list[str], status: ExecutionStatus) -> None:
    fail = {"key": "f", "type": "fail", "config": {"message": "no"}, "on_error": on_error}
    run = new_run(program(fail, log("b"), log("c")))
    end = ended(run)
    assert end.status is status
    assert [key for key, _, _ in shape(run)] == keys


def test_a_failed_attempt_waits_its_back_off_and_is_tried_again() -> None:
    retry = {"max_attempts": 3, "backoff": "exponential", "initial_seconds": 10, "jitter": False}
    run = new_run(program(call("crm", retry=retry)), {"n": 1})
    first = begun(run)
    run.fail(first, UNAVAILABLE, NOW, 0.5)
    assert run.advance(NOW) == waits(NOW + timedelta(seconds=10))
    assert run.advance(NOW + timedelta(seconds=9)) == waits(NOW + timedelta(seconds=10))
    second = begun(run, NOW + timedelta(seconds=10))
    assert (second.record.attempt, second.key) == (2, first.key)
    run.fail(second, UNAVAILABLE, NOW, 0.5)
    assert run.advance(NOW) == waits(NOW + timedelta(seconds=20))
    third = begun(run, NOW + timedelta(seconds=30))
    run.fail(third, UNAVAILABLE, NOW, 0.5)
    assert ended(run).status is ExecutionStatus.FAILED


def test_a_failure_that_trying_again_will_not_mend_is_final() -> None:
    run = new_run(program(call("crm", retry={"max_attempts": 5})), {"n": 1})
    effect = begun(run)
    run.fail(effect, Failure("http_status", "404", http_status=404), NOW, 0.5)
    assert ended(run).status is ExecutionStatus.FAILED


def test_retry_after_of_the_answer_is_honoured() -> None:
    run = new_run(program(call("crm", retry={"max_attempts": 2})), {"n": 1})
    effect = begun(run)
    failure = Failure("http_status", "429", http_status=429, retry_after_seconds=90)
    run.fail(effect, failure, NOW, 0.5)
    assert run.advance(NOW) == waits(NOW + timedelta(seconds=90))


def test_a_delay_is_waited_once() -> None:
    compiled = program(log("late", delay_seconds=60))
    run = new_run(compiled)
    until = NOW + timedelta(seconds=60)
    assert run.advance(NOW) == waits(until)
    waiting = run.attempts.take_records()
    assert [record.status for record in waiting] == [ActionStatus.WAITING]
    later = new_run(compiled, past=waiting)
    assert later.advance(NOW) == waits(until)
    assert ended(later, until) == End(ExecutionStatus.COMPLETED)
    assert shape(later) == [("late", 1, "completed")]


def test_an_attempt_in_doubt_becomes_unknown_and_is_made_again_with_the_same_key() -> None:
    compiled = program(call("crm"))
    crashed = new_run(compiled, {"n": 1})
    first = begun(crashed)
    resumed = new_run(compiled, {"n": 1}, crashed.attempts.take_records())
    second = begun(resumed)
    assert second.key == first.key
    assert shape(resumed) == [("crm", 1, "unknown"), ("crm", 2, "started")]


def test_an_attempt_in_doubt_does_not_use_up_the_attempts() -> None:
    compiled = program(call("crm", retry={"max_attempts": 2, "jitter": False}))
    crashed = new_run(compiled, {"n": 1})
    crashed.advance(NOW)
    resumed = new_run(compiled, {"n": 1}, crashed.attempts.take_records())
    second = begun(resumed)
    resumed.fail(second, UNAVAILABLE, NOW, 0.0)
    assert resumed.advance(NOW) == waits(NOW + timedelta(seconds=1))


def test_an_action_that_keeps_killing_executors_is_given_up() -> None:
    past = [
        AttemptRecord(0, attempt, "crm", "http_request", ActionStatus.UNKNOWN, NOW)
        for attempt in range(1, CRASH_LIMIT + 1)
    ]
    past.append(AttemptRecord(0, CRASH_LIMIT + 1, "crm", "http_request", ActionStatus.STARTED, NOW))
    end = ended(new_run(program(call("crm")), {"n": 1}, past))
    assert end.failure is not None
    assert end.failure.error_class == "crash_loop"


def test_a_run_out_of_time_ends_before_its_next_action() -> None:
    run = new_run(program(log("a")))
    run.deadline = NOW
    end = ended(run)
    assert end.status is ExecutionStatus.TIMED_OUT
