"""One run of a workflow, as a pure machine: told what happened and what time it is, it says what to do next.

    advance ──▶ Effect  the world must be touched: make the records durable, do it, then `settle`
            ──▶ Wait    nothing to do before an instant: come back with `advance` then
            ──▶ End     the run is over

Actions without an effect are run on the way. Whatever was recorded completed is told, not run again: a run that is
built from its records continues where they end. An attempt that was started and never finished is in doubt: it
becomes `unknown`, and is tried again with the same idempotency key (at-least-once).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from libs.common.domain.catalogue import ActionKind
from libs.common.domain.execution import ActionStatus, AttemptRecord, ExecutionStatus, Failure
from libs.common.domain.json_schema import instance_faults
from libs.common.domain.masking import mask_config
from libs.common.domain.planner import Program, Progress, Step
from libs.common.domain.pure_actions import ActionFailed, run_pure
from libs.common.domain.retry import is_retryable, wait_seconds
from libs.common.domain.templates import TemplateError
from libs.common.domain.workflow import RetryPolicy

CRASH_LIMIT = 10
"""So many attempts of one action in doubt, and it is given up: it is likely what kills the executors."""

_SHOWN_FAULTS = 10
_NO_RETRY = RetryPolicy()
_IN_DOUBT = Failure("unknown", "the executor stopped during this attempt; whether it took effect is not known")
_CRASH_LOOP = Failure("crash_loop", "the executor stopped too often during this action")
_LOST_REASON = Failure("unknown", "the attempt failed")


@dataclass(frozen=True, slots=True)
class Effect:
    """An attempt that touches the world. `record` is its row before the call; `key` is the same for every attempt."""

    step: Step
    config: dict[str, Any]
    record: AttemptRecord
    key: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until`."""

    until: datetime


@dataclass(frozen=True, slots=True)
class End:
    """The run is over."""

    status: ExecutionStatus
    output: Any = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class PastAttempt:
    """What the records say of an earlier attempt."""

    position: int
    attempt: int
    status: ActionStatus
    started_at: datetime
    output: Any = None
    failure: Failure | None = None
    wake_at: datetime | None = None


