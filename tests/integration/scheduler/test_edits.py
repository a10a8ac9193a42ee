"""Edits of schedules: they count from the moment they are made, by the database's clock, and what was due before it is
accounted for.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.gateway.definitions import workflow
from tests.integration.scheduler.conftest import Timed, end_runs, every, ledger

NOON = datetime(2027, 6, 1, 12, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


async def stored(timed: Timed, *triggers: dict[str, Any]) -> str:
    """The path of a workflow with these triggers, stored at noon."""
    await timed.set(NOON)
    return f"/workflows/{(await timed.world.made(workflow(triggers=list(triggers))))['id']}"


async def edit(timed: Timed, path: str, change: dict[str, Any]) -> Any:
    """The triggers after the edit."""
    answer = await timed.world.call("PATCH", path, change)
    assert answer.status_code == 200, answer.text
    return answer.json()["triggers"]


async def test_a_slot_that_is_due_when_its_schedule_is_changed_runs_first(timed: Timed) -> None:
    path = await stored(timed, every(3600))
    await timed.set(NOON + HOUR + SECOND)  # nobody has looked yet
    (trigger,) = await edit(timed, path, {"triggers": [every(7200)]})
    assert trigger["next_run_at"] == "2027-06-01T14:00:00Z"
    assert await ledger(timed.world) == [(NOON + HOUR, "fired", True)]
    (run,) = await timed.world.fetch("SELECT version, status FROM executions")
    assert (run["version"], run["status"]) == (1, "pending"), "the workflow as it was then"
    assert await timed.world.bus.depth() == 1
    await timed.fire()
    assert len(await ledger(timed.world)) == 1


async def test_a_slot_that_is_due_when_its_workflow_is_disabled_runs_and_the_next_does_not(timed: Timed) -> None:
    path = await stored(timed, every(3600))
    await timed.set(NOON + HOUR + SECOND)
    (trigger,) = await edit(timed, f"{path}/enable", {"enabled": False})
    assert trigger["next_run_at"] is None
    await timed.set(NOON + 2 * HOUR + SECOND)
    await timed.fire()
    assert await ledger(timed.world) == [(NOON + HOUR, "fired", True)]


async def test_a_slot_that_is_due_when_its_scheduled_task_is_changed_runs_first(timed: Timed) -> None:
    await timed.set(NOON)
    task = {
        "name": "t",
        "type": "cleanup",
        "schedule": {"type": "interval", "hours": 1},
        "config": {"older_than_days": 30},
    }
    made = await timed.world.call("POST", "/scheduled-tasks", task)
    assert made.status_code == 201, made.text
    await timed.set(NOON + HOUR + SECOND)
    change = {"schedule": {"type": "interval", "hours": 2}}
    changed = await timed.world.call("PATCH", f"/scheduled-tasks/{made.json()['id']}", change)
    assert changed.status_code == 200, changed.text
    assert await ledger(timed.world, "schedule") == [(NOON + HOUR, "fired", True)]
    assert await timed.world.bus.depth() == 1


async def test_a_slot_that_is_due_when_its_trigger_is_taken_out_has_its_row(timed: Timed) -> None:
    path = await stored(timed, every(3600), every(7200, "other"))
    await timed.set(NOON + HOUR + SECOND)
    assert len(await edit(timed, path, {"triggers": [every(7200, "other")]})) == 1
    (row,) = await timed.world.fetch("SELECT planned_at, outcome FROM firings")
    assert (row["planned_at"], row["outcome"]) == (NOON + HOUR, "fired")


async def test_an_edit_that_is_refused_fires_nothing(timed: Timed) -> None:
    path = await stored(timed, every(3600))
    await timed.set(NOON + HOUR + SECOND)
    assert (await timed.world.call("PATCH", path, {"triggers": [every(0)]})).status_code == 422
    assert await ledger(timed.world) == []
    assert await timed.world.bus.depth() == 0


async def test_of_very_many_slots_that_are_due_the_rest_is_missed(
    timed: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.common.schedule_pass._SLOTS_A_PASS", 3)
    path = await stored(timed, every(10))
    await timed.set(NOON + timedelta(seconds=51))
    await edit(timed, path, {"triggers": [every(60)]})
    await timed.fire()
    assert [outcome for _, outcome, _ in await ledger(timed.world)] == ["caught_up"] * 3 + ["missed"] * 2
    (row, *_) = await timed.world.fetch("SELECT reason FROM firings WHERE outcome = 'missed'")
    assert row["reason"] == "the schedule was edited before the slot was taken"


async def test_an_edit_of_something_else_keeps_when_it_is_due(timed: Timed) -> None:
    path = await stored(timed, every(3600))
    await timed.set(NOON + HOUR / 2)
    (trigger,) = await edit(timed, path, {"description": "x"})
    assert trigger["next_run_at"] == "2027-06-01T13:00:00Z"


async def test_the_clock_that_counts_is_the_databases(timed: Timed) -> None:
    timed.world.clock.move(-5 * 3600)
    path = await stored(timed, every(3600))
    timed.world.clock.move(10 * 3600)  # the gateway's own is wrong
    (trigger,) = await edit(timed, path, {"triggers": [every(7200)]})
    assert trigger["next_run_at"] == "2027-06-01T14:00:00Z"
    for enabled in (False, True):
        (trigger,) = await edit(timed, f"{path}/enable", {"enabled": enabled})
    assert trigger["next_run_at"] == "2027-06-01T14:00:00Z"
    made = await timed.world.made(workflow("Second", triggers=[every(3600)]))
    assert made["triggers"][0]["next_run_at"] == "2027-06-01T13:00:00Z"


async def test_a_schedule_that_has_run_as_often_as_it_may_stays_at_its_end(timed: Timed) -> None:
    path = await stored(timed, every(3600, max_runs=1))
    await timed.set(NOON + HOUR + SECOND)
    await timed.fire()
    assert (await edit(timed, path, {"description": "x"}))[0]["next_run_at"] is None
    for enabled in (False, True):
        (trigger,) = await edit(timed, f"{path}/enable", {"enabled": enabled})
    assert trigger["next_run_at"] is None
    (trigger,) = await edit(timed, path, {"triggers": [every(3600, max_runs=2)]})
    assert trigger["next_run_at"] == "2027-06-01T14:00:00Z"


async def test_what_was_due_once_in_a_pause_stays_suppressed_when_it_is_resumed(timed: Timed) -> None:
    once = {"key": "tick", "type": "schedule", "config": {"type": "at", "at": "2027-06-01T12:30:00Z"}}
    path = await stored(timed, once)
    (trigger,) = (await timed.world.call("GET", path)).json()["triggers"]
    assert (await timed.world.call("POST", f"/triggers/{trigger['id']}/pause")).status_code == 200
    await timed.set(NOON + HOUR / 2 + SECOND)
    resumed = (await timed.world.call("POST", f"/triggers/{trigger['id']}/resume")).json()
    assert resumed["next_run_at"] is None
    await timed.fire()
    assert await ledger(timed.world) == [(NOON + HOUR / 2, "suppressed", False)]
    assert await end_runs(timed.world) == 0
