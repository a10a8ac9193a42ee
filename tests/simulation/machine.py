"""The run machine in a small world: effects that end in any order, a crash after any flush, time that jumps."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from random import Random
from uuid import UUID

import msgspec

from libs.common.domain.execution import ActionStatus, AttemptRecord, Failure
from libs.common.domain.planner import Program
from libs.common.domain.run import Run
from libs.common.domain.scope import build_scope
from libs.common.domain.turns import Effect, End, Outcome, PastAttempt, Turn
from tests.simulation.programs import succeeds

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EXECUTION = UUID(int=7)
OPEN = (ActionStatus.STARTED, ActionStatus.WAITING)
_STEPS = 3_000


class MachineWorld:
    """What survives a crash: the records; and what does not: the run in memory and the effects under way."""

    def __init__(
        self, program: Program, chance: Random, crash_rate: float, settle: Callable[[Effect], Outcome] | None = None
    ) -> None:
        """`settle`: what a local action gives."""
        self.program, self.chance, self.crash_rate, self._settle = program, chance, crash_rate, settle
        self.durable: dict[tuple[int, int, int], AttemptRecord] = {}
        self.now, self.crashes = NOW, 0
        self.run, self.effects = self._rebuilt(), list[Effect]()

    def live(self) -> End:
        """Run to the end."""
        turn = self.run.advance(self.now)
        for _ in range(_STEPS):
            self._flush()
            if turn.end is not None:
                return turn.end
            if self.chance.random() < self.crash_rate:
                self.crashes, self.effects, self.run = self.crashes + 1, [], self._rebuilt()
            else:
                self.effects += turn.effects
                if turn.local and self._settle is not None:
                    for effect in turn.local:
                        self.run.settle(effect, self._settle(effect), self.now, 0.5)
                else:
                    self._something_happens(turn)
            turn = self.run.advance(self.now)
        raise AssertionError("the run does not end")

    def _something_happens(self, turn: Turn) -> None:
        if self.effects and (turn.wake_at is None or self.chance.random() < 0.8):
            self._end_effect(self.effects.pop(self.chance.randrange(len(self.effects))))
        else:
            assert turn.wake_at is not None, "nothing is under way and nothing will wake the run"
            self.now = max(self.now, turn.wake_at)

    def _end_effect(self, effect: Effect) -> None:
        """Whether an effect succeeds depends on the effect alone, so that every order gives the same."""
        tried = sum(1 for record in self._attempts(effect) if record.status is ActionStatus.FAILED)
        if succeeds(effect.step.action.key, effect.record.iteration, tried):
            self.run.succeed(effect, {"status": 200}, self.now)
        else:
            self.run.fail(effect, Failure("unavailable", "503", http_status=503), self.now, 0.5)

    def _attempts(self, effect: Effect) -> Iterator[AttemptRecord]:
        place = (effect.record.position, effect.record.iteration)
        return (record for (*where, _), record in self.durable.items() if tuple(where) == place)

    def _flush(self) -> None:
        for record in self.run.attempts.take_records():
            at = (record.position, record.iteration, record.attempt)
            old = self.durable.get(at)
            assert old is None or old.status in OPEN, f"{old} becomes {record}"
            done = [one for (*where, _), one in self.durable.items() if tuple(where) == at[:2] and one is not old]
            assert all(one.status is not ActionStatus.COMPLETED for one in done), f"{record} after it was completed"
            self.durable[at] = record

    def _rebuilt(self) -> Run:
        trigger = {"id": None, "type": "manual", "key": ""}
        scope = build_scope(trigger, {"n": 1}, {"id": str(EXECUTION)}, {}, {})
        run = Run(EXECUTION, self.program, scope, NOW)
        run.remember([_remembered(record) for _, record in sorted(self.durable.items())])
        return run


def _remembered(record: AttemptRecord) -> PastAttempt:
    state = None if record.state is None else msgspec.json.decode(msgspec.json.encode(record.state))
    return PastAttempt(
        record.position, record.attempt, record.status, record.started_at, record.output, record.error, record.wake_at,
        record.iteration, state,
    )  # fmt: skip
