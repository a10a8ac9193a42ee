"""How far one execution has come: counts for people, variables for its templates."""

from collections.abc import Iterable
from typing import Any

from libs.common.domain.execution import ActionStatus
from libs.common.domain.planner import Program, Step
from libs.common.domain.turns import PastAttempt


class Progress:
    """`total` counts the actions of the program, those in a loop once for each item as soon as the items are known."""

    __slots__ = ("executed", "failed", "skipped", "total", "variables")

    def __init__(self, program: Program) -> None:
        self.total = len(program.steps)
        self.variables: dict[str, Any] = {}
        self.executed = self.failed = self.skipped = 0

    def complete(self, step: Step, output: Any) -> None:
        """The action has given `output`."""
        self.executed += 1
        if step.action.type == "set_variables":
            self.variables.update(output)

    def expand(self, loop: Step, items: int) -> None:
        """A loop has so many items."""
        self.total += (items - 1) * (loop.end - loop.position - 1)

    def skip(self) -> None:
        """An action's `if` or conditions did not hold."""
        self.skipped += 1

    def fail(self) -> None:
        """An action has failed for good."""
        self.executed += 1
        self.failed += 1

    def recount(self, attempts: Iterable[PastAttempt]) -> None:
        """Count from the last attempts of all actions."""
        self.executed = self.failed = self.skipped = 0
        self.count_past(attempts)
        self.total = max(self.total, self.executed + self.skipped)

    def count_past(self, attempts: Iterable[PastAttempt]) -> None:
        """What happened inside of a loop that ended before: the last attempt of each of its actions."""
        for attempt in attempts:
            match attempt.status:
                case ActionStatus.COMPLETED:
                    self.executed += 1
                case ActionStatus.FAILED:
                    self.fail()
                case ActionStatus.SKIPPED:
                    self.skipped += 1
                case _:
                    pass
