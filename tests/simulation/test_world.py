"""Thousands of installations in bad weather: crashes, frozen processes, lost and repeated messages, answers that never
come. In every one of them the laws hold. A seed is a whole history: `make simulate SEED=…` tells it again.
"""

import os
from collections import Counter
from collections.abc import Iterator

import msgspec
import pytest

from libs.common.domain.awaiting import QUESTION
from tests.simulation.tables import Flaw
from tests.simulation.weather import CALM
from tests.simulation.world import World

FIRST = int(os.environ.get("SIGNALBOX_SIMULATE_FROM", "0"))
SCHEDULES = int(os.environ.get("SIGNALBOX_SIMULATE_SCHEDULES", "700"))
_BATCH = 700
_SEEDS_FOR_A_FLAW = 1_000
_BEGINNINGS = {"manual", "workflow", "failure"}
_TIES = _BEGINNINGS | {
    "event",
    "execution",
    "approval",
    "timeout",
    "doubt",
    "concurrency_skipped",
    "concurrency_replaced",
}
_SHOWS_NEAR = {
    Flaw.PAUSE_IS_FORGOTTEN: 110, Flaw.SIGNALS_DO_NOT_LOCK: 730, Flaw.PARKED_ARE_NOT_LOOKED_AFTER: 230,
    Flaw.RESULTS_ARE_NOT_KEPT: 120, Flaw.ANSWERS_FOR_ALL: 3,
}  # fmt: skip
"""Where to begin to look for flaws that few worlds show."""


@pytest.mark.parametrize("first", range(FIRST, FIRST + SCHEDULES, _BATCH))
def test_the_laws_hold_in_every_world(first: int) -> None:
    faults, statuses, ties = Counter[str](), Counter[str](), Counter[str]()
    for seed in range(first, min(first + _BATCH, FIRST + SCHEDULES)):
        world = World(seed)
        broken = world.live()
        assert not broken, f"seed {seed}: {'; '.join(broken)} (make simulate SEED={seed} tells its history)"
        faults += world.weather.faults
        statuses.update(row.status for row in world.tables.executions.values())
        ties.update(_ties(world))
    if first == 0 and SCHEDULES >= _BATCH:  # the worlds of every run of the tests; other batches may miss what is rare
        kinds = {name for name in CALM.__slots__ if name != "is_calm"}
        assert set(faults) == kinds, "a fault that never happens is not looked at"
        assert set(statuses) == {"completed", "failed", "cancelled", "timed_out"}
        assert set(ties) >= _TIES, "what never happens is not looked at"


def _ties(world: World) -> Iterator[str]:
    """What happened between executions: how they began, what they were told, and why they did not run."""
    tables = world.tables
    yield from (row.trigger_type for row in tables.executions.values())
    yield from (one["kind"] for one in tables.signals.values())
    yield from ("doubt" for one in tables.approvals.values() if one["title"] == QUESTION["title"] and one["decision"])
    errors = [msgspec.json.decode(row.error)["class"] for row in tables.executions.values() if row.error]
    yield from (error for error in errors if error.startswith("concurrency"))


@pytest.mark.parametrize("flaw", Flaw)
def test_a_flaw_of_the_database_is_noticed(flaw: Flaw) -> None:
    first = _SHOWS_NEAR.get(flaw, 0)
    assert any(World(seed, flaw).live() for seed in range(first, first + _SEEDS_FOR_A_FLAW)), "nobody noticed"


def test_a_seed_is_a_history() -> None:
    told: list[list[str]] = [[], []]
    for seed in range(20):
        for history in told:
            World(seed, tell=history.append).live()
    assert told[0] == told[1]
    assert len(told[0]) > 500
