"""What a slot does while the run before it has not ended: decided from rows, so that restarts change nothing. Every
look of these tests is that of a scheduler that has just started.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.gateway.definitions import workflow
from tests.integration.scheduler.conftest import Slot, Timed, end_runs, every, give, ledger

NOON = datetime(2027, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def scheduled(timed: Timed, **policy: Any) -> dict[str, Any]:
    """A schedule of every minute with that policy, stored at noon."""
    await timed.set(NOON)
    made = await timed.world.made(workflow(triggers=[every(60)]))
    await give(timed.world, **policy)
    return made


async def look_at(timed: Timed, *minutes: int) -> list[Slot]:
    """The ledger after the scheduler has looked a second after these minutes."""
    for minute in minutes:
        await timed.set(NOON + minute * MINUTE + timedelta(seconds=1))
        await timed.fire()
    return [(when - NOON, *rest) for when, *rest in await ledger(timed.world)]  # pyright: ignore


async def statuses(timed: Timed) -> list[str]:
    rows = await timed.world.fetch("SELECT status FROM executions ORDER BY id")
    return [row["status"] for row in rows]


async def test_skip_passes_over_what_comes_while_a_run_has_not_ended(timed: Timed) -> None:
    await scheduled(timed, overlap="skip")
    await look_at(timed, 1, 2, 3)
    assert await end_runs(timed.world) == 1
    assert await look_at(timed, 4) == [
        (MINUTE, "fired", True), (2 * MINUTE, "skipped_overlap", False), (3 * MINUTE, "skipped_overlap", False),
        (4 * MINUTE, "fired", True),
    ]  # fmt: skip
    assert await timed.world.count("schedule_runs") == 1, "what has ended is forgotten"


async def test_buffer_one_lets_one_wait_and_run_when_the_run_ends(timed: Timed) -> None:
    await scheduled(timed, overlap="buffer_one")
    assert await look_at(timed, 1, 2, 3) == [
        (MINUTE, "fired", True), (2 * MINUTE, None, False), (3 * MINUTE, "skipped_overlap", False),
    ]  # fmt: skip
    assert await end_runs(timed.world) == 1
    await timed.fire()
    assert (await look_at(timed))[1] == (2 * MINUTE, "late", True)
    (row,) = await timed.world.fetch(
        "SELECT f.reason, e.input->>'scheduled_for' AS slot FROM firings f JOIN executions e ON e.id = f.execution_id"
        " WHERE f.outcome = 'late'"
    )
    assert (row["reason"], row["slot"]) == ("waited for the run before it", "2027-06-01T12:02:00Z")
    assert await look_at(timed, 4) == [*(await look_at(timed))[:3], (4 * MINUTE, None, False)]


async def test_buffer_all_runs_everything_in_order_one_at_a_time(timed: Timed) -> None:
    await scheduled(timed, overlap="buffer_all", input={"n": 1})
    assert [outcome for _, outcome, _ in await look_at(timed, 1, 2, 3, 4)] == ["fired", None, None, None]
    for _ in range(4):
        await timed.fire()
        assert await end_runs(timed.world) == 1
    runs = await timed.world.fetch("SELECT input->>'scheduled_for' AS slot, input->>'n' AS n FROM executions")
    assert [(row["slot"], row["n"]) for row in runs] == [(f"2027-06-01T12:0{n}:00Z", "1") for n in (1, 2, 3, 4)]
    assert [outcome for _, outcome, _ in await look_at(timed)] == ["fired", "late", "late", "fired"]
    await timed.fire()
    assert await timed.world.count("schedule_runs") <= 1


async def test_cancel_running_ends_the_run_before_it(timed: Timed) -> None:
    await scheduled(timed, overlap="cancel_running")
    assert await look_at(timed, 1, 2) == [(MINUTE, "fired", True), (2 * MINUTE, "fired", True)]
    assert await statuses(timed) == ["cancelled", "pending"]
    await timed.world.fetch(
        "UPDATE executions SET status = 'running', worker = gen_random_uuid(), wake_at = NULL WHERE status = 'pending'"
    )
    await look_at(timed, 3)
    assert await statuses(timed) == ["cancelled", "running", "pending"]
    assert (await timed.world.fetch("SELECT control FROM executions WHERE status = 'running'"))[0][0] == "cancel"


async def test_allow_lets_all_run_side_by_side(timed: Timed) -> None:
    await scheduled(timed, overlap="allow")
    assert [outcome for _, outcome, _ in await look_at(timed, 1, 2, 3)] == ["fired"] * 3
    assert await statuses(timed) == ["pending"] * 3
    assert await timed.world.count("schedule_runs") == 0


async def test_slots_that_are_caught_up_together_do_not_overlap_either(timed: Timed) -> None:
    await scheduled(timed, overlap="buffer_all", catchup_seconds=600)
    assert [outcome for _, outcome, _ in await look_at(timed, 3)] == ["caught_up", None, None]
    assert await statuses(timed) == ["pending"]


async def test_what_waits_for_a_schedule_that_is_deleted_or_switched_off_is_suppressed(timed: Timed) -> None:
    made = await scheduled(timed, overlap="buffer_all")
    await look_at(timed, 1, 2, 3)
    await timed.world.fetch("UPDATE tenants SET status = 'suspended'")
    await end_runs(timed.world)
    await timed.fire()
    await timed.world.fetch("UPDATE tenants SET status = 'active'")
    assert [outcome for _, outcome, _ in await look_at(timed)] == ["fired", "suppressed", "suppressed"]
    await look_at(timed, 4, 5)
    assert (await timed.world.call("DELETE", f"/workflows/{made['id']}")).status_code == 204
    await timed.fire()
    await end_runs(timed.world)
    await timed.fire()
    rows = await timed.world.fetch("SELECT outcome, reason FROM firings ORDER BY planned_at DESC LIMIT 1")
    assert dict(rows[0]) == {
        "outcome": "suppressed", "reason": "the schedule was deleted while the slot waited for the run before it",
    }  # fmt: skip
    assert await timed.world.fetch("SELECT FROM schedule_runs WHERE waits") == []


@pytest.mark.parametrize("overlap", ["skip", "allow"])
async def test_a_schedule_ends_after_its_last_run(timed: Timed, overlap: str) -> None:
    await scheduled(timed, overlap=overlap, max_runs=2)
    await look_at(timed, 1)
    await end_runs(timed.world)
    assert [outcome for _, outcome, _ in await look_at(timed, 2, 3)] == ["fired", "fired"]
    (row,) = await timed.world.fetch("SELECT next_run_at, runs FROM triggers")
    assert (row["next_run_at"], row["runs"]) == (None, 2)


async def test_jitter_puts_off_the_run_and_not_the_slot(timed: Timed) -> None:
    await scheduled(timed, jitter_seconds=50)
    assert await look_at(timed, 1) == [(MINUTE, "fired", True)]
    (run,) = await timed.world.fetch("SELECT status, wake_at FROM executions")
    assert run["status"] == "waiting"
    assert NOON + MINUTE + timedelta(seconds=1) < run["wake_at"] < NOON + MINUTE + timedelta(seconds=50)
    assert await timed.world.bus.depth() == 0
