"""Frames: where a run stands in the blocks of its program.

A frame is one pass through one block: the whole workflow, the chosen arm of a branch, or one iteration of a loop. It
counts for each of its actions how many of those it needs are not settled yet.

A failure that nobody catches stops the nearest frame that may stop by itself, its *catch*: an iteration of a loop, or
the whole run. Nothing new starts in a stopped catch; it ends when what is under way in it has ended.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from libs.common.domain.execution import Failure
from libs.common.domain.planner import Block, Step

MAX_ITEMS = 10_000
"""Items of one loop. An iteration inside another one is numbered `outer * MAX_ITEMS + inner`."""


class Place(NamedTuple):
    """One action in one pass: what attempts are counted by."""

    position: int
    iteration: int


@dataclass(slots=True, eq=False)
class Frame:
    """One pass through a block. `owner` is the action that opened it, in `parent`; both None for the whole run.

    `around`: the catches outside of it, the nearest first.
    """

    block: Block
    parent: "Frame | None" = None
    owner: Step | None = None
    iteration: int = 0
    names: dict[str, Any] = field(default_factory=dict[str, Any])
    is_catch: bool = True
    around: "tuple[Frame, ...]" = field(init=False)
    missing: dict[int, int] = field(init=False)
    left: int = field(init=False)
    passed: set[int] = field(default_factory=set[int])
    results: dict[str, Any] = field(default_factory=dict[str, Any])
    failure: Failure | None = None
    under_way: int = 0
    over: bool = False

    def __post_init__(self) -> None:
        # Not itself: in a circle it would wait for the collector, and there is one for every execution.
        self.around = () if self.parent is None else self.parent.catches
        self.missing = dict(self.block.missing)
        self.left = len(self.block.steps)

    def roots(self) -> Iterator[Step]:
        """The actions that may start at once."""
        return (step for step in self.block.steps if step.needs == 0)

    def settle(self, step: Step) -> Iterator[int]:
        """The action is settled; yields the positions of those that may start because of it."""
        self.left -= 1
        for follower in step.followers:
            self.missing[follower] -= 1
            if self.missing[follower] == 0:
                yield follower

    def pass_over(self, start: int, target: int) -> None:
        """Nothing between the two positions shall start any more."""
        self.passed.update(step.position for step in self.block.steps if start < step.position < target)

    @property
    def catch(self) -> "Frame":
        """The nearest catch: this frame itself if it is one."""
        return self if self.is_catch else self.around[0]

    @property
    def catches(self) -> "tuple[Frame, ...]":
        """The catches around what stands in this frame, the nearest first."""
        return (self, *self.around) if self.is_catch else self.around

    @property
    def is_stopped(self) -> bool:
        """Whether nothing may start here any more."""
        return self.failure is not None or any(catch.failure is not None for catch in self.around)

    @property
    def is_root_pass(self) -> bool:
        """Whether this frame stands in no loop."""
        return self.catch.parent is None

    def visible_results(self) -> dict[str, Any]:
        """Results of the iterations around, the innermost first to be seen; empty outside of loops."""
        found: dict[str, Any] = {}
        for catch in self.catches:
            if catch.parent is not None:
                found = {**catch.results, **found}
        return found

    def visible_names(self) -> dict[str, Any]:
        """`item` and `index` of the innermost loop; empty outside of loops."""
        return self.catch.names


@dataclass(slots=True, eq=False)
class Loop:
    """A `for_each` under way: which items are next and what the finished ones gave."""

    step: Step
    frame: Frame
    items: list[Any]
    concurrency: int
    goes_on: bool
    outputs: list[Any] = field(init=False)
    following: int = 0
    active: int = 0
    failed: int = 0
    failure: Failure | None = None

    def __post_init__(self) -> None:
        self.outputs = [None] * len(self.items)

    def take(self) -> Frame | None:
        """The frame of the next iteration, if one may start now."""
        stopped = self.failure is not None and not self.goes_on
        if stopped or self.following >= len(self.items) or self.active >= self.concurrency:
            return None
        index, self.following, self.active = self.following, self.following + 1, self.active + 1
        iteration = self.frame.iteration * MAX_ITEMS + index
        return Frame(self.step.blocks[0], self.frame, self.step, iteration, {"item": self.items[index], "index": index})

    def end(self, frame: Frame) -> None:
        """The iteration in `frame` is over."""
        self.active -= 1
        if frame.failure is not None:
            self.failed += 1
            self.failure = self.failure or frame.failure
        elif self.step.blocks[0].steps:
            result = frame.results.get(self.step.blocks[0].steps[-1].action.key)
            self.outputs[frame.names["index"]] = None if result is None else result["output"]

    @property
    def is_over(self) -> bool:
        """Whether no iteration runs and none will."""
        return self.active == 0 and (
            self.following >= len(self.items) or (self.failure is not None and not self.goes_on)
        )

    def output(self) -> dict[str, Any]:
        """What the loop gives: how many, how many failed, and the output of each iteration's last action."""
        return {"count": len(self.items), "failed": self.failed, "results": self.outputs}
