"""A run that touches nothing: the same machine, with stubbed effects and a clock that jumps over every wait."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from libs.common.domain.catalogue import CATALOGUE
from libs.common.domain.execution import AttemptRecord, ExecutionStatus, Failure
from libs.common.domain.run import Run
from libs.common.domain.turns import End
from libs.common.domain.workflow import Action

MAX_RECORDS = 2_000
_NOTHING: Mapping[str, Any] = {}
_TOO_LONG = End(ExecutionStatus.FAILED, failure=Failure("dry_run", f"more than {MAX_RECORDS} actions were run"))


class DryRun(msgspec.Struct, frozen=True):
    """How it would end, every attempt that it would make, and when it would be over."""

    end: End
    records: list[AttemptRecord]
    finished_at: datetime


def dry_run(run: Run, now: datetime, outputs: Mapping[str, Any] = _NOTHING) -> DryRun:
    """Run to the end. `outputs`: what the effects give, by the key of their action; else something of that shape."""
    records: dict[tuple[int, int, int], AttemptRecord] = {}
    while True:
        turn = run.advance(now)
        for effect in (*turn.effects, *turn.local):
            action = effect.step.action
            run.succeed(effect, outputs.get(action.key, _stub(action)), now)
        for record in run.attempts.take_records():
            records[record.position, record.iteration, record.attempt] = record
        if turn.end is None and len(records) <= MAX_RECORDS:
            now = max(now, turn.wake_at) if turn.wake_at is not None and not (turn.effects or turn.local) else now
            continue
        return DryRun(turn.end or _TOO_LONG, [record for _, record in sorted(records.items())], now)


def _stub(action: Action) -> Any:
    """What an action gives that is not done."""
    if action.type == "wait":
        told = {"approved": True, "comment": None, "actor": None}
        return told if action.config.get("approval") is not None else {"type": action.config.get("event"), "data": {}}
    row = CATALOGUE.get(action.type)
    return {} if row is None or row.output is None else row.output
