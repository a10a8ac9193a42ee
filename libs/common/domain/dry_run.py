"""A run that touches nothing: the same machine, with stubbed effects and a clock that jumps over every wait."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from libs.common.domain.catalogue import CATALOGUE
from libs.common.domain.execution import AttemptRecord, ExecutionStatus, Failure
from libs.common.domain.local_actions import foretold
from libs.common.domain.pure_actions import ActionFailed
from libs.common.domain.run import Run
from libs.common.domain.turns import Effect, End
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
            _settle(run, effect, outputs, now)
        for record in run.attempts.take_records():
            records[record.position, record.iteration, record.attempt] = record
        if turn.end is None and len(records) <= MAX_RECORDS:
            now = max(now, turn.wake_at) if turn.wake_at is not None and not (turn.effects or turn.local) else now
            continue
        return DryRun(turn.end or _TOO_LONG, [record for _, record in sorted(records.items())], now)


def _settle(run: Run, effect: Effect, outputs: Mapping[str, Any], now: datetime) -> None:
    """Tell the run what the effect gives: what was given for it, else a stub; one that could not be done fails."""
    action = effect.step.action
    try:
        run.succeed(effect, outputs[action.key] if action.key in outputs else _stub(action, effect, now), now)
    except ActionFailed as error:
        run.fail(effect, error.failure, now, 0.0)


def _stub(action: Action, effect: Effect, now: datetime) -> Any:
    """What an effect gives that does not happen: something of that shape, with the data of a record it would write."""
    if action.type == "wait":
        told = {"approved": True, "comment": None, "actor": None}
        return told if action.config.get("approval") is not None else {"type": action.config.get("event"), "data": {}}
    row = CATALOGUE.get(action.type)
    if row is None or row.output is None:
        return {}
    known = foretold(action.type, effect.config, now) if effect.is_local else {}
    return {**row.output, **known} if known else row.output