@dataclass(slots=True)
class Run:
    """The state of one execution in the hands of one executor. `scope` is what its templates see.

    `broken` says why it can't be run at all; such a run ends at once.
    """

    execution_id: UUID
    program: Program
    scope: dict[str, Any]
    started_at: datetime
    deadline: datetime | None = None
    traceparent: str = ""
    broken: Failure | None = None
    records: list[AttemptRecord] = field(default_factory=list[AttemptRecord])
    _progress: Progress = field(init=False)
    _past: dict[int, list[PastAttempt]] = field(default_factory=dict[int, list[PastAttempt]])

    def __post_init__(self) -> None:
        self._progress = Progress(self.program)
        self.scope["actions"] = self._progress.results
        self.scope["vars"] = self._progress.variables

    @property
    def progress(self) -> Progress:
        """How far it is: counts and results."""
        return self._progress

    def remember(self, attempts: Sequence[PastAttempt]) -> None:
        """Tell what is on record, in the order of the attempts."""
        for attempt in attempts:
            self._past.setdefault(attempt.position, []).append(attempt)

    def take_records(self) -> list[AttemptRecord]:
        """The records that are new since the last call, for the journal."""
        taken, self.records = self.records, []
        return taken

    def advance(self, now: datetime) -> Effect | Wait | End:
        """Go on as far as possible without touching the world."""
        if self.broken is not None:
            return End(ExecutionStatus.FAILED, failure=self.broken)
        self.scope["now"] = now
        while (step := self._progress.next_step()) is not None:
            if self.deadline is not None and now >= self.deadline:
                return End(ExecutionStatus.TIMED_OUT, failure=Failure("timeout", "the workflow ran out of time"))
            outcome = self._enter(step, now)
            if outcome is not None:
                return outcome
        return self._finish()

    def succeed(self, effect: Effect, output: Any, now: datetime) -> None:
        """The effect was done and gave `output`."""
        self._record(effect.step, effect.record, ActionStatus.COMPLETED, now, output=output)
        self._complete(effect.step, output)

    def fail(self, effect: Effect, failure: Failure, now: datetime, unit_random: float) -> Wait | End | None:
        """The attempt failed. Returns when to try again, the end of the run, or None: go on."""
        policy = effect.step.action.retry or _NO_RETRY
        record = effect.record
        past = self._past.get(effect.step.position, ())
        tried = record.attempt - sum(1 for attempt in past if attempt.status is ActionStatus.UNKNOWN)
        if tried < policy.max_attempts and is_retryable(policy, failure.error_class, failure.http_status):
            pause = failure.retry_after_seconds or wait_seconds(policy, tried, unit_random)
            wake_at = now + timedelta(seconds=pause)
            self._record(effect.step, record, ActionStatus.FAILED, now, failure=failure, wake_at=wake_at)
            self._keep(effect.step, record.attempt, ActionStatus.FAILED, now, wake_at)
            return Wait(wake_at)
        self._record(effect.step, record, ActionStatus.FAILED, now, failure=failure)
        return self._give_up(effect.step, failure)

    def _enter(self, step: Step, now: datetime) -> Effect | Wait | End | None:
        """Handle the next action, from its records if it has any. None: it is settled, go on."""
        past = self._past.get(step.position)
        if not past:
            return self._begin(step, now)
        last = past[-1]
        if last.status is ActionStatus.COMPLETED:
            return self._complete(step, last.output)
        if last.status is ActionStatus.SKIPPED:
            return self._progress.skip(step)
        if last.wake_at is not None:
            if now < last.wake_at:
                return Wait(last.wake_at)
            return self._run(step, last.attempt + (last.status is ActionStatus.FAILED), now)
        if last.status is ActionStatus.STARTED:
            self._doubt(step, last, now)
        if last.status is ActionStatus.FAILED:
            return self._give_up(step, last.failure or _LOST_REASON)
        if sum(1 for attempt in past if attempt.status is ActionStatus.UNKNOWN) > CRASH_LIMIT:
            return self._fail_pure(step, last.attempt + 1, now, _CRASH_LOOP)
        return self._run(step, last.attempt + 1, now)

    def _begin(self, step: Step, now: datetime) -> Effect | Wait | End | None:
        """An action met for the first time: skip it, delay it or run it."""
        try:
            if step.guard is not None and not step.guard.holds(self.scope):
                self._append(step, 1, ActionStatus.SKIPPED, now, now)
                return self._progress.skip(step)
        except TemplateError as error:
            return self._fail_pure(step, 1, now, _template_failure(error))
        if step.action.delay_seconds > 0:
            wake_at = now + timedelta(seconds=step.action.delay_seconds)
            self._append(step, 1, ActionStatus.WAITING, now, None, wake_at=wake_at)
            self._keep(step, 1, ActionStatus.WAITING, now, wake_at)
            return Wait(wake_at)
        return self._run(step, 1, now)

    def _doubt(self, step: Step, last: PastAttempt, now: datetime) -> None:
        """The attempt was started and nothing tells how it ended: that is what its record says from now on."""
        self.records.append(
            AttemptRecord(
                step.position,
                last.attempt,
                step.action.key,
                step.action.type,
                ActionStatus.UNKNOWN,
                last.started_at,
                error=_IN_DOUBT,
                finished_at=now,
            )
        )
        self._keep(step, last.attempt, ActionStatus.UNKNOWN, last.started_at)

    def _run(self, step: Step, attempt: int, now: datetime) -> Effect | End | None:
        try:
            if step.arms:
                self._complete_pure(step, attempt, now, None, {"arm": self._choose(step)})
                return None
            config: dict[str, Any] = step.config.render(self.scope)
            if step.kind is ActionKind.PURE:
                self._complete_pure(step, attempt, now, config, run_pure(step.action.type, config))
                return None
        except TemplateError as error:
            return self._fail_pure(step, attempt, now, _template_failure(error))
        except ActionFailed as error:
            return self._fail_pure(step, attempt, now, error.failure)
        record = AttemptRecord(
            step.position,
            attempt,
            step.action.key,
            step.action.type,
            ActionStatus.STARTED,
            now,
            input=mask_config(config),
        )
        self._keep(step, attempt, ActionStatus.STARTED, now)
        self.records.append(record)
        return Effect(step, config, record, f"{self.execution_id}:{step.action.key}:{record.iteration}")

    def _choose(self, step: Step) -> int:
        """The first arm whose guard holds; the last one is the default and has none."""
        return next(number for number, guard in enumerate(step.arms) if guard is None or guard.holds(self.scope))

    def _finish(self) -> End:
        if self.program.output is None:
            return End(ExecutionStatus.COMPLETED)
        try:
            output = self.program.output.render(self.scope)
        except TemplateError as error:
            return End(ExecutionStatus.FAILED, failure=_template_failure(error))
        schema = self.program.definition.output_schema
        faults = [] if schema is None else instance_faults(schema, output, "output")
        if faults:
            message = "; ".join(f"{fault.path} {fault.message}" for fault in faults[:_SHOWN_FAULTS])
            return End(ExecutionStatus.FAILED, output, Failure("output_schema", message))
        return End(ExecutionStatus.COMPLETED, output)

    def _complete(self, step: Step, output: Any) -> None:
        self._progress.complete(step, output)
        self.scope[f"action_{step.position}_result"] = output

    def _complete_pure(self, step: Step, attempt: int, now: datetime, config: Any, output: Any) -> None:
        self._append(step, attempt, ActionStatus.COMPLETED, now, now, config, output)
        self._complete(step, output)

    def _fail_pure(self, step: Step, attempt: int, now: datetime, failure: Failure) -> End | None:
        self._append(step, attempt, ActionStatus.FAILED, now, now, failure=failure)
        return self._give_up(step, failure)

    def _give_up(self, step: Step, failure: Failure) -> End | None:
        if self._progress.fail(step, failure):
            return None
        return End(ExecutionStatus.FAILED, failure=_with_action(failure, step.action.key))

    def _append(
        self, step: Step, attempt: int, status: ActionStatus, now: datetime, finished_at: datetime | None,
        config: Any = None, output: Any = None, failure: Failure | None = None, wake_at: datetime | None = None,
    ) -> None:  # fmt: skip
        self.records.append(
            AttemptRecord(
                step.position,
                attempt,
                step.action.key,
                step.action.type,
                status,
                now,
                0,
                config,
                output,
                failure,
                finished_at,
                wake_at,
            )
        )

    def _record(
        self, step: Step, started: AttemptRecord, status: ActionStatus, now: datetime, *, output: Any = None,
        failure: Failure | None = None, wake_at: datetime | None = None,
    ) -> None:  # fmt: skip
        self.records.append(
            AttemptRecord(
                step.position,
                started.attempt,
                started.key,
                started.type,
                status,
                started.started_at,
                started.iteration,
                started.input,
                output,
                failure,
                now,
                wake_at,
            )
        )

    def _keep(
        self, step: Step, attempt: int, status: ActionStatus, started_at: datetime, wake_at: datetime | None = None
    ) -> None:
        """Remember an attempt as if it had been read from the records."""
        past = self._past.setdefault(step.position, [])
        entry = PastAttempt(step.position, attempt, status, started_at, wake_at=wake_at)
        if past and past[-1].attempt == attempt:
            past[-1] = entry
        else:
            past.append(entry)


def _template_failure(error: TemplateError) -> Failure:
    return Failure("template_error", error.detail, expression=error.expression)


def _with_action(failure: Failure, key: str) -> Failure:
    return Failure(
        failure.error_class, failure.message, key, failure.expression, failure.http_status, failure.retry_after_seconds
    )
