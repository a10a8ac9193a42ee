"""Planning: given what has happened, which action is next?

A definition is compiled once into a `Program`: its actions, nested ones included, in the order in which they are
written. A branch stands before the actions of its arms; an arm that was not chosen is passed over.

    save ─ big? ─┬─ [arm 0] notify ─ tag ─┐
                 └─ [default] log ────────┴─ crm
    position  0     1        2      3          4   5

`Progress` walks the program. It is built again after a crash by telling it the recorded results in order, so there is
no second notion of state that could disagree with the records.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from libs.common.domain.catalogue import ActionKind
from libs.common.domain.conditions import Conditions, compile_conditions
from libs.common.domain.execution import ActionStatus, Failure
from libs.common.domain.templates import Template, compile_template
from libs.common.domain.workflow import Action, Definition, parse_branch

TOP = -1
"""Parent of an action that stands in no branch."""


@dataclass(frozen=True, slots=True)
class Guard:
    """An `if` and conditions, both of which must hold; either may be absent."""

    test: Template | None
    conditions: Conditions | None

    def holds(self, scope: Mapping[str, Any]) -> bool:
        """Whether it holds. Raises `TemplateError`."""
        if self.test is not None and not _truth(self.test.render(scope)):
            return False
        return self.conditions is None or self.conditions.matches(scope)


@dataclass(frozen=True, slots=True)
class Step:
    """One action at its place. `end` is the first position behind its own nested actions."""

    position: int
    action: Action
    kind: ActionKind
    guard: Guard | None
    config: Template
    arms: tuple[Guard | None, ...]
    parent: int
    arm: int
    end: int


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled workflow version."""

    definition: Definition
    steps: tuple[Step, ...]
    positions: Mapping[str, int]
    output: Template | None


def compile_program(definition: Definition, kind_of: Callable[[str], ActionKind]) -> Program:
    """Compile a valid definition. `kind_of` names the kind of an action type."""
    steps: list[Step] = []
    _lay_out(definition.actions, TOP, 0, kind_of, steps)
    output = None if definition.output is None else compile_template(definition.output)
    return Program(definition, tuple(steps), {step.action.key: step.position for step in steps}, output)


def _lay_out(
    actions: Sequence[Action], parent: int, arm: int, kind_of: Callable[[str], ActionKind], steps: list[Step | Any]
) -> None:
    for action in actions:
        position = len(steps)
        steps.append(None)
        arms: tuple[Guard | None, ...] = ()
        if action.type == "branch":
            branch = parse_branch(action.config)
            arms = (*(_guard(case.if_, case.conditions) for case in branch.cases), None)
            for number, nested in enumerate((*(case.actions for case in branch.cases), branch.default)):
                _lay_out(nested, position, number, kind_of, steps)
        config = compile_template({} if arms else action.config)
        guard = _guard(action.if_, action.conditions)
        steps[position] = Step(
            position, action, kind_of(action.type), guard, config, arms, parent, arm, len(steps)
        )  # fmt: skip


def _guard(test: str | bool | None, conditions: Any) -> Guard | None:
    if test is None and not conditions:
        return None
    return Guard(
        None if test is None else compile_template(test),
        compile_conditions(conditions) if conditions else None,
    )


@dataclass(slots=True)
class Progress:
    """How far one execution has come. `results` and `variables` are what templates see as `actions` and `vars`."""

    program: Program
    results: dict[str, Any] = field(default_factory=dict[str, Any])
    variables: dict[str, Any] = field(default_factory=dict[str, Any])
    executed: int = 0
    failed: int = 0
    skipped: int = 0
    _cursor: int = 0
    _chosen: dict[int, int] = field(default_factory=dict[int, int])

    def next_step(self) -> Step | None:
        """The action to run now; None when the workflow has no more."""
        steps = self.program.steps
        while self._cursor < len(steps):
            step = steps[self._cursor]
            if step.parent == TOP or self._chosen.get(step.parent) == step.arm:
                return step
            self._cursor = step.end
        return None

    def complete(self, step: Step, output: Any) -> None:
        """The action has given `output`."""
        self.executed += 1
        if step.action.type == "set_variables":
            self.variables.update(output)
        elif step.arms:
            self._chosen[step.position] = output["arm"]
        self._pass(step, ActionStatus.COMPLETED, output, None, step.position + 1)

    def skip(self, step: Step) -> None:
        """The action's `if` or conditions did not hold."""
        self.skipped += 1
        self._pass(step, ActionStatus.SKIPPED, None, None, step.end)

    def fail(self, step: Step, failure: Failure) -> bool:
        """The action has failed for good. Returns whether the workflow goes on (`on_error`)."""
        self.executed += 1
        self.failed += 1
        on_error = step.action.on_error
        target = self.program.positions[on_error.removeprefix("goto:")] if on_error.startswith("goto:") else step.end
        self._pass(step, ActionStatus.FAILED, None, failure, target)
        return on_error != "stop"

    def _pass(self, step: Step, status: ActionStatus, output: Any, failure: Failure | None, cursor: int) -> None:
        error = None if failure is None else {"class": failure.error_class, "message": failure.message}
        self.results[step.action.key] = {"status": status.value, "output": output, "error": error}
        self._cursor = cursor


def _truth(value: Any) -> bool:
    """A rendered `if`: only these are false: false, null, 0, and the texts "", "false" and "0"."""
    return value not in (None, False, 0, "", "false", "0")
