"""An execution in this worker's hands, and whether the worker keeps it."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from libs.common.db.signals import Signal
from libs.common.domain.concurrency import KeyOf
from libs.common.domain.run import Run
from libs.common.domain.turns import Effect, Turn

SHORT_WAIT_SECONDS = 2.0
"""A shorter wait is spent inside the executor; a longer one is a row that the scheduler finds."""


class Control(StrEnum):
    """What somebody wants of an execution that runs."""

    CANCEL = "cancel"
    PAUSE = "pause"


@dataclass(slots=True)
class Held:
    """`epoch` is the one it writes under; `claimed` once its row says so. `data`: what its trigger brought. `key_of`:
    how its concurrency key is found, if it needs a slot to begin; `queued`: it has none yet. `has_ties`: others may
    have to know of its end. `wish`: what somebody wants of it; `bell` rings when that changes, or it was told
    something; `told`: what the run has still to hear. `output_bytes`: of the outputs on record. `effects`: those under
    way.
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
    claimed: bool = False
    wish: Control | None = None
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    output_bytes: int = 0
    told: list[Signal] = field(default_factory=list[Signal])
    effects: "dict[asyncio.Task[Any], Effect]" = field(default_factory=dict)

    async def stop_effects(self) -> None:
        """Cancel the effects that are under way, and wait until they are gone."""
        for task in self.effects:
            task.cancel()
        if self.effects:
            await asyncio.gather(*self.effects, return_exceptions=True)
        self.effects.clear()


def parks(held: Held, turn: Turn, now: datetime) -> bool:
    """Whether the worker lets go of it after this turn: nothing is under way, and nothing will be for a while."""
    if turn.effects or turn.local or held.effects:
        return False
    return turn.wake_at is None or (turn.wake_at - now).total_seconds() >= SHORT_WAIT_SECONDS
