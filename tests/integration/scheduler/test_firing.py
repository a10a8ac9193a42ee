"""The ledger: every due slot once, whoever looks and however late, and nothing without its execution."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from services.scheduler.firing import Firing
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow


def every(seconds: int, **more: Any) -> dict[str, Any]:
    return {"key": "tick", "type": "schedule", "config": {"type": "interval", "seconds": seconds, **more}}


async def scheduled(world: World, trigger: dict[str, Any], due_ago: timedelta) -> dict[str, Any]:
    """A stored schedule whose next slot fell due so long ago."""
    made = await world.made(workflow(triggers=[trigger]))
    await world.fetch(
        "UPDATE triggers SET next_run_at = date_trunc('minute', now()) - $2::interval WHERE id = $1",
        made["triggers"][0]["id"], due_ago,
    )  # fmt: skip
    return made


async def work_off(world: World) -> None:
    duty = Firing(world.parts.database, world.parts.acceptor)
    while await duty.work():
        pass


async def ledger(world: World) -> list[tuple[datetime, str, bool]]:
    rows = await world.fetch("SELECT planned_at, outcome, execution_id FROM firings ORDER BY planned_at")
    return [(row["planned_at"], row["outcome"], row["execution_id"] is not None) for row in rows]


async def test_a_due_slot_becomes_one_execution_that_knows_its_slot(acme: World) -> None:
    await scheduled(acme, every(3600), timedelta())
    await work_off(acme)
    ((planned, outcome, has_execution),) = await ledger(acme)
    assert (outcome in ("fired", "late"), has_execution) == (True, True)
    (run,) = await acme.fetch("SELECT status, trigger_type, input FROM executions")
    assert (run["status"], run["trigger_type"]) == ("pending", "schedule")
    assert datetime.fromisoformat(json.loads(run["input"])["scheduled_for"]) == planned
    (trigger,) = await acme.fetch("SELECT next_run_at FROM triggers WHERE type = 'schedule'")
    assert trigger["next_run_at"] > datetime.now(UTC)


async def test_slots_outside_of_the_catch_up_window_are_written_as_missed(acme: World) -> None:
    await scheduled(acme, every(60, catchup_seconds=150), timedelta(minutes=10))
    await work_off(acme)
    found = await ledger(acme)
    planned = [when for when, _, _ in found]
    assert len(found) >= 10
    assert {after - before for before, after in zip(planned, planned[1:], strict=False)} == {timedelta(minutes=1)}  # noqa: RUF007
    outcomes = [outcome for _, outcome, _ in found]
    missed = outcomes.count("missed")
    assert outcomes == ["missed"] * missed + ["late"] * (len(found) - missed - 1) + [outcomes[-1]]
    assert all(has_execution == (outcome != "missed") for _, outcome, has_execution in found)
    assert await acme.count("executions") == len(found) - missed <= 4


async def test_many_schedulers_at_once_fire_each_slot_once(acme: World) -> None:
    for number in range(30):
        await acme.made(workflow(f"w{number}", triggers=[every(60)]))
    await acme.fetch("UPDATE triggers SET next_run_at = date_trunc('minute', now()) - interval '2 minutes'")
    await asyncio.gather(*[work_off(acme) for _ in range(3)])
    rows = await acme.fetch("SELECT trigger_id, count(*) AS slots, count(DISTINCT execution_id) AS runs FROM firings f"
                            " WHERE outcome <> 'missed' GROUP BY 1")  # fmt: skip
    assert len(rows) == 30
    assert all(row["slots"] == row["runs"] for row in rows)
    assert await acme.count("executions") == sum(row["runs"] for row in rows)


async def test_a_slot_that_is_in_the_ledger_is_not_fired_again(acme: World) -> None:
    made = await scheduled(acme, every(3600), timedelta())
    await work_off(acme)
    before = await ledger(acme)
    await acme.fetch("UPDATE triggers SET next_run_at = $2 WHERE id = $1", made["triggers"][0]["id"], before[0][0])
    await work_off(acme)
    assert await ledger(acme) == before
    assert await acme.count("executions") == 1


async def test_a_switched_off_workflow_is_suppressed(acme: World) -> None:
    made = await scheduled(acme, every(3600), timedelta())
    await acme.call("PATCH", f"/workflows/{made['id']}/enable", {"enabled": False})
    await acme.fetch("UPDATE triggers SET next_run_at = now() WHERE id = $1", made["triggers"][0]["id"])
    await work_off(acme)
    assert [(outcome, has) for _, outcome, has in await ledger(acme)] == [("suppressed", False)]


async def test_a_schedule_that_cannot_be_read_is_switched_off_and_stops_no_other(acme: World) -> None:
    broken = await scheduled(acme, every(3600), timedelta())
    await acme.made(workflow("good", triggers=[every(3600)]))
    await acme.fetch("UPDATE triggers SET config = '{}' WHERE id = $1", broken["triggers"][0]["id"])
    await acme.fetch("UPDATE triggers SET next_run_at = now()")
    await work_off(acme)
    assert sorted(outcome for _, outcome, _ in await ledger(acme)) == ["fired", "suppressed"]
    (row,) = await acme.fetch("SELECT next_run_at FROM triggers WHERE id = $1", broken["triggers"][0]["id"])
    assert row["next_run_at"] is None


async def test_a_firing_that_cannot_be_committed_leaves_no_trace(acme: World) -> None:
    """The ledger, the execution and the next slot are one transaction."""
    await scheduled(acme, every(3600), timedelta())
    await acme.fetch("ALTER TABLE executions ADD CONSTRAINT refuse CHECK (trigger_type <> 'schedule') NOT VALID")
    try:
        await work_off(acme)
    except Exception as error:  # noqa: BLE001 - whatever the driver calls it
        assert "refuse" in str(error)
    assert (await ledger(acme), await acme.count("executions")) == ([], 0)
    await acme.fetch("ALTER TABLE executions DROP CONSTRAINT refuse")
    await work_off(acme)
    assert (len(await ledger(acme)), await acme.count("executions")) == (1, 1)
