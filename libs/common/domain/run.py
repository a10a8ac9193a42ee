"""One run of a workflow, as a pure machine: told what happened and what time it is, it says what to do next.

    advance ──▶ Turn  effects   make the records durable, start them, then tell `succeed` or `fail`, and `advance`
                      local     do them in the transaction of the records, tell `settle`, and `advance`
                      wake_at   come back then, if nothing has ended before
                      end       the run is over

Actions without an effect are run on the way. Whatever was recorded completed is told, not run again: a run that is
built from its records continues where they end. An attempt that was started and never finished is in doubt: it
becomes `unknown`, and unless the action says otherwise it is tried again with the same idempotency key
(at-least-once).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from libs.common.domain.action_type import ActionKind
from libs.common.domain.attempts import Attempts
from libs.common.domain.awaiting import DOUBT, QUESTION, awaited, context_of, in_vain, is_for, outcome_of
from libs.common.domain.ending import completed_end, template_failure
from libs.common.domain.execution import ActionStatus, ExecutionStatus, Failure
from libs.common.domain.flow import chosen_arm, loop_items, wait_until
from libs.common.domain.frames import Frame, Place
from libs.common.domain.planner import Program, Step
from libs.common.domain.progress import Progress
from libs.common.domain.pure_actions import ActionFailed, run_pure
from libs.common.domain.retry import is_retryable, wait_seconds
from libs.common.domain.templates import TemplateError
from libs.common.domain.turns import Effect, End, Outcome, PastAttempt, Turn
from libs.common.domain.walk import Walk
from libs.common.domain.workflow import RetryPolicy

Mask = Callable[[Any], Any]

CRASH_LIMIT = 10
"""So many attempts of one action in doubt, and it is given up: it is likely what kills the executors."""
TURN_ACTIONS = 500
"""Actions handled in one turn, so that a long loop neither blocks the process nor fills one commit."""

_MIDDLE = 0.5
"""For the pause before another attempt where no chance is at hand."""
_NO_RETRY = RetryPolicy()
_CRASH_LOOP = Failure("crash_loop", "the executor stopped too often during this action")
_IN_DOUBT = Failure("unknown", "the executor stopped during this attempt; whether it took effect is not known")
_LOST_REASON = Failure("unknown", "the attempt failed")
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
        self._known_by = original_id or execution_id
        self.mask: Mask = mask or _as_it_is
        self.started_at, self.deadline, self.traceparent, self.broken = started_at, deadline, traceparent, broken
        self.attempts = Attempts()
        self._walk = Walk(program, scope, self.attempts)
        self._signals: dict[Place, Any] = {}
        self._is_entered = False
        self._begun: list[Effect] = []

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
            self._enter(frame, step, now)
        effects, local = self._take_begun()
        if self._walk.ready:
            return Turn(effects, now, local=local)
        if not self._walk.is_over:
            return Turn(effects, self._walk.waits.next_instant(self.deadline), local=local)
        return Turn(end=self._close_records(self._end(now), now))

    def _take_begun(self) -> tuple[tuple[Effect, ...], tuple[Effect, ...]]:
        """The effects and the local actions that have begun."""
        if not self._begun:
            return (), ()
        begun, self._begun = self._begun, []
        return tuple(one for one in begun if not one.is_local), tuple(one for one in begun if one.is_local)

    def succeed(self, effect: Effect, output: Any, now: datetime) -> None:
        """The effect was done and gave `output`."""
        frame, output = self._walk.leave(effect), self.mask(output)
        self.attempts.finish(effect.record, ActionStatus.COMPLETED, now, output=output)
        self._walk.complete(frame, effect.step, output)
        self._walk.look_after(frame)

    def fail(self, effect: Effect, failure: Failure, now: datetime, unit_random: float) -> None:
        """The attempt failed. It is tried again after a pause if its retry policy has an attempt left for this."""
        frame, failure = self._walk.leave(effect), self.mask(failure)
        wake_at = self._next_try(frame, effect.step, failure, now, unit_random)
        self.attempts.finish(effect.record, ActionStatus.FAILED, now, failure=failure, wake_at=wake_at)
        self._fail(frame, effect.step, failure, wake_at)
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
                self._listen(frame, step, place, outcome.wake_at)
            self._walk.look_after(frame)

    def tell(self, position: int, iteration: int, value: Any) -> None:
        """Somebody tells the action at that place what it waits for; one that does not wait does not hear it."""
        place = Place(position, iteration)
        past = self.attempts.of(place)
        if not past or past[-1].status is not ActionStatus.WAITING or not is_for(past[-1], value):
            return
        self._signals[place] = value
        if (waiting := self._walk.waits.take(place)) is not None:
            self._walk.ready.append(waiting)

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

    # One action

    def _enter(self, frame: Frame, step: Step, now: datetime) -> None:
        """Handle the action that is next, from its records if it has any."""
        place = Place(step.position, frame.iteration)
        past = self.attempts.of(place)
        if past:
            self._continue(frame, step, past, now)
        elif step.position in frame.passed:
            self._walk.settle(frame, step)
        elif not frame.is_stopped:
            self._begin(frame, step, place, now)

    def _begin(self, frame: Frame, step: Step, place: Place, now: datetime) -> None:
        """An action met for the first time: skip it, delay it or run it."""
        try:
            if step.guard is not None and not step.guard.holds(self._walk.visible.from_(frame)):
                why = Failure("skipped", f"{step.guard.text} did not hold")
                self.attempts.append(step, place, 1, ActionStatus.SKIPPED, now, now, failure=why)
                self._walk.skip(frame, step)
                return
        except TemplateError as error:
            self._fail_at_once(frame, step, place, 1, now, self.mask(template_failure(error)))
            return
        if step.action.delay_seconds > 0:
            self._wait(frame, step, place, 1, now, now + timedelta(seconds=step.action.delay_seconds))
        else:
            self._run(frame, step, place, 1, now)

    def _continue(self, frame: Frame, step: Step, past: Sequence[PastAttempt], now: datetime) -> None:
        """An action that is on record: tell what it gave, or go on from its last attempt."""
        place, last = Place(step.position, frame.iteration), past[-1]
        if step.action.type == "for_each" and last.status is not ActionStatus.STARTED:
            outer = None if frame.is_root_pass else frame.iteration
            self.progress.count_past(self.attempts.inside(step, outer))
            if last.state is not None:
                self.progress.expand(step, len(_items_of(last)))
        match last.status:
            case ActionStatus.COMPLETED:
                self._retell(frame, step, last)
            case ActionStatus.SKIPPED:
                self._walk.skip(frame, step)
            case ActionStatus.CANCELLED:
                pass
            case ActionStatus.FAILED if last.wake_at is None:
                self._walk.give_up(frame, step, last.failure or _LOST_REASON)
            case ActionStatus.STARTED if step.action.type == "for_each":
                self._walk.begin_loop(frame, step, _items_of(last))
            case ActionStatus.STARTED:
                self.attempts.doubt(step, place, last, _IN_DOUBT, now)
                self._try_again(frame, step, place, now)
            case ActionStatus.UNKNOWN:
                self._try_again(frame, step, place, now)
            case _:  # delayed, or failed and to be tried again
                self._come_back(frame, step, place, last, now)

    def _come_back(self, frame: Frame, step: Step, place: Place, last: PastAttempt, now: datetime) -> None:
        """After a delay or the pause before another attempt, when it is over."""
        if frame.is_stopped:
            self._walk.drop(step, place)
        elif last.status is ActionStatus.WAITING and awaited(last) is not None:
            self._hear(frame, step, place, last, now)
        elif last.wake_at is None:
            self._walk.drop(step, place)
        elif now < last.wake_at:
            self._walk.waits.add(place, last.wake_at, frame, step)
        elif last.status is ActionStatus.WAITING and step.action.type == "wait" and last.state is not None:
            output = {"until": last.wake_at}
            self.attempts.append(
                step, place, last.attempt, ActionStatus.COMPLETED, last.started_at, now, output=output
            )  # fmt: skip
            self._walk.complete(frame, step, output)
        else:
            self._run(frame, step, place, last.attempt + (last.status is ActionStatus.FAILED), now)

    def _listen(self, frame: Frame, step: Step, place: Place, until: datetime | None) -> None:
        """The action waits to be told something, or has been told already."""
        if place in self._signals:
            self._walk.ready.append((frame, step))
        else:
            self._walk.waits.add(place, until, frame, step)

    def _hear(self, frame: Frame, step: Step, place: Place, last: PastAttempt, now: datetime) -> None:
        """An action that waits to be told something, when it has been told, or has waited long enough."""
        if place in self._signals:
            outcome = outcome_of(last.state, self._signals.pop(place))
        elif last.wake_at is not None and now >= last.wake_at:
            outcome = in_vain(last.state)
        else:
            self._walk.waits.add(place, last.wake_at, frame, step)
            return
        if outcome.failure is not None:
            failure = self.mask(outcome.failure)
            wake_at = self._next_try(frame, step, failure, now, _MIDDLE)
            self.attempts.close(step, place, ActionStatus.FAILED, now, failure=failure, wake_at=wake_at)
            self._fail(frame, step, failure, wake_at)
        elif awaited(last) == DOUBT:
            self._run(frame, step, place, last.attempt, now)
        else:
            output = self.mask(outcome.output)
            self.attempts.close(step, place, ActionStatus.COMPLETED, now, output=output)
            self._walk.complete(frame, step, output)

    def _next_try(
        self, frame: Frame, step: Step, failure: Failure, now: datetime, unit_random: float
    ) -> datetime | None:
        """When the action is tried again that has just failed; None when it is not."""
        policy, place = step.action.retry or _NO_RETRY, Place(step.position, frame.iteration)
        tried = self.attempts.last(place) - self.attempts.in_doubt(place)
        again = tried < policy.max_attempts and is_retryable(policy, failure.error_class, failure.http_status)
        if frame.is_stopped or not again:
            return None
        return now + timedelta(seconds=failure.retry_after_seconds or wait_seconds(policy, tried, unit_random))

    def _fail(self, frame: Frame, step: Step, failure: Failure, wake_at: datetime | None) -> None:
        if wake_at is None:
            self._walk.give_up(frame, step, failure)
        else:
            self._walk.waits.add(Place(step.position, frame.iteration), wake_at, frame, step)

    def _try_again(self, frame: Frame, step: Step, place: Place, now: datetime) -> None:
        """After an attempt in doubt: once more, unless that was forbidden or has happened too often."""
        doubts = self.attempts.in_doubt(place)
        if frame.is_stopped:
            return
        if step.on_unknown == "ask" and step.kind is ActionKind.EFFECT:
            self._ask(frame, step, place, now)
        elif step.on_unknown == "fail":
            self._fail_at_once(frame, step, place, self.attempts.last(place) + 1, now, _IN_DOUBT)
        elif doubts > CRASH_LIMIT:
            self._fail_at_once(frame, step, place, self.attempts.last(place) + 1, now, _CRASH_LOOP)
        else:
            self._run(frame, step, place, self.attempts.last(place) + 1, now)

    def _ask(self, frame: Frame, step: Step, place: Place, now: datetime) -> None:
        """Have somebody decide whether the attempt in doubt is made again."""
        record = self.attempts.start(step, place, self.attempts.last(place) + 1, {"approval": QUESTION}, now)
        self._start(frame, Effect(step, {"approval": QUESTION}, record, self._key(step, place), asks=True))

    def _start(self, frame: Frame, effect: Effect) -> None:
        self._walk.enter(frame, effect)
        self._begun.append(effect)

    def _key(self, step: Step, place: Place) -> str:
        return f"{self._known_by}:{step.action.key}:{place.iteration}"

    def _run(self, frame: Frame, step: Step, place: Place, attempt: int, now: datetime) -> None:
        try:
            scope = self._walk.visible.from_(frame)
            config: dict[str, Any] = step.config.render(scope)
            shown: dict[str, Any] = self.mask(config)
            if step.steers:
                self._run_flow(frame, step, place, attempt, shown, now)
            elif step.kind is ActionKind.PURE:
                output = run_pure(step.action.type, shown)
                self.attempts.append(step, place, attempt, ActionStatus.COMPLETED, now, now, shown, output)
                self._walk.complete(frame, step, output)
            else:
                self._signals.pop(place, None)
                record = self.attempts.start(step, place, attempt, shown, now)
                is_local = step.kind is ActionKind.LOCAL
                context = context_of(step.action.config, scope) if is_local else None
                self._start(frame, Effect(step, shown if is_local else config, record, self._key(step, place), context))
        except TemplateError as error:
            self._fail_at_once(frame, step, place, attempt, now, self.mask(template_failure(error)))
        except ActionFailed as error:
            self._fail_at_once(frame, step, place, attempt, now, error.failure)

    def _run_flow(
        self, frame: Frame, step: Step, place: Place, attempt: int, config: Mapping[str, Any], now: datetime
    ) -> None:
        """Actions that only decide what comes next."""
        if step.arms:
            arm = chosen_arm(step, self._walk.visible.from_(frame))
            self.attempts.append(step, place, attempt, ActionStatus.COMPLETED, now, now, output={"arm": arm})
            self._walk.take_arm(frame, step, arm)
        elif step.action.type == "for_each":
            items = loop_items(config)
            self.attempts.start(step, place, attempt, {"items": len(items)}, now, state={"items": items})
            self._walk.begin_loop(frame, step, items)
        else:
            self._wait(frame, step, place, attempt, now, wait_until(config, now), config)

    def _wait(
        self, frame: Frame, step: Step, place: Place, attempt: int, now: datetime, until: datetime, config: Any = None
    ) -> None:
        """Nothing of this action before `until`; with a config the waiting is the action."""
        state: dict[str, Any] | None = None if config is None else {}
        self.attempts.append(
            step, place, attempt, ActionStatus.WAITING, now, None, config, wake_at=until, state=state
        )  # fmt: skip
        self._walk.waits.add(place, until, frame, step)

    # What follows from it

    def _retell(self, frame: Frame, step: Step, last: PastAttempt) -> None:
        if step.arms:
            self._walk.take_arm(frame, step, last.output["arm"])
            return
        self._walk.complete(frame, step, last.output)

    def _fail_at_once(
        self, frame: Frame, step: Step, place: Place, attempt: int, now: datetime, failure: Failure
    ) -> None:
        self.attempts.append(step, place, attempt, ActionStatus.FAILED, now, now, failure=failure)
        self._walk.give_up(frame, step, failure)

    # Time and end

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
            self.attempts.close_all(self.program, _IN_DOUBT, now)
            self.progress.recount(self.attempts.finals())
        return end


def _as_it_is(value: Any) -> Any:
    return value


def _items_of(loop: PastAttempt) -> list[Any]:
    """The items that a recorded loop was begun with."""
    assert loop.state is not None  # every loop that begins records them
    return loop.state["items"]
