"""One action of a run, from when it comes up: skipped, delayed, run, waited for, tried again or given up.

What is recorded completed is told, not run again. An attempt that was started and never finished is in doubt: it
becomes `unknown`, and unless the action says otherwise it is tried again with the same idempotency key
(at-least-once). Effects are begun here and done elsewhere: whoever drives the run says what they came to.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from libs.common.domain.action_type import ActionKind
from libs.common.domain.attempts import IN_DOUBT, Attempts
from libs.common.domain.awaiting import DOUBT, QUESTION, awaited, context_of, in_vain, is_for, outcome_of
from libs.common.domain.ending import template_failure
from libs.common.domain.execution import ActionStatus, Failure
from libs.common.domain.flow import chosen_arm, loop_items, wait_until
from libs.common.domain.frames import Frame, Place
from libs.common.domain.planner import Step
from libs.common.domain.pure_actions import ActionFailed, run_pure
from libs.common.domain.retry import is_retryable, wait_seconds
from libs.common.domain.templates import TemplateError
from libs.common.domain.turns import Effect, PastAttempt
from libs.common.domain.walk import Walk
from libs.common.domain.workflow import RetryPolicy

Mask = Callable[[Any], Any]

CRASH_LIMIT = 10
"""So many attempts of one action in doubt, and it is given up: it is likely what kills the executors."""

_MIDDLE = 0.5
"""For the pause before another attempt where no chance is at hand."""
_NO_RETRY = RetryPolicy()
_CRASH_LOOP = Failure("crash_loop", "the executor stopped too often during this action")
_LOST_REASON = Failure("unknown", "the attempt failed")


class Steps:
    """What becomes of the steps of one run that `walk` brings up. `known_by`: the execution that the idempotency keys
    of its effects name; `mask`: see `Run`.
    """

    def __init__(self, walk: Walk, attempts: Attempts, known_by: UUID, mask: Mask) -> None:
        self._walk, self._attempts, self._known_by, self._mask = walk, attempts, known_by, mask
        self._signals: dict[Place, Any] = {}
        self._begun: list[Effect] = []

    def enter(self, frame: Frame, step: Step, now: datetime) -> None:
        """Handle the action that is next, from its records if it has any."""
        place = Place(step.position, frame.iteration)
        past = self._attempts.of(place)
        if past:
            self._continue(frame, step, past, now)
        elif step.position in frame.passed:
            self._walk.settle(frame, step)
        elif not frame.is_stopped:
            self._begin(frame, step, place, now)

    def hear(self, place: Place, value: Any) -> None:
        """Somebody tells the action at that place what it waits for; one that does not wait does not hear it."""
        past = self._attempts.of(place)
        if not past or past[-1].status is not ActionStatus.WAITING or not is_for(past[-1], value):
            return
        self._signals[place] = value
        if (waiting := self._walk.waits.take(place)) is not None:
            self._walk.ready.append(waiting)

    def listen(self, frame: Frame, step: Step, place: Place, until: datetime | None) -> None:
        """The action waits to be told something, or has been told already."""
        if place in self._signals:
            self._walk.ready.append((frame, step))
        else:
            self._walk.waits.add(place, until, frame, step)

    def next_try(
        self, frame: Frame, step: Step, failure: Failure, now: datetime, unit_random: float
    ) -> datetime | None:
        """When the action is tried again that has just failed; None when it is not."""
        policy, place = step.action.retry or _NO_RETRY, Place(step.position, frame.iteration)
        tried = self._attempts.last(place) - self._attempts.in_doubt(place)
        again = tried < policy.max_attempts and is_retryable(policy, failure.error_class, failure.http_status)
        if frame.is_stopped or not again:
            return None
        return now + timedelta(seconds=failure.retry_after_seconds or wait_seconds(policy, tried, unit_random))

    def fail(self, frame: Frame, step: Step, failure: Failure, wake_at: datetime | None) -> None:
        """The attempt has failed: the action is tried again at `wake_at`, or given up."""
        if wake_at is None:
            self._walk.give_up(frame, step, failure)
        else:
            self._walk.waits.add(Place(step.position, frame.iteration), wake_at, frame, step)

    def take_begun(self) -> tuple[tuple[Effect, ...], tuple[Effect, ...]]:
        """The effects and the local actions that have begun since the last call."""
        if not self._begun:
            return (), ()
        begun, self._begun = self._begun, []
        return tuple(one for one in begun if not one.is_local), tuple(one for one in begun if one.is_local)

    def _begin(self, frame: Frame, step: Step, place: Place, now: datetime) -> None:
        """An action met for the first time: skip it, delay it or run it."""
        try:
            if step.guard is not None and not step.guard.holds(self._walk.visible.from_(frame)):
                why = Failure("skipped", f"{step.guard.text} did not hold")
                self._attempts.append(step, place, 1, ActionStatus.SKIPPED, now, now, failure=why)
                self._walk.skip(frame, step)
                return
        except TemplateError as error:
            self._fail_at_once(frame, step, place, 1, now, self._mask(template_failure(error)))
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
            self._walk.progress.count_past(self._attempts.inside(step, outer))
            if last.state is not None:
                self._walk.progress.expand(step, len(_items_of(last)))
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
                self._attempts.doubt(step, place, last, now)
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
            self._answer(frame, step, place, last, now)
        elif last.wake_at is None:
            self._walk.drop(step, place)
        elif now < last.wake_at:
            self._walk.waits.add(place, last.wake_at, frame, step)
        elif last.status is ActionStatus.WAITING and step.action.type == "wait" and last.state is not None:
            output = {"until": last.wake_at}
            self._attempts.append(
                step, place, last.attempt, ActionStatus.COMPLETED, last.started_at, now, output=output
            )  # fmt: skip
            self._walk.complete(frame, step, output)
        else:
            self._run(frame, step, place, last.attempt + (last.status is ActionStatus.FAILED), now)

    def _answer(self, frame: Frame, step: Step, place: Place, last: PastAttempt, now: datetime) -> None:
        """An action that waits to be told something, when it has been told, or has waited long enough."""
        if place in self._signals:
            outcome = outcome_of(last.state, self._signals.pop(place))
        elif last.wake_at is not None and now >= last.wake_at:
            outcome = in_vain(last.state)
        else:
            self._walk.waits.add(place, last.wake_at, frame, step)
            return
        if outcome.failure is not None:
            failure = self._mask(outcome.failure)
            wake_at = self.next_try(frame, step, failure, now, _MIDDLE)
            self._attempts.close(step, place, ActionStatus.FAILED, now, failure=failure, wake_at=wake_at)
            self.fail(frame, step, failure, wake_at)
        elif awaited(last) == DOUBT:
            self._run(frame, step, place, last.attempt, now)
        else:
            output = self._mask(outcome.output)
            self._attempts.close(step, place, ActionStatus.COMPLETED, now, output=output)
            self._walk.complete(frame, step, output)

    def _try_again(self, frame: Frame, step: Step, place: Place, now: datetime) -> None:
        """After an attempt in doubt: once more, unless that was forbidden or has happened too often."""
        doubts = self._attempts.in_doubt(place)
        if frame.is_stopped:
            return
        if step.on_unknown == "ask" and step.kind is ActionKind.EFFECT:
            self._ask(frame, step, place, now)
        elif step.on_unknown == "fail":
            self._fail_at_once(frame, step, place, self._attempts.last(place) + 1, now, IN_DOUBT)
        elif doubts > CRASH_LIMIT:
            self._fail_at_once(frame, step, place, self._attempts.last(place) + 1, now, _CRASH_LOOP)
        else:
            self._run(frame, step, place, self._attempts.last(place) + 1, now)

    def _ask(self, frame: Frame, step: Step, place: Place, now: datetime) -> None:
        """Have somebody decide whether the attempt in doubt is made again."""
        record = self._attempts.start(step, place, self._attempts.last(place) + 1, {"approval": QUESTION}, now)
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
            shown: dict[str, Any] = self._mask(config)
            if step.steers:
                self._run_flow(frame, step, place, attempt, shown, now)
            elif step.kind is ActionKind.PURE:
                output = run_pure(step.action.type, shown)
                self._attempts.append(step, place, attempt, ActionStatus.COMPLETED, now, now, shown, output)
                self._walk.complete(frame, step, output)
            else:
                self._signals.pop(place, None)
                record = self._attempts.start(step, place, attempt, shown, now)
                is_local = step.kind is ActionKind.LOCAL
                context = context_of(step.action.config, scope) if is_local else None
                self._start(frame, Effect(step, shown if is_local else config, record, self._key(step, place), context))
        except TemplateError as error:
            self._fail_at_once(frame, step, place, attempt, now, self._mask(template_failure(error)))
        except ActionFailed as error:
            self._fail_at_once(frame, step, place, attempt, now, error.failure)

    def _run_flow(
        self, frame: Frame, step: Step, place: Place, attempt: int, config: Mapping[str, Any], now: datetime
    ) -> None:
        """Actions that only decide what comes next."""
        if step.arms:
            arm = chosen_arm(step, self._walk.visible.from_(frame))
            self._attempts.append(step, place, attempt, ActionStatus.COMPLETED, now, now, output={"arm": arm})
            self._walk.take_arm(frame, step, arm)
        elif step.action.type == "for_each":
            items = loop_items(config)
            self._attempts.start(step, place, attempt, {"items": len(items)}, now, state={"items": items})
            self._walk.begin_loop(frame, step, items)
        else:
            self._wait(frame, step, place, attempt, now, wait_until(config, now), config)

    def _wait(
        self, frame: Frame, step: Step, place: Place, attempt: int, now: datetime, until: datetime, config: Any = None
    ) -> None:
        """Nothing of this action before `until`; with a config the waiting is the action."""
        state: dict[str, Any] | None = None if config is None else {}
        self._attempts.append(
            step, place, attempt, ActionStatus.WAITING, now, None, config, wake_at=until, state=state
        )  # fmt: skip
        self._walk.waits.add(place, until, frame, step)

    def _retell(self, frame: Frame, step: Step, last: PastAttempt) -> None:
        if step.arms:
            self._walk.take_arm(frame, step, last.output["arm"])
            return
        self._walk.complete(frame, step, last.output)

    def _fail_at_once(
        self, frame: Frame, step: Step, place: Place, attempt: int, now: datetime, failure: Failure
    ) -> None:
        self._attempts.append(step, place, attempt, ActionStatus.FAILED, now, now, failure=failure)
        self._walk.give_up(frame, step, failure)


def _items_of(loop: PastAttempt) -> list[Any]:
    """The items that a recorded loop was begun with."""
    assert loop.state is not None  # every loop that begins records them
    return loop.state["items"]
