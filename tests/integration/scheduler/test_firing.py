"""The ledger: every due slot once, whoever looks and however late, and nothing without its execution."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.integration.gateway.definitions import workflow
from tests.integration.scheduler.conftest import Slot, Timed, cron, every, ledger, metric

NOON = datetime(2027, 6, 1, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


async def scheduled(timed: Timed, trigger: dict[str, Any], name: str = "Scheduled") -> dict[str, Any]:
    """A schedule that is stored at noon."""
    await timed.set(NOON)
    return await timed.world.made(workflow(name, triggers=[trigger]))


async def fire_at(timed: Timed, instant: datetime) -> list[Slot]:
    """The ledger after the scheduler has looked a second after that."""
    await timed.set(instant + timedelta(seconds=1))
    await timed.fire()
    return await ledger(timed.world)


async def test_a_due_slot_becomes_one_execution_that_knows_its_slot(timed: Timed) -> None:
    await scheduled(timed, every(3600))
    assert await fire_at(timed, NOON + HOUR - MINUTE) == []
    assert await fire_at(timed, NOON + HOUR) == [(NOON + HOUR, "fired", True)]
    assert await fire_at(timed, NOON + HOUR + MINUTE) == [(NOON + HOUR, "fired", True)]
    (run,) = await timed.world.fetch("SELECT id, version, status, trigger_type, input FROM executions")
    assert (run["version"], run["status"], run["trigger_type"]) == (1, "pending", "schedule")
    assert datetime.fromisoformat(json.loads(run["input"])["scheduled_for"]) == NOON + HOUR
    (firing,) = await timed.world.fetch("SELECT execution_id, actual_at FROM firings")
    assert firing["execution_id"] == run["id"]
    assert NOON + HOUR < firing["actual_at"] < NOON + HOUR + MINUTE
    (trigger,) = await timed.world.fetch("SELECT next_run_at FROM triggers")
    assert trigger["next_run_at"] == NOON + 2 * HOUR


async def test_slots_within_the_catch_up_window_run_and_older_ones_are_written_as_missed(timed: Timed) -> None:
    await scheduled(timed, every(60, catchup_seconds=150))
    found = await fire_at(timed, NOON + 10 * MINUTE)
    assert [when for when, _, _ in found] == [NOON + number * MINUTE for number in range(1, 11)]
    assert [outcome for _, outcome, _ in found] == ["missed"] * 7 + ["caught_up"] * 2 + ["fired"]
    assert [has_execution for _, _, has_execution in found] == [False] * 7 + [True] * 3
    assert await timed.world.count("executions") == 3
    (reason, *_) = await timed.world.fetch("SELECT reason FROM firings ORDER BY planned_at LIMIT 1")
    assert reason["reason"] == "541 s late; the catch-up window is 150 s"  # of the first slot, when it was found


@pytest.mark.parametrize(
    ("window", "outcomes"),
    [
        ({}, ["missed", "late"]),
        ({"catchup_seconds": 0}, ["missed"] * 2),
        ({"catchup_seconds": 3600}, ["caught_up", "late"]),
    ],
)
async def test_the_window_is_a_minute_unless_said_otherwise(
    timed: Timed, window: dict[str, Any], outcomes: list[str]
) -> None:
    await scheduled(timed, every(60, **window))
    found = await fire_at(timed, NOON + 2 * MINUTE + timedelta(seconds=40))
    assert [outcome for _, outcome, _ in found] == outcomes


async def test_a_long_arrears_is_accounted_for_slot_by_slot_however_long_ago(timed: Timed) -> None:
    await scheduled(timed, every(60))
    await timed.world.fetch("DROP TABLE clock.firings_20270601, clock.firings_20270602")  # as if they had been retired
    found = await fire_at(timed, NOON + timedelta(days=3))
    planned = [when for when, _, _ in found]
    assert planned == [NOON + (1 + number) * MINUTE for number in range(3 * 24 * 60)]
    assert [outcome for _, outcome, _ in found] == ["missed"] * (len(found) - 1) + ["fired"]
    assert await timed.world.count("executions") == 1


async def test_a_slot_that_is_in_the_ledger_is_not_fired_again(timed: Timed) -> None:
    await scheduled(timed, every(3600))
    before = await fire_at(timed, NOON + HOUR)
    await timed.world.fetch("UPDATE triggers SET next_run_at = $1", NOON + HOUR)
    assert await fire_at(timed, NOON + HOUR + MINUTE) == before
    assert await timed.world.count("executions") == 1


async def test_a_clock_that_is_set_back_fires_nothing_twice(timed: Timed) -> None:
    await scheduled(timed, every(60, catchup_seconds=600))
    await fire_at(timed, NOON + 2 * MINUTE)
    for minutes in (0, 1, 2, 3):
        await fire_at(timed, NOON + minutes * MINUTE)
    planned = [when for when, _, _ in await ledger(timed.world)]
    assert planned == [NOON + number * MINUTE for number in (1, 2, 3)]
    assert await timed.world.count("executions") == 3


async def test_a_schedule_that_has_come_to_its_end_is_due_no_more(timed: Timed) -> None:
    once = {"key": "once", "type": "schedule", "config": {"type": "at", "at": "2027-06-01T12:30:00Z"}}
    await scheduled(timed, once, "Once")
    await timed.world.made(workflow(triggers=[cron("*/20 * * * *", end_at="2027-06-01T12:40:00Z")]))
    await timed.look_every(10 * MINUTE, NOON, NOON + 2 * HOUR)
    assert [when for when, _, _ in await ledger(timed.world)] == [NOON + 20 * MINUTE, NOON + 40 * MINUTE]
    assert await ledger(timed.world, "once") == [(NOON + 30 * MINUTE, "fired", True)]
    rows = await timed.world.fetch("SELECT next_run_at FROM triggers")
    assert [row["next_run_at"] for row in rows] == [None, None]


async def test_while_its_tenant_is_suspended_a_schedule_is_suppressed_slot_by_slot(timed: Timed) -> None:
    await scheduled(timed, every(3600))
    await timed.world.fetch("UPDATE tenants SET status = 'suspended'")
    await fire_at(timed, NOON + HOUR)
    await timed.world.fetch("UPDATE tenants SET status = 'active'")
    assert await fire_at(timed, NOON + 2 * HOUR) == [
        (NOON + HOUR, "suppressed", False), (NOON + 2 * HOUR, "fired", True),
    ]  # fmt: skip
    assert await timed.world.count("executions") == 1


async def test_a_disabled_workflow_passes_its_slots_over_and_goes_on_when_enabled(timed: Timed) -> None:
    made = await scheduled(timed, every(3600))
    path = f"/workflows/{made['id']}/enable"
    assert (await timed.world.call("PATCH", path, {"enabled": False})).status_code == 200
    assert await fire_at(timed, NOON + HOUR) == []
    assert (await timed.world.call("PATCH", path, {"enabled": True})).status_code == 200
    assert await fire_at(timed, NOON + 2 * HOUR) == [(NOON + 2 * HOUR, "fired", True)]


async def test_a_schedule_that_cannot_be_read_is_switched_off_and_stops_no_other(timed: Timed) -> None:
    broken = await scheduled(timed, every(3600, "broken"), "Broken")
    await timed.world.made(workflow("Good", triggers=[every(3600)]))
    await timed.world.fetch("UPDATE triggers SET config = '{}' WHERE id = $1", broken["triggers"][0]["id"])
    assert await fire_at(timed, NOON + HOUR) == [(NOON + HOUR, "fired", True)]
    assert await ledger(timed.world, "broken") == [(NOON + HOUR, "suppressed", False)]
    (row,) = await timed.world.fetch("SELECT next_run_at FROM triggers WHERE key = 'broken'")
    assert row["next_run_at"] is None


async def test_a_firing_that_cannot_be_committed_leaves_no_trace(timed: Timed) -> None:
    """The ledger, the execution and the next slot are one transaction."""
    await scheduled(timed, every(3600))
    await timed.world.fetch("ALTER TABLE executions ADD CONSTRAINT refuse CHECK (trigger_type <> 'schedule') NOT VALID")
    with pytest.raises(asyncpg.CheckViolationError, match="refuse"):
        await fire_at(timed, NOON + HOUR)
    assert (await ledger(timed.world), await timed.world.count("executions")) == ([], 0)
    assert await timed.world.bus.depth() == 0
    await timed.world.fetch("ALTER TABLE executions DROP CONSTRAINT refuse")
    assert await fire_at(timed, NOON + HOUR) == [(NOON + HOUR, "fired", True)]
    assert await timed.world.count("executions") == 1


async def test_firings_are_counted_by_outcome_with_their_lag(timed: Timed) -> None:
    def counted() -> list[float]:
        lags = metric("schedule_lag_seconds_count"), metric("schedule_lag_seconds_sum")
        return [metric("firings_total", outcome=one) for one in ("fired", "caught_up", "missed")] + list(lags)

    await scheduled(timed, every(60, catchup_seconds=100))
    before = counted()
    await fire_at(timed, NOON + 3 * MINUTE)
    *outcomes, lags, seconds = [after - start for after, start in zip(counted(), before, strict=True)]
    assert (outcomes, lags) == ([1, 1, 1], 2)
    assert 62 <= seconds < 70
