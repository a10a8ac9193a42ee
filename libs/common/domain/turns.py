"""What a run and its surroundings say to each other: what to do next, and what is on record of earlier."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from libs.common.domain.action_type import ActionKind
from libs.common.domain.execution import ActionStatus, AttemptRecord, ExecutionStatus, Failure
from libs.common.domain.planner import Step


@dataclass(frozen=True, slots=True, eq=False)
class Effect:
    """An attempt that touches the world or our own data. `record` is its row before the call; `key` is the same for
    every attempt. `context`: what else of the run a local action needs. `asks`: it is not the action that is done but
    the question whether to do it again.
    """

    step: Step
    config: dict[str, Any]
    record: AttemptRecord
    key: str
    context: Any = None
    asks: bool = False

    @property
    def is_local(self) -> bool:
        """Whether it is done in the transaction that records its turn."""
        return self.asks or self.step.kind is ActionKind.LOCAL


@dataclass(frozen=True, slots=True)
class End:
    """The run is over."""

    status: ExecutionStatus
    output: Any = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What comes next: effects to start now, beside those under way; the instant at which to come back unless an
    effect ends before (None: there is none); or the end. `local` is done in the transaction that records the turn; its
    outcomes are told before anything else.
    """

    effects: tuple[Effect, ...] = ()
    wake_at: datetime | None = None
    end: End | None = None
    local: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a local action gave: an output, a failure, or (with a `state`) that it waits to be told something, at most
    until `wake_at`.
    """

    output: Any = None
    failure: Failure | None = None
    state: Any = None
    wake_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PastAttempt:
    """What the records say of an earlier attempt."""

    position: int
    attempt: int
    status: ActionStatus
    started_at: datetime
    output: Any = None
    failure: Failure | None = None
    wake_at: datetime | None = None
    iteration: int = 0
    state: Any = None
