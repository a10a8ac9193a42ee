"""The run machine in a simulated world: random programs, effects that end in any order, a crash after any flush.

Whatever happens: the run ends, with the same status as without crashes; nothing recorded completed is asked for again;
no record is left open; the counts are those of the records.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from uuid import UUID

import msgspec
import pytest

from libs.common.domain.catalogue import kind_of_action
from libs.common.domain.execution import ActionStatus, AttemptRecord, Failure
from libs.common.domain.planner import Program, compile_program
from libs.common.domain.run import Run
from libs.common.domain.scope import build_scope
from libs.common.domain.turns import Effect, End, PastAttempt, Turn
from libs.common.domain.workflow import Definition
from tests.simulation.programs import random_actions

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EXECUTION = UUID(int=7)
SCHEDULES = int(os.environ.get("SIGNALBOX_SIMULATE_SCHEDULES", "3000"))
BATCHES = 10
_OPEN = (ActionStatus.STARTED, ActionStatus.WAITING)
_DECIDED = {ActionStatus.COMPLETED, ActionStatus.SKIPPED}
_STEPS = 3_000


class World:
    """What survives a crash: the records; and what does not: the run in memory and the effects under way."""

    def __init__(self, program: Program, chance: Random, crash_rate: float) -> None:
        self.program, self.chance, self.crash_rate = program, chance, crash_rate
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
        if Random(f"{effect.key}:{tried}").random() < 0.6:
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
            assert old is None or old.status in _OPEN, f"{old} becomes {record}"
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


def _finals(world: World) -> dict[tuple[int, int], AttemptRecord]:
    return {(position, iteration): record for (position, iteration, _), record in sorted(world.durable.items())}


def _disagreements(calm: World, stormy: World) -> list[tuple[int, int]]:
    """Actions that one world completed and the other skipped. (What a failure beside it cut off is chance.)"""
    one, other = _finals(calm), _finals(stormy)
    return [place for place in one.keys() & other.keys() if {one[place].status, other[place].status} == _DECIDED]


@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_run_ends_the_same_whatever_crashes(batch: int) -> None:
    crashes = 0
    for number in range(SCHEDULES // BATCHES):
        seed = batch * 1_000_000 + number
        definition = msgspec.convert({"name": "simulated", "actions": random_actions(Random(seed))}, Definition)
        program = compile_program(definition, kind_of_action)
        calm = World(program, Random(seed + 1), crash_rate=0.0)
        end = calm.live()
        stormy = World(program, Random(seed + 2), crash_rate=0.3)
        stormy_end = stormy.live()
        crashes += stormy.crashes
        assert stormy_end.status is end.status, seed
        for world in (calm, stormy):
            statuses = [record.status for record in _finals(world).values()]
            assert not set(statuses) & set(_OPEN), seed
            counted = statuses.count(ActionStatus.COMPLETED) + statuses.count(ActionStatus.FAILED)
            assert world.run.progress.executed == counted <= world.run.progress.total, seed
        assert _disagreements(calm, stormy) == [], seed
    assert crashes > 0
