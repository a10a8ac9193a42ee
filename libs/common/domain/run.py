"""One run of a workflow, as a pure machine: told what happened and what time it is, it says what to do next.

    advance ──▶ Turn  effects   make the records durable, start them, then tell `succeed` or `fail`, and `advance`
                      local     do them in the transaction of the records, tell `settle`, and `advance`
                      wake_at   come back then, if nothing has ended before
                      end       the run is over

Actions without an effect are run on the way. A run that is built from its records continues where they end. What
becomes of a single action is decided in `steps`; here stand the turns, what is told from outside, and the end.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from libs.common.domain.attempts import Attempts
from libs.common.domain.awaiting import awaited
from libs.common.domain.ending import completed_end
from libs.common.domain.execution import ActionStatus, ExecutionStatus, Failure
from libs.common.domain.frames import Place
from libs.common.domain.planner import Program
from libs.common.domain.progress import Progress
from libs.common.domain.steps import Mask, Steps
from libs.common.domain.turns import Effect, End, Outcome, PastAttempt, Turn
from libs.common.domain.walk import Walk

TURN_ACTIONS = 500
"""Actions handled in one turn, so that a long loop neither blocks the process nor fills one commit."""

_OUT_OF_TIME = Failure("timeout", "the workflow ran out of time")


class Run:
    """The state of one execution in the hands of one executor. `scope` is what its templates see.

    `broken` says why it can't be run at all; such a run ends at once. `original_id`: the execution that this one
    repeats; effects keep its idempotency keys. `mask`: takes the values of secrets out of whatever is recorded, and of
    whatever templates see later: what is live and what is read from the records must not differ. Only the config of
    an effect has them.
    """

    def __init__(
        self, execution_id: UUID, program: Program, scope: dict[str, Any], started_at: datetime,
        deadline: datetime | None = None, traceparent: str = "", broken: Failure | None = None,
        original_id: UUID | None = None, mask: Mask | None = None,
    ) -> None:  # fmt: skip
        self.execution_id, self.program, self.scope = execution_id, program, scope
        self.mask: Mask = mask or _as_it_is
        self.started_at, self.deadline, self.traceparent, self.broken = started_at, deadline, traceparent, broken
        self.attempts = Attempts()
        self._walk = Walk(program, scope, self.attempts)
        self._steps = Steps(self._walk, self.attempts, original_id or execution_id, self.mask)
        self._is_entered = False

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        return self._walk.progress

    def remember(self, attempts: Sequence[PastAttempt]) -> None:
        """Tell what is on record, in the order of the attempts."""
        self.attempts.remember(attempts)

    def advance(self, now: datetime) -> Turn:
        """Go on as far as possible without touching the world."""
        self.scope["now"], self._is_entered = now, True
        if self.broken is not None:
            return Turn(end=self.interrupt(ExecutionStatus.FAILED, self.broken, now))
        if self.deadline is not None and now >= self.deadline:
            return Turn(end=self.interrupt(ExecutionStatus.TIMED_OUT, _OUT_OF_TIME, now))
        self._walk.ready.extend(self._walk.waits.take_due(now))
        budget = TURN_ACTIONS
        while self._walk.ready and budget > 0:
            budget -= 1
            frame, step = self._walk.ready.popleft()
            self._steps.enter(frame, step, now)
        effects, local = self._steps.take_begun()
        if self._walk.ready:
            return Turn(effects, now, local=local)
        if not self._walk.is_over:
            return Turn(effects, self._walk.waits.next_instant(self.deadline), local=local)
        return Turn(end=self._close_records(self._end(now), now))

    def succeed(self, effect: Effect, output: Any, now: datetime) -> None:
        """The effect was done and gave `output`."""
        frame, output = self._walk.leave(effect), self.mask(output)
        self.attempts.finish(effect.record, ActionStatus.COMPLETED, now, output=output)
        self._walk.complete(frame, effect.step, output)
        self._walk.look_after(frame)

    def fail(self, effect: Effect, failure: Failure, now: datetime, unit_random: float) -> None:
        """The attempt failed. It is tried again after a pause if its retry policy has an attempt left for this."""
        frame, failure = self._walk.leave(effect), self.mask(failure)
        wake_at = self._steps.next_try(frame, effect.step, failure, now, unit_random)
        self.attempts.finish(effect.record, ActionStatus.FAILED, now, failure=failure, wake_at=wake_at)
        self._steps.fail(frame, effect.step, failure, wake_at)
        self._walk.look_after(frame)

    def settle(self, effect: Effect, outcome: Outcome, now: datetime, unit_random: float) -> None:
        """As `succeed` and `fail`, for a local action, which may also have begun to wait to be told something."""
        if outcome.failure is not None:
            self.fail(effect, outcome.failure, now, unit_random)
        elif outcome.state is None:
            self.succeed(effect, outcome.output, now)
        else:
            frame, step, begun = self._walk.leave(effect), effect.step, effect.record
            place = Place(step.position, frame.iteration)
            self.attempts.append(
                step, place, begun.attempt, ActionStatus.WAITING, begun.started_at, None, begun.input,
                wake_at=outcome.wake_at, state=outcome.state,
            )  # fmt: skip
            if frame.is_stopped:
                self._walk.drop(step, place)
            else:
                self._steps.listen(frame, step, place, outcome.wake_at)
            self._walk.look_after(frame)

    def tell(self, position: int, iteration: int, value: Any) -> None:
        """Somebody tells the action at that place what it waits for; one that does not wait does not hear it."""
        self._steps.hear(Place(position, iteration), value)

    def in_vain(self, now: datetime) -> list[Place]:
        """The places at which actions have waited long enough to be told something."""
        return [place for place in self.listening() if (until := self.attempts.of(place)[-1].wake_at) and until <= now]

    def listening(self) -> list[Place]:
        """The places at which actions wait to be told something."""
        places = self._walk.waits if self._is_entered else self.attempts.waiting()
        return [place for place in places if awaited(self.attempts.of(place)[-1]) is not None]

    def interrupt(self, status: ExecutionStatus, failure: Failure | None, now: datetime) -> End:
        """End the run where it stands; what is under way is recorded as cancelled."""
        reason = failure or Failure("cancelled", "the execution was cancelled")
        self.scope["now"] = now
        for _, effect in self._walk.under_way.values():
            self.attempts.finish(effect.record, ActionStatus.CANCELLED, now, failure=reason)
        self._walk.cancel_all()
        return self._close_records(End(status, failure=failure), now)

    def _end(self, now: datetime) -> End:
        if self._walk.root.failure is not None:
            return self.interrupt(ExecutionStatus.FAILED, self._walk.root.failure, now)
        end = completed_end(self.program, self.scope)
        return End(end.status, self.mask(end.output), self.mask(end.failure))

    def _close_records(self, end: End, now: datetime) -> End:
        """No record of an ended run stays open. In a run built from its records there may be some that it did not come
        to again, because they stand in a stopped part.
        """
        if self.attempts.were_remembered:
            self.attempts.close_all(self.program, now)
            self.progress.recount(self.attempts.finals())
        return end


def _as_it_is(value: Any) -> Any:
    return value
