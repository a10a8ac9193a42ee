"""Planning: what a workflow version compiles to, and which of its actions may start after which.

A definition is compiled once into a `Program`: its actions, nested ones included, at fixed positions in the order in
which they are written. Every list of actions is a `Block`; a branch has one for each arm, a loop has one for its body.

    save ─ big? ─┬─ [arm 0] notify ─ tag ─┐
                 └─ [default] log ────────┴─ crm
    position  0     1        2      3          4   5

Within a block an action starts when those that it `needs` are settled; one that says nothing starts when everything
before it is. So a plain list runs in order, and branches run side by side only where somebody asked for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from libs.common.domain.action_type import ActionKind
from libs.common.domain.conditions import Conditions, compile_conditions
from libs.common.domain.templates import Template, compile_template
from libs.common.domain.workflow import Action, Definition, parse_branch, parse_for_each

STEERING = frozenset({"branch", "for_each", "wait"})

KindOf: TypeAlias = Callable[[str, Mapping[str, Any]], ActionKind]
"""Names the kind of an action by its type and config."""


@dataclass(frozen=True, slots=True)
class Guard:
    """An `if` and conditions, both of which must hold; either may be absent. `text` says them to people."""

    test: Template | None
    conditions: Conditions | None
    text: str

    def holds(self, scope: Mapping[str, Any]) -> bool:
        """Whether it holds. Raises `TemplateError`."""
        if self.test is not None and not _truth(self.test.render(scope)):
            return False
        return self.conditions is None or self.conditions.matches(scope)


@dataclass(frozen=True, slots=True)
class Step:
    """One action at its place. `needs`: how many siblings it waits for; `followers`: positions of those that wait for
    it; `end`: the first position behind its own nested actions; `steers`: it only decides what comes next.
    """

    position: int
    action: Action
    kind: ActionKind
    guard: Guard | None
    config: Template
    arms: tuple[Guard | None, ...]
    blocks: tuple["Block", ...]
    needs: int
    followers: tuple[int, ...]
    end: int
    steers: bool


@dataclass(frozen=True, slots=True)
class Block:
    """One list of actions. `missing`: for each position the number of siblings that it waits for."""

    steps: tuple[Step, ...]
    missing: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled workflow version."""

    definition: Definition
    root: Block
    steps: tuple[Step, ...]
    positions: Mapping[str, int]
    output: Template | None


def compile_program(definition: Definition, kind_of: KindOf) -> Program:
    """Compile a valid definition."""
    steps: list[Step | Any] = []
    root = _lay_out(definition.actions, kind_of, steps)
    output = None if definition.output is None else compile_template(definition.output)
    return Program(definition, root, tuple(steps), {step.action.key: step.position for step in steps}, output)


def _lay_out(actions: Sequence[Action], kind_of: KindOf, steps: list[Step | Any]) -> Block:
    needs = _needs(actions)
    places: list[int] = []
    nested: list[tuple[tuple[Guard | None, ...], tuple[Block, ...], int]] = []
    for action in actions:
        places.append(len(steps))
        steps.append(None)
        arms, blocks = _inner(action, kind_of, steps)
        nested.append((arms, blocks, len(steps)))
    followers: list[list[int]] = [[] for _ in actions]
    for index, needed in enumerate(needs):
        for other in needed:
            followers[other].append(places[index])
    for index, action in enumerate(actions):
        arms, blocks, end = nested[index]
        steps[places[index]] = Step(
            places[index], action, kind_of(action.type, action.config), _guard(action.if_, action.conditions),
            _config(action), arms, blocks, len(needs[index]), tuple(followers[index]), end, action.type in STEERING,
        )  # fmt: skip
    made = tuple(steps[place] for place in places)
    return Block(made, {step.position: step.needs for step in made})


def _inner(
    action: Action, kind_of: KindOf, steps: list[Step | Any]
) -> tuple[tuple[Guard | None, ...], tuple[Block, ...]]:
    """The guards of an action's arms and the blocks inside it."""
    if action.type == "branch":
        branch = parse_branch(action.config)
        arms = (*(_guard(case.if_, case.conditions) for case in branch.cases), None)
        lists = (*(case.actions for case in branch.cases), branch.default)
        return arms, tuple(_lay_out(nested, kind_of, steps) for nested in lists)
    if action.type == "for_each":
        return (), (_lay_out(parse_for_each(action.config).actions, kind_of, steps),)
    return (), ()


def _config(action: Action) -> Template:
    if action.type == "branch":
        return compile_template({})
    if action.type == "for_each":
        return compile_template({"items": action.config["items"]})
    return compile_template(action.config)


def _needs(actions: Sequence[Action]) -> list[tuple[int, ...]]:
    """For each action of a list the places of those it waits for. Who names none waits for all before it: it is enough
    to wait for those of them that no other one waits for.
    """
    place = {action.key: index for index, action in enumerate(actions)}
    ends: list[int] = []
    found: list[tuple[int, ...]] = []
    for index, action in enumerate(actions):
        needed = tuple(ends) if action.needs is None else tuple(sorted({place[key] for key in action.needs}))
        found.append(needed)
        ends = [*(end for end in ends if end not in needed), index]
    return found


def _guard(test: str | bool | None, conditions: Any) -> Guard | None:
    if test is None and not conditions:
        return None
    return Guard(
        None if test is None else compile_template(test),
        compile_conditions(conditions) if conditions else None,
        f"if {test}" if test is not None else "its conditions",
    )


def _truth(value: Any) -> bool:
    """A rendered `if`: only these are false: false, null, 0, and the texts "", "false" and "0"."""
    return value not in (None, False, 0, "", "false", "0")
