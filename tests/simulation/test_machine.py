"""The run machine in a simulated world: random programs, effects that end in any order, a crash after any flush.

Whatever happens: the run ends, with the same status as without crashes; nothing recorded completed is asked for again;
no record is left open; the counts are those of the records.
"""

import os
from random import Random

import msgspec
import pytest

from libs.common.domain.catalogue import kind_of_action
from libs.common.domain.execution import ActionStatus, AttemptRecord
from libs.common.domain.planner import compile_program
from libs.common.domain.workflow import Definition
from tests.simulation.machine import OPEN, MachineWorld
from tests.simulation.programs import random_actions

SCHEDULES = int(os.environ.get("SIGNALBOX_SIMULATE_SCHEDULES", "1500"))
BATCHES = 10
_DECIDED = {ActionStatus.COMPLETED, ActionStatus.SKIPPED}


def _finals(world: MachineWorld) -> dict[tuple[int, int], AttemptRecord]:
    return {(position, iteration): record for (position, iteration, _), record in sorted(world.durable.items())}


def _disagreements(calm: MachineWorld, stormy: MachineWorld) -> list[tuple[int, int]]:
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
        calm = MachineWorld(program, Random(seed + 1), crash_rate=0.0)
        end = calm.live()
        stormy = MachineWorld(program, Random(seed + 2), crash_rate=0.3)
        stormy_end = stormy.live()
        crashes += stormy.crashes
        assert stormy_end.status is end.status, seed
        for world in (calm, stormy):
            statuses = [record.status for record in _finals(world).values()]
            assert not set(statuses) & set(OPEN), seed
            counted = statuses.count(ActionStatus.COMPLETED) + statuses.count(ActionStatus.FAILED)
            assert world.run.progress.executed == counted <= world.run.progress.total, seed
        assert _disagreements(calm, stormy) == [], seed
    assert crashes > 0
