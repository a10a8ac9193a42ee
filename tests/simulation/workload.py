"""What a world has to do: one to three random workflows, which run one another, and executions of them.

Of each workflow it says how it would end without any fault, if that does not depend on people, time or chance.
"""

from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

import msgspec

from libs.common.accept import NewExecution
from libs.common.domain.catalogue import kind_of_action
from libs.common.domain.configs.flow import waits_for_somebody
from libs.common.domain.execution import Failure
from libs.common.domain.planner import compile_program
from libs.common.domain.turns import Effect, Outcome
from libs.common.domain.workflow import Action, Concurrency, Definition, walk_actions
from tests.simulation.machine import MachineWorld
from tests.simulation.programs import Style, random_actions

TENANT = UUID(int=0xACE)
ACTOR = "user:7"
_POLICIES = ("queue", "queue", "skip", "cancel_running")


@dataclass(frozen=True, slots=True)
class Workflow:
    """`expected`: how it ends without any fault; empty where that is a matter of chance."""

    id: UUID
    name: str
    text: str
    on_failure: bool
    concurrency: Concurrency | None
    expected: str


class Workload:
    """Its workflows, the last one first, and what is to be accepted."""

    def __init__(self, chance: Random, *, tied: bool = False) -> None:
        """`tied`: there are many local actions, children and waits, and no effects."""
        self._chance = chance
        self.workflows: dict[UUID, Workflow] = {}
        self._talks, self._effects = chance.choice((0, 1, 1, 3)), chance.choice((0, 2, 5, 5))
        self._tied = tied
        if tied:
            self._talks, self._effects = 4, 0
        for number in reversed(range(2 if tied else chance.randint(1, 3))):
            one = self._workflow(number)
            self.workflows[one.id] = one

    def new(self) -> list[NewExecution]:
        """What somebody starts, in this order; the ids are yet to be given."""
        chance, ids = self._chance, list(self.workflows)
        crowded = any(one.concurrency is not None for one in self.workflows.values())
        return [
            NewExecution(TENANT, chance.choice(ids), 1, None, "", "manual", b'{"n":1}', ACTOR, id=TENANT)
            for _ in range(chance.randint(1, 6 if crowded else 3))
        ]

    def _workflow(self, number: int) -> Workflow:
        chance, names = self._chance, tuple(one.name for one in self.workflows.values())
        style = Style(long=8, effects=self._effects, talks=self._talks, workflows=names if self._talks else ())
        depth = (0 if names else 1) if self._tied else min(len(names), 2)
        raw: dict[str, Any] = {"name": f"w{number}", "actions": random_actions(chance, style, depth=depth)}
        if chance.random() < 0.1:
            raw["timeout_seconds"] = chance.choice((3, 10))
        if names and self._talks and chance.random() < 0.3:
            raw["on_failure"] = names[0]
        if self._talks and chance.random() < 0.4:
            raw["concurrency"] = {"limit": chance.choice((1, 1, 2)), "policy": chance.choice(_POLICIES)}
            if chance.random() < 0.3:
                raw["concurrency"]["key"] = "{{ workflow.version }}"
        text, definition = msgspec.json.encode(raw), msgspec.convert(raw, Definition)
        return Workflow(
            UUID(int=0xF10 + number), raw["name"], text.decode(), "on_failure" in raw, definition.concurrency,
            self._expected(text, definition),
        )  # fmt: skip

    def _expected(self, text: bytes, definition: Definition) -> str:
        children = [one for one in self.workflows.values() if f'"workflow":"{one.name}"' in text.decode()]
        unsure = [one for one in children if not one.expected or one.concurrency is not None]
        jumps = b'"goto:' in text and b'"needs":' in text  # what a branch beside it has begun by then is chance
        if jumps or unsure or any(_is_matter_of_chance(action) for _, action, _ in walk_actions(definition)):
            return ""
        program = compile_program(definition, kind_of_action)
        return MachineWorld(program, self._chance, 0.0, self._outcome).live().status.value

    def _outcome(self, effect: Effect) -> Outcome:
        """What a local action gives where nothing fails."""
        if effect.record.type == "run_workflow" and effect.config.get("wait", True):
            child = next(one for one in self.workflows.values() if one.name == effect.config["workflow"])
            if child.expected != "completed":
                return Outcome(failure=Failure("child_failed", "as expected"))
        return Outcome({})


def _is_matter_of_chance(action: Action) -> bool:
    if action.type == "wait" and waits_for_somebody(action.config):
        return True
    return action.on_unknown in ("fail", "ask") or (
        action.type == "run_workflow" and "timeout_seconds" in action.config
    )
