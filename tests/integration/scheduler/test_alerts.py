"""Schedules that pause by themselves, and the events by which other workflows learn of what goes wrong."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.integration.gateway.definitions import workflow
from tests.integration.scheduler.conftest import Timed, end_runs, every, ledger

NOON = datetime(2027, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def scheduled(timed: Timed, listens: bool = True, **config: Any) -> str:
    """A schedule of every minute, stored at noon, and a workflow that any event of schedules starts."""
    await timed.set(NOON)
    if listens:
        on = {"key": "on", "type": "event", "config": {"event": "schedule.*"}}
        await timed.world.made(workflow("Watching", triggers=[on]))
    made = await timed.world.made(workflow("Watched", triggers=[every(60, **config)]))
    return made["triggers"][0]["id"]


async def look_at(timed: Timed, minutes: float) -> list[str | None]:
    """The outcomes after the scheduler has looked a second after that minute."""
    await timed.set(NOON + minutes * MINUTE + timedelta(seconds=1))
    await timed.fire()
    return [outcome for _, outcome, _ in await ledger(timed.world)]


async def told(timed: Timed) -> list[tuple[str, dict[str, Any]]]:
    """The events that were raised, each of which has started the workflow that watches."""
    rows = await timed.world.fetch("SELECT type, data, source, started FROM events ORDER BY type, id")
    assert {(row["source"], row["started"]) for row in rows} <= {("schedule", 1)}
    return [(row["type"], json.loads(row["data"])) for row in rows]


async def test_missed_and_late_slots_are_told_of_once_a_schedule(timed: Timed) -> None:
    trigger = await scheduled(timed)
    assert await look_at(timed, 5.5) == ["missed"] * 4 + ["late"]
    assert await told(timed) == [
        ("schedule.late", {
            "trigger_id": trigger, "slots": 1, "first": "2027-06-01T12:05:00Z", "last": "2027-06-01T12:05:00Z",
        }),
        ("schedule.missed", {
            "trigger_id": trigger, "slots": 4, "first": "2027-06-01T12:01:00Z", "last": "2027-06-01T12:04:00Z",
        }),
    ]  # fmt: skip
    assert await timed.world.bus.depth() == 3, "what they have started is announced, too"


async def test_what_a_schedule_does_not_catch_up_with_is_told_of(timed: Timed) -> None:
    await scheduled(timed, catchup="none", catchup_seconds=600)
    assert await look_at(timed, 2.5) == ["missed", "missed"]
    assert [(kind, data["slots"]) for kind, data in await told(timed)] == [("schedule.missed", 2)]


async def test_where_nobody_listens_no_event_is_raised(timed: Timed) -> None:
    await scheduled(timed, listens=False)
    assert await look_at(timed, 5.5) == ["missed"] * 4 + ["late"]
    assert await told(timed) == []


async def test_a_schedule_pauses_after_failures_in_a_row_and_starts_afresh_when_resumed(timed: Timed) -> None:
    trigger = await scheduled(timed, pause_after_failures=2)
    for minute, status in enumerate(("failed", "completed", "failed", "timed_out"), 1):
        assert (await look_at(timed, minute))[-1] == "fired"
        await end_runs(timed.world, status)
    assert (await look_at(timed, 5))[-1] == "suppressed"
    assert (await look_at(timed, 6))[-1] == "suppressed"
    assert await told(timed) == [
        ("schedule.auto_paused", {"trigger_id": trigger, "note": "the last 2 runs have failed"})
    ]
    listed = (await timed.world.call("GET", "/schedules?paused=true")).json()["items"]
    assert [(one["trigger_id"], one["paused_note"]) for one in listed] == [(trigger, "the last 2 runs have failed")]
    assert (await timed.world.call("POST", f"/triggers/{trigger}/resume")).status_code == 200
    assert (await look_at(timed, 7))[-1] == "fired"
    await end_runs(timed.world, "failed")
    assert (await look_at(timed, 8))[-1] == "fired", "one failure since it was resumed"
