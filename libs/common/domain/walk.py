"""The walk through a program: which actions come up next as others settle, through branches, loops and failures.

It knows what every action has come to and what follows; it runs nothing and makes no attempt. What comes up stands in
`ready`, in the order in which it came up.
"""

from collections import deque
from typing import Any

from libs.common.domain.attempts import Attempts
from libs.common.domain.ending import of_action
from libs.common.domain.execution import ActionStatus, Failure
from libs.common.domain.frames import Frame, Loop, Place
from libs.common.domain.planner import Program, Step
from libs.common.domain.progress import Progress
from libs.common.domain.turns import Effect
from libs.common.domain.visible import Visible
from libs.common.domain.waits import Waits
from libs.common.domain.workflow import parse_for_each


class Walk:
    """Where one run is in its program. `scope` is what its templates see; its `now` is the time."""

    def __init__(self, program: Program, scope: dict[str, Any], attempts: Attempts) -> None:
        self.scope, self._program, self._attempts = scope, program, attempts
        self.progress = Progress(program)
        self.root = Frame(program.root)
        self.visible = Visible(scope, self.root, self.progress.variables)
        self.ready: deque[tuple[Frame, Step]] = deque((self.root, step) for step in self.root.roots())
        self.waits = Waits()
        self.under_way: dict[Place, tuple[Frame, Effect]] = {}
        self._loops: dict[Place, Loop] = {}

    @property
    def is_over(self) -> bool:
        """Whether nothing is under way and nothing will come up."""
        return self.root.under_way == 0 and (self.root.failure is not None or self.root.left == 0)

    def enter(self, frame: Frame, effect: Effect) -> None:
        """The effect is under way."""
        self.under_way[Place(effect.record.position, effect.record.iteration)] = (frame, effect)
        for catch in frame.catches:
            catch.under_way += 1

    def cancel_all(self) -> None:
        """Nothing that waits or loops comes to an end of its own."""
        for frame, step in self.ready:  # what was told just now waits no more, and will not be looked at either
            place = Place(step.position, frame.iteration)
            past = self._attempts.of(place)
            if past and past[-1].status is ActionStatus.WAITING:
                self.drop(step, place)
        self._cancel_waits(self.root)
        self._cancel_loops(self.root)

    def complete(self, frame: Frame, step: Step, output: Any) -> None:
        """The action has given `output`."""
        self.progress.complete(step, output)
        self.visible.keep(frame, step, ActionStatus.COMPLETED, output, None)
        self.settle(frame, step)

    def skip(self, frame: Frame, step: Step) -> None:
        """The action's `if` or conditions did not hold."""
        self.progress.skip()
        self.visible.keep(frame, step, ActionStatus.SKIPPED, None, None)
        self.settle(frame, step)

    def give_up(self, frame: Frame, step: Step, failure: Failure) -> None:
        """The action has failed for good: `on_error` decides."""
        self.progress.fail()
        self.visible.keep(frame, step, ActionStatus.FAILED, None, failure)
        on_error = step.action.on_error
        if on_error == "stop":
            self._stop(frame, of_action(failure, step.action.key))
            return
        if on_error != "continue":
            frame.pass_over(step.position, self._program.positions[on_error.removeprefix("goto:")])
        self.settle(frame, step)

    def take_arm(self, frame: Frame, step: Step, arm: int) -> None:
        """The branch goes on with one of its arms."""
        self.progress.complete(step, {"arm": arm})
        self.visible.keep(frame, step, ActionStatus.COMPLETED, {"arm": arm}, None)
        self._open(Frame(step.blocks[arm], frame, step, frame.iteration, is_catch=False))

    def begin_loop(self, frame: Frame, step: Step, items: list[Any]) -> None:
        """The loop has these items."""
        self.progress.expand(step, len(items))
        settings = parse_for_each(step.action.config)
        loop = Loop(step, frame, items, settings.concurrency, settings.on_error == "continue")
        self._loops[Place(step.position, frame.iteration)] = loop
        self._feed(loop)

    def leave(self, effect: Effect) -> Frame:
        """The effect is under way no more; returns where it stands."""
        frame, _ = self.under_way.pop(Place(effect.record.position, effect.record.iteration))
        for catch in frame.catches:
            catch.under_way -= 1
        return frame

    def look_after(self, frame: Frame) -> None:
        """End the stopped iterations around `frame` in which nothing is under way any more."""
        for catch in frame.catches:
            if catch.failure is not None and catch.under_way == 0:
                self._close(catch)

    def drop(self, step: Step, place: Place) -> None:
        """What waits here will not happen: a delay is cancelled, a failed attempt was the last."""
        if self._attempts.of(place)[-1].status is ActionStatus.FAILED:
            self.progress.fail()
        else:
            self._attempts.close(step, place, ActionStatus.CANCELLED, self.scope["now"])

    def settle(self, frame: Frame, step: Step) -> None:
        """Nothing more comes of the action; those that waited for it come up."""
        self.ready.extend((frame, self._program.steps[position]) for position in frame.settle(step))
        if frame.left == 0:
            self._close(frame)

    def _open(self, frame: Frame) -> None:
        """Let the actions of a block come up that need nobody; an empty block is over at once."""
        self.ready.extend((frame, step) for step in frame.roots())
        if frame.left == 0:
            self._close(frame)

    def _close(self, frame: Frame) -> None:
        """Every action of the frame is settled."""
        if frame.over or frame.owner is None or frame.parent is None:
            return
        frame.over = True
        if frame.failure is not None:
            self._cancel_loops(frame)
        if not frame.is_catch:
            self.settle(frame.parent, frame.owner)
        elif (loop := self._loops.get(Place(frame.owner.position, frame.parent.iteration))) is not None:
            loop.end(frame)
            self._feed(loop)

    def _feed(self, loop: Loop) -> None:
        """Start the iterations that may start; without any left the loop is over."""
        while not loop.frame.is_stopped and (frame := loop.take()) is not None:
            self._open(frame)
        if loop.is_over:
            self._end_loop(loop)

    def _end_loop(self, loop: Loop) -> None:
        frame, step, now = loop.frame, loop.step, self.scope["now"]
        place = Place(step.position, frame.iteration)
        if self._loops.pop(place, None) is None:
            return
        if loop.failure is not None and not loop.goes_on:
            self._attempts.close(step, place, ActionStatus.FAILED, now, failure=loop.failure)
            self.give_up(frame, step, loop.failure)
        else:
            output = loop.output()
            self._attempts.close(step, place, ActionStatus.COMPLETED, now, output=output)
            self.complete(frame, step, output)

    def _stop(self, frame: Frame, failure: Failure) -> None:
        catch = frame.catch
        if catch.failure is None:
            catch.failure = failure
            self._cancel_waits(catch)
        self.look_after(frame)

    def _cancel_waits(self, catch: Frame) -> None:
        for place, step in self.waits.take_inside(catch):
            self.drop(step, place)

    def _cancel_loops(self, catch: Frame) -> None:
        """Loops inside of what was stopped come to no end of their own."""
        for place, loop in list(self._loops.items()):
            if any(around is catch for around in loop.frame.catches):
                del self._loops[place]
                self._attempts.close(loop.step, place, ActionStatus.CANCELLED, self.scope["now"], failure=catch.failure)
