"""What people do to schedules, over HTTP, and what the scheduler makes of it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.scheduler.backfills import Backfills
from tests.integration.gateway.definitions import workflow
from tests.integration.scheduler.conftest import Timed, cron, end_runs, every, ledger

NOON = datetime(2027, 6, 1, 12, tzinfo=UTC)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


class Scheduled:
    """A schedule, stored at noon."""

    def __init__(self, timed: Timed, trigger_id: str) -> None:
        self.timed, self.id = timed, trigger_id

    async def post(self, verb: str, body: Any = None, status: int = 200, **headers: str) -> dict[str, Any]:
        answer = await self.timed.world.call("POST", f"/triggers/{self.id}/{verb}", body, **headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def look_at(self, *minutes: float) -> list[str | None]:
        """The outcomes after the scheduler has looked a second after these minutes."""
        for minute in minutes:
            await self.timed.set(NOON + minute * MINUTE + SECOND)
            await self.timed.fire()
        return [outcome for _, outcome, _ in await ledger(self.timed.world)]

    async def fill(self) -> None:
        """Back-fills are worked off, pauses left out."""
        duty = Backfills(self.timed.database, self.timed.acceptor)
        for _ in range(20):
            await self.timed.world.fetch("UPDATE backfills SET due_at = '-infinity'")
            if not await duty.work():
                return


async def scheduled(timed: Timed, **config: Any) -> Scheduled:
    await timed.set(NOON)
    made = await timed.world.made(workflow("Reports", triggers=[every(60, **config)]))
    return Scheduled(timed, made["triggers"][0]["id"])


async def test_slots_of_a_pause_are_suppressed_one_by_one(timed: Timed) -> None:
    schedule = await scheduled(timed)
    await schedule.look_at(1)
    answer = await schedule.post("pause", {"note": "audit"})
    assert (answer["paused"], answer["paused_note"]) == (True, "audit")
    assert await schedule.look_at(2, 3) == ["fired", "suppressed", "suppressed"]
    (row, *_) = await timed.world.fetch("SELECT reason FROM firings WHERE outcome = 'suppressed'")
    assert row["reason"] == "paused: audit"
    await timed.set(NOON + 4.5 * MINUTE)  # the slot of minute 4 has not been looked at yet
    answer = await schedule.post("resume")
    assert (answer["paused"], answer["next_run_at"]) == (False, "2027-06-01T12:05:00Z")
    assert await schedule.look_at(5) == ["fired", *["suppressed"] * 3, "fired"]
    await schedule.post("resume", status=409)


async def test_a_pause_survives_an_edit_of_the_schedule(timed: Timed) -> None:
    schedule = await scheduled(timed)
    await schedule.post("pause")
    (listed,) = (await timed.world.call("GET", "/schedules")).json()["items"]
    await timed.world.call("PATCH", f"/workflows/{listed['workflow_id']}", {"description": "x"})
    assert await schedule.look_at(1) == ["suppressed"]


async def test_firing_now_runs_with_its_input_and_stands_in_the_ledger(timed: Timed) -> None:
    schedule = await scheduled(timed, input={"a": 1, "b": 1})
    first = await schedule.post("fire", status=202)
    second = await schedule.post("fire", {"input": {"b": 2}}, status=202)
    runs = await timed.world.fetch("SELECT id, input, trigger_type FROM executions ORDER BY id")
    assert [str(run["id"]) for run in runs] == [first["execution_id"], second["execution_id"]]
    assert [{**json.loads(run["input"]), "scheduled_for": 0} for run in runs] == [
        {"a": 1, "b": 1, "scheduled_for": 0}, {"b": 2, "scheduled_for": 0},
    ]  # fmt: skip
    firings = (await timed.world.call("GET", f"/triggers/{schedule.id}/firings")).json()["items"]
    assert [(one["kind"], one["outcome"], one["lag_ms"]) for one in firings] == [("manual", "fired", 0)] * 2
    assert await timed.world.bus.depth() == 2
    assert await schedule.look_at(1) == ["fired"] * 3, "the slot is its own"


async def test_an_idempotency_key_fires_once(timed: Timed) -> None:
    schedule = await scheduled(timed)
    answers = [await schedule.post("fire", {"input": {}}, 202, Idempotency_Key="k") for _ in range(2)]
    assert answers[0]["execution_id"] == answers[1]["execution_id"]
    assert await timed.world.count("executions") == 1
    await schedule.post("fire", {"input": {"other": 1}}, 422, Idempotency_Key="k")


async def test_firing_now_overlaps_as_the_policy_says(timed: Timed) -> None:
    schedule = await scheduled(timed, overlap="skip")
    await schedule.post("fire", status=202)
    assert "does not overlap" in (await schedule.post("fire", status=409))["detail"]
    assert await schedule.look_at(1) == ["fired", "skipped_overlap"], "a slot sees what was fired by hand"
    await end_runs(timed.world)
    await schedule.post("fire", status=202)


async def test_what_is_fired_while_a_run_goes_on_waits_and_keeps_its_id(
    timed: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.scheduler.turns._ID_KEEPS", timedelta(days=9999))  # ids come from the real clock
    schedule = await scheduled(timed, overlap="buffer_one")
    await schedule.post("fire", status=202)
    waiting = await schedule.post("fire", {"input": {"n": 2}}, 202)
    assert waiting["status"] == "waiting"
    assert (await timed.world.call("GET", f"/executions/{waiting['execution_id']}")).status_code == 404
    await end_runs(timed.world)
    await timed.fire()
    run = (await timed.world.call("GET", f"/executions/{waiting['execution_id']}")).json()
    assert run["input"]["n"] == 2


async def test_a_paused_schedule_fires_by_hand_and_a_disabled_one_does_not(timed: Timed) -> None:
    schedule = await scheduled(timed)
    await schedule.post("pause")
    await schedule.post("fire", status=202)
    (listed,) = (await timed.world.call("GET", "/schedules")).json()["items"]
    await timed.world.call("PATCH", f"/workflows/{listed['workflow_id']}/enable", {"enabled": False})
    await schedule.post("fire", status=409)
    await schedule.post("backfill", {"from": "2027-06-01T11:00:00Z", "to": "2027-06-01T11:30:00Z"}, 409)


async def test_a_back_fill_runs_what_did_not_run_and_says_how_far_it_is(timed: Timed) -> None:
    schedule = await scheduled(timed)
    assert await schedule.look_at(10) == ["missed"] * 9 + ["fired"]
    body = {"from": "2027-06-01T11:00:00Z", "to": "2027-06-01T12:10:00Z"}
    job = (await schedule.post("backfill", body, 202))["job_id"]
    await schedule.fill()
    assert await schedule.look_at() == ["caught_up"] * 70 + ["fired"]  # 11:00 … 12:09, most before there was a schedule
    shown = (await timed.world.call("GET", f"/jobs/{job}")).json()
    assert (shown["kind"], shown["done"], shown["passed_over"]) == ("backfill", 70, 1)
    assert shown["finished_at"] is not None
    rows = await timed.world.fetch("SELECT count(DISTINCT input->>'scheduled_for') AS slots FROM executions")
    assert rows[0]["slots"] == await timed.world.count("executions") == 71


async def test_a_back_fill_goes_a_batch_a_second(timed: Timed) -> None:
    schedule = await scheduled(timed)
    await schedule.post("backfill", {"from": "2027-06-01T08:00:00Z", "to": "2027-06-01T11:59:59Z"}, 202)
    duty = Backfills(timed.database, timed.acceptor)
    assert [await duty.work() for _ in range(2)] == [True, False]
    assert await timed.world.count("executions") == 50


async def test_a_back_fill_overlaps_as_the_policy_says(timed: Timed) -> None:
    schedule = await scheduled(timed, overlap="buffer_all")
    await schedule.post("backfill", {"from": "2027-06-01T11:00:00Z", "to": "2027-06-01T11:03:00Z"}, 202)
    await schedule.fill()
    for _ in range(4):
        await timed.fire()
        assert await end_runs(timed.world) == 1
    rows = await timed.world.fetch("SELECT input->>'scheduled_for' AS slot FROM executions ORDER BY id")
    assert [row["slot"][14:16] for row in rows] == ["00", "01", "02", "03"]


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({"from": "2027-06-01T11:00:00Z", "to": "2027-06-01T13:00:00Z"}, ["to"]),
        ({"from": "2027-06-01T11:00:00Z", "to": "2027-06-01T10:00:00Z"}, ["from"]),
        ({"from": "2020-06-01T11:00:00Z", "to": "2027-06-01T10:00:00Z"}, ["from"]),
        ({"from": "2027-06-01T11:00:00"}, ["from", "to"]),
    ],
)
async def test_a_bad_range_is_refused_with_its_faults(timed: Timed, body: dict[str, str], paths: list[str]) -> None:
    schedule = await scheduled(timed)
    answer = await schedule.post("backfill", body, 422)
    assert sorted(fault["path"] for fault in answer["errors"]) == paths
    assert await timed.world.count("backfills") == 0


async def test_schedules_are_listed_by_when_they_are_due_and_found_by_name(timed: Timed) -> None:
    schedule = await scheduled(timed)
    await timed.world.made(workflow("Invoices", triggers=[cron("0 9 * * 1-5", key="morning")]))
    await timed.world.made(workflow("Once", triggers=[every(3600, "hourly", end_at="2027-06-01T12:30:00Z")]))
    await schedule.look_at(1)
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        got = (await timed.world.call("GET", f"/schedules?limit=1{cursor}", role="viewer")).json()
        items += got["items"]
        if got["next_cursor"] is None:
            break
        cursor = f"&cursor={got['next_cursor']}"
    assert [(one["key"], one["next_run_at"]) for one in items] == [
        ("tick", "2027-06-01T12:02:00Z"), ("morning", "2027-06-02T09:00:00Z"), ("hourly", None),
    ]  # fmt: skip
    assert (items[0]["runs"], items[0]["paused"]) == (1, False)
    assert 1000 <= items[0]["last_lag_ms"] < 5000
    found = (await timed.world.call("GET", "/schedules?search=INVO")).json()["items"]
    assert [one["workflow_name"] for one in found] == ["Invoices"]
    await schedule.post("pause")
    assert [one["key"] for one in (await timed.world.call("GET", "/schedules?paused=true")).json()["items"]] == ["tick"]


async def test_the_history_comes_in_pages_and_by_outcome(timed: Timed) -> None:
    schedule = await scheduled(timed)
    await schedule.look_at(5)
    path = f"/triggers/{schedule.id}/firings"
    first = (await timed.world.call("GET", f"{path}?limit=3", role="viewer")).json()
    rest = (await timed.world.call("GET", f"{path}?limit=3&cursor={first['next_cursor']}")).json()
    times = [one["planned_at"][14:16] for one in [*first["items"], *rest["items"]]]
    assert (times, rest["next_cursor"]) == (["05", "04", "03", "02", "01"], None)
    missed = (await timed.world.call("GET", f"{path}?outcome=missed&from=2027-06-01T12:02:00Z")).json()["items"]
    assert [one["planned_at"][14:16] for one in missed] == ["04", "03", "02"]
    assert (await timed.world.call("GET", f"{path}?cursor=bm90LWEtdGltZQ")).status_code == 422


async def test_other_triggers_and_other_people_s_are_refused(timed: Timed) -> None:
    schedule = await scheduled(timed)
    assert (await schedule.post("register-schedule"))["next_run_at"] == "2027-06-01T12:01:00Z"
    hook = await timed.world.made(workflow("Hook", triggers=[{"key": "h", "type": "webhook"}]))
    for verb in ("pause", "resume", "fire", "register-schedule"):
        for trigger, status in ((hook["triggers"][0]["id"], 409), ("00000000-0000-0000-0000-000000000000", 404)):
            answer = await timed.world.call("POST", f"/triggers/{trigger}/{verb}")
            assert answer.status_code == status, verb
        answer = await timed.world.call("POST", f"/triggers/{schedule.id}/{verb}", role="viewer")
        assert answer.status_code == 403, verb
