"""A long time away: every slot of it is accounted for, and none of now waits for that."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.scheduler.arrears import Arrears
from services.scheduler.firing import Firing
from tests.integration.gateway.definitions import workflow
from tests.integration.scheduler.conftest import Timed, every, give, ledger

NOON = datetime(2027, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def away(timed: Timed, seconds: int, period: int, **policy: Any) -> None:
    """A schedule that was stored at noon and looked at for the first time after so many seconds."""
    await timed.set(NOON)
    await timed.world.made(workflow(triggers=[every(period)]))
    await give(timed.world, **policy)
    await timed.world.fetch("UPDATE triggers SET next_run_at = $1", NOON + timedelta(seconds=period))
    await timed.set(NOON + timedelta(seconds=seconds))


async def test_slots_of_now_fire_before_the_arrears_are_written(timed: Timed) -> None:
    await away(timed, 4 * 3600, 1)
    await Firing(timed.database, timed.acceptor).work()
    now = await ledger(timed.world)
    assert len(now) in (60, 61), "the window of a minute"
    assert now[-1][0] >= NOON + timedelta(hours=4)
    assert now[-1][1] == "fired"
    arrears = Arrears(timed.database, timed.acceptor)
    turns = 0
    while await arrears.work():
        turns += 1
    found = await ledger(timed.world)
    assert turns == 3, "5 000 slots at a time"
    assert [when for when, _, _ in found] == [NOON + timedelta(seconds=1 + n) for n in range(len(found))]
    assert found[-1] == now[-1]
    assert await timed.world.count("executions") == len(now)
    assert await timed.world.count("schedule_gaps") == 0


async def test_a_gap_that_was_cut_off_goes_on_where_it_was(timed: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    await away(timed, 600, 1)
    await Firing(timed.database, timed.acceptor).work()
    monkeypatch.setattr("services.scheduler.arrears._SLOTS", 100)
    await Arrears(timed.database, timed.acceptor).work()
    (gap,) = await timed.world.fetch("SELECT from_at, written FROM schedule_gaps")
    assert (gap["from_at"], gap["written"]) == (NOON + timedelta(seconds=101), 100)
    await timed.world.fetch("DELETE FROM workflows")  # a gap is accounted for though its schedule is gone
    for _ in range(6):
        await Arrears(timed.database, timed.acceptor).work()
    found = await timed.world.fetch("SELECT planned_at FROM firings ORDER BY 1")
    assert [row["planned_at"] for row in found] == [NOON + timedelta(seconds=1 + n) for n in range(len(found))]
    assert len(found) >= 600
    assert await timed.world.count("schedule_gaps") == 0


@pytest.mark.parametrize(
    ("policy", "outcomes"),
    [
        ({"catchup": "all"}, ["missed"] * 3 + ["caught_up"] * 6 + ["late"]),
        ({"catchup": "last"}, ["missed"] * 9 + ["late"]),
        ({"catchup": "none"}, ["missed"] * 10),
    ],
)
async def test_what_is_caught_up_within_the_window(timed: Timed, policy: dict[str, Any], outcomes: list[str]) -> None:
    await away(timed, 10 * 60 + 30, 60, catchup_seconds=400, **policy)
    await timed.fire()
    found = await ledger(timed.world)
    assert [outcome for _, outcome, _ in found] == outcomes
    assert [has_run for _, _, has_run in found] == [outcome != "missed" for outcome in outcomes]


async def test_a_window_of_days_catches_up_on_days_that_have_no_partition_any_more(timed: Timed) -> None:
    await away(timed, 5 * 86_400, 43_200, catchup_seconds=6 * 86_400)
    await timed.world.fetch("DROP TABLE clock.firings_20270601, clock.firings_20270602")
    await timed.fire()
    assert [outcome for _, outcome, _ in await ledger(timed.world)] == ["caught_up"] * 9 + ["fired"]
