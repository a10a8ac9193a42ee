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

from libs.common.domain.action_type import ActionKind, OnUnknown
from libs.common.domain.catalogue import on_unknown_of
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
    it; `end`: the first position behind its own nested actions; `steers`: it only decides what comes next;
    `on_unknown`: what becomes of an attempt in doubt.
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
    on_unknown: OnUnknown


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


_Inside: TypeAlias = tuple[tuple[Guard | None, ...], tuple[Block, ...], int]


def compile_program(
    definition: Definition, kind_of: KindOf, on_unknown_of: Callable[[str], OnUnknown] = on_unknown_of
) -> Program:
    """Compile a valid definition. `on_unknown_of`: what holds for a type where an action does not say it."""
    steps: list[Step | Any] = []
    root = _Layout(kind_of, on_unknown_of, steps).lay_out(definition.actions)
    output = None if definition.output is None else compile_template(definition.output)
    return Program(definition, root, tuple(steps), {step.action.key: step.position for step in steps}, output)


class _Layout:
    """Gives every action of a definition its position."""

    def __init__(self, kind_of: KindOf, on_unknown_of: Callable[[str], OnUnknown], steps: list[Step | Any]) -> None:
        self._kind_of, self._on_unknown_of, self._steps = kind_of, on_unknown_of, steps

    def lay_out(self, actions: Sequence[Action]) -> Block:
        """The block of a list of actions; its steps, and those inside of them, are appended."""
        steps, needs = self._steps, _needs(actions)
        places: list[int] = []
        nested: list[_Inside] = []
        for action in actions:
            places.append(len(steps))
            steps.append(None)
            nested.append(self._inside(action))
        followers: list[list[int]] = [[] for _ in actions]
        for index, needed in enumerate(needs):
            for other in needed:
                followers[other].append(places[index])
        for index, action in enumerate(actions):
            steps[places[index]] = self._step(
                action, places[index], nested[index], len(needs[index]), tuple(followers[index])
            )
        made = tuple(steps[place] for place in places)
        return Block(made, {step.position: step.needs for step in made})

    def _step(self, action: Action, place: int, inside: _Inside, needs: int, followers: tuple[int, ...]) -> Step:
        kind, (arms, blocks, end) = self._kind_of(action.type, action.config), inside
        steers = action.type in STEERING and kind is ActionKind.PURE
        on_unknown = action.on_unknown or self._on_unknown_of(action.type)
        return Step(
            place, action, kind, _guard(action.if_, action.conditions), _config(action), arms, blocks, needs, followers,
            end, steers, on_unknown,
        )  # fmt: skip

    def _inside(self, action: Action) -> _Inside:
        """The guards of an action's arms, the blocks inside it, and the first position behind them."""
        arms: tuple[Guard | None, ...] = ()
        blocks: tuple[Block, ...] = ()
        if action.type == "branch":
            branch = parse_branch(action.config)
            arms = (*(_guard(case.if_, case.conditions) for case in branch.cases), None)
            blocks = tuple(
                self.lay_out(nested) for nested in (*(case.actions for case in branch.cases), branch.default)
            )
        elif action.type == "for_each":
            blocks = (self.lay_out(parse_for_each(action.config).actions),)
        return arms, blocks, len(self._steps)


def _config(action: Action) -> Template:
    if action.type == "branch":
        return compile_template({})
    if action.type == "for_each":
        return compile_template({"items": action.config["items"]})
    if action.type == "wait":  # what an event must match is judged when one comes
        return compile_template({name: value for name, value in action.config.items() if name != "match"})
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
