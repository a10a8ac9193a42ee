"""An execution in this worker's hands, and whether the worker keeps it."""

import asyncio
import random
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import structlog

from libs.common.db.journaling import Written
from libs.common.db.signals import Place, Signal
from libs.common.domain.concurrency import KeyOf
from libs.common.domain.execution import Failure
from libs.common.domain.run import Run
from libs.common.domain.turns import Effect, Turn

SHORT_WAIT_SECONDS = 2.0
"""A shorter wait is spent inside the executor; a longer one is a row that the scheduler finds."""

Ended = tuple[Any, Failure | None]
"""How an effect has ended: its output, or why it has none."""

_log = structlog.get_logger(__name__)


class Control(StrEnum):
    """What somebody wants of an execution that runs."""

    CANCEL = "cancel"
    PAUSE = "pause"


@dataclass(slots=True)
class Held:
    """`epoch` is the one it writes under; `claimed` once its row says so. `data`: what its trigger brought. `key_of`:
    how its concurrency key is found, if it needs a slot to begin; `queued`: it has none yet. `has_ties`: others may
    have to know of its end. `is_bulk`: it lets others pass. `wish`: what somebody wants of it; `bell` rings when that
    changes, or it was told something; `told`: what the run has still to hear. `output_bytes`: of the outputs on record.
    `effects`: those under way. `came_by`, `accepted_by`, `goes_on_from`: places in its trace, of what announced it this
    time, of what made it and of the stretch before.
    """

    tenant_id: UUID
    execution_id: UUID
    workflow_id: UUID
    epoch: int
    run: Run
    data: Any = None
    actor: str | None = None
    key_of: KeyOf | None = None
    queued: bool = False
    has_ties: bool = False
    is_bulk: bool = False
    claimed: bool = False
    wish: Control | None = None
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    output_bytes: int = 0
    told: list[Signal] = field(default_factory=list[Signal])
    effects: "dict[asyncio.Task[Ended], Effect]" = field(default_factory=dict)
    came_by: str = ""
    accepted_by: str = ""
    goes_on_from: str = ""

    @property
    def trace_id(self) -> str:
        """As log lines name it; empty without a trace."""
        return self.run.traceparent[3:35]

    def in_vain(self, now: datetime) -> list[Place]:
        """The places at which it has waited long enough to be told something."""
        places = self.run.in_vain(now)
        return [Place(self.tenant_id, self.execution_id, place.position, place.iteration) for place in places]

    def settle_ended(self, now: datetime) -> None:
        """Tell the run of every effect that has ended. One that was interrupted is left to the end of the run."""
        for task in [task for task in self.effects if task.done()]:
            effect = self.effects.pop(task)
            if not task.cancelled():
                self._settle(effect, task.result(), now)

    def settle_local(self, turn: Turn, written: Written, now: datetime) -> None:
        """Tell the run what came of the local actions that were done with the record of the turn."""
        for effect, outcome in zip(turn.local, written.outcomes, strict=True):
            try:
                self.run.settle(effect, outcome, now, random.random())  # noqa: S311 - spreads retries, guards nothing
            except Exception as error:  # noqa: BLE001 - whatever it was, the run has to end
                self.run.broken = self.broken_by(error)

    def broken_by(self, error: Exception) -> Failure:
        """For a step that breaks the machine: why the run ends, said in the log too."""
        _log.error(
            "run broke", execution_id=self.execution_id, workflow_id=self.workflow_id, trace_id=self.trace_id,
            exc_info=error,
        )  # fmt: skip
        return Failure("internal", f"the run broke: {type(error).__name__}")

    async def stop_effects(self) -> None:
        """Cancel the effects that are under way, and wait until they are gone."""
        for task in self.effects:
            task.cancel()
        if self.effects:
            await asyncio.gather(*self.effects, return_exceptions=True)
        self.effects.clear()

    def _settle(self, effect: Effect, ended: Ended, now: datetime) -> None:
        output, failure = ended
        try:
            if failure is None:
                self.run.succeed(effect, output, now)
            else:
                self.run.fail(effect, failure, now, random.random())  # noqa: S311 - spreads retries, guards nothing
        except Exception as error:  # noqa: BLE001 - whatever it was, the run has to end
            self.run.broken = self.broken_by(error)


def parks(held: Held, turn: Turn, now: datetime) -> bool:
    """Whether the worker lets go of it after this turn: nothing is under way, and nothing will be for a while."""
    if turn.effects or turn.local or held.effects:
        return False
    return turn.wake_at is None or (turn.wake_at - now).total_seconds() >= SHORT_WAIT_SECONDS
