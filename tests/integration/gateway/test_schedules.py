"""Schedules over HTTP: previews of drafts, next runs of what is stored, every field of the config, every fault."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.integration.conftest import World
from tests.integration.gateway.definitions import hourly, webhook, workflow

FULL: dict[str, Any] = {
    "type": "cron", "expression": "30 1,2 * * *", "timezone": "America/New_York", "end_at": "2060-01-01T00:00:00Z",
    "max_runs": 50, "jitter_seconds": 30, "exclude": ["2026-12-25", {"from": "2026-12-28", "to": "2026-12-31"}],
    "overlap": "buffer_one", "catchup": "last", "catchup_seconds": 600, "pause_after_failures": 3,
    "input": {"region": "us"}, "dst_gap": "shift", "dst_fold": "both",
}  # fmt: skip


async def set_clock(world: World, moment: datetime) -> None:
    world.clock.move((moment - world.clock.now()).total_seconds())


def scheduled(config: dict[str, Any], key: str = "tick") -> dict[str, Any]:
    return {"key": key, "type": "schedule", "config": config}


async def test_a_draft_shows_local_and_utc_time_and_what_the_clock_does(acme: World) -> None:
    await set_clock(acme, datetime(2027, 3, 13, 12, tzinfo=UTC))
    answer = await acme.call("POST", "/schedules/preview", {"config": FULL, "count": 3}, role="viewer")
    assert answer.status_code == 200
    assert answer.json() == {
        "description": "At 01:30 and 02:30 (America/New_York), until 2060-01-01T00:00:00Z, 50 times at most,"
        " each up to 30 seconds later, except 2026-12-25; 2026-12-28 to 2026-12-31",
        "items": [
            {"local": "2027-03-14T01:30:00-05:00", "utc": "2027-03-14T06:30:00Z", "mark": None},
            {"local": "2027-03-14T03:00:00-04:00", "utc": "2027-03-14T07:00:00Z", "mark": "gap"},
            {"local": "2027-03-15T01:30:00-04:00", "utc": "2027-03-15T05:30:00Z", "mark": None},
        ],
    }
    await set_clock(acme, datetime(2027, 11, 7, 0, tzinfo=UTC))
    items = (await acme.call("POST", "/schedules/preview", {"config": FULL, "count": 3})).json()["items"]
    assert [(item["local"], item["mark"]) for item in items] == [
        ("2027-11-07T01:30:00-04:00", "fold"),
        ("2027-11-07T01:30:00-05:00", "fold"),
        ("2027-11-07T02:30:00-05:00", None),
    ]


async def test_a_draft_of_every_type(acme: World) -> None:
    await set_clock(acme, datetime(2027, 1, 1, 0, 10, tzinfo=UTC))
    configs: list[tuple[dict[str, Any], str, list[str]]] = [
        ({"type": "interval", "minutes": 30}, "Every 30 minutes", ["00:30", "01:00"]),
        ({"type": "at", "at": "2027-01-01T09:00:00+01:00"}, "Once at 2027-01-01T08:00:00Z", ["08:00"]),
        ({"type": "at", "at": "2020-01-01T09:00:00Z"}, "Once at 2020-01-01T09:00:00Z", []),
        ({"type": "interval", "hours": 1, "max_runs": 1}, "Every hour, once", ["01:00"]),
        ({"type": "cron", "expressions": ["0 9 * * 1-5", "@hourly"]},
         "At 09:00, Monday through Friday; every hour (UTC)", ["01:00", "02:00"]),
    ]  # fmt: skip
    for config, description, expected in configs:
        shown = (await acme.call("POST", "/schedules/preview", {"config": config, "count": 2})).json()
        assert shown["description"] == description
        assert [item["utc"][11:16] for item in shown["items"]] == expected


async def test_every_fault_of_a_draft_by_its_path(acme: World) -> None:
    config = {"type": "cron", "expressions": ["0 9 * * *", "61 * * * *"], "timezone": "Mars/Base", "dst_gap": "x",
              "exclude": ["2026-02-30"], "overlap": "?", "colour": "red"}  # fmt: skip
    answer = await acme.call("POST", "/schedules/preview", {"config": config, "count": 0, "more": 1}, role="viewer")
    assert answer.status_code == 422
    assert {fault["path"] for fault in answer.json()["errors"]} == {
        "more", "count", "config.expressions[1]", "config.timezone", "config.dst_gap", "config.exclude[0]",
        "config.overlap", "config.colour",
    }  # fmt: skip
    bodies: list[Any] = [
        {},
        {"config": None},
        {"config": {}},
        {"config": {"type": "cron"}},
        {"config": FULL, "count": 101},
    ]
    for body in bodies:
        refused = await acme.call("POST", "/schedules/preview", body)
        assert refused.status_code == 422
        assert refused.json()["errors"]
    never = {"config": {"type": "cron", "expression": "0 0 1 1 *", "exclude": ["* * 1 1 *"]}}
    refused = await acme.call("POST", "/schedules/preview", never)
    assert refused.json()["errors"] == [{"path": "config", "message": "has no run time within 50 years"}]


async def test_exclusions_that_never_end_are_a_fault_from_where_they_begin(acme: World) -> None:
    today = datetime.now(UTC).date()  # what is stored goes by the database's clock, which is the machine's

    def config(free_days: int) -> dict[str, Any]:
        closed = {"from": f"{today + timedelta(days=free_days)}", "to": "9000-01-01"}
        return {"type": "cron", "expression": "0 9 * * *", "exclude": [closed]}

    shown = await acme.call("POST", "/schedules/preview", {"config": config(3)})
    made = await acme.made(workflow(triggers=[scheduled(config(3))]))
    runs = (await acme.call("GET", f"/triggers/{made['triggers'][0]['id']}/next-runs")).json()["items"]
    assert shown.json()["items"] == runs
    assert [item["utc"] for item in runs][-2:] == [f"{today + timedelta(days=ahead)}T09:00:00Z" for ahead in (1, 2)]
    refused = await acme.call("POST", "/schedules/preview", {"config": config(0)})
    assert [fault["path"] for fault in refused.json()["errors"]] == ["config.exclude"]
    refused = await acme.call("POST", "/workflows", workflow("Other", triggers=[scheduled(config(0))]))
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "triggers")


async def test_next_runs_of_a_stored_schedule(acme: World) -> None:
    made = await acme.made(workflow(triggers=[scheduled(FULL), hourly("off", enabled=False), webhook()]))
    full, off, hook = (f"/triggers/{trigger['id']}/next-runs" for trigger in made["triggers"])
    assert made["triggers"][0]["config"] == FULL
    shown = (await acme.call("GET", f"{full}?count=40", role="viewer")).json()
    assert shown["description"].startswith("At 01:30 and 02:30 (America/New_York)")
    assert len(shown["items"]) == 40
    assert shown["items"][0]["utc"] == made["triggers"][0]["next_run_at"]
    moments = [datetime.fromisoformat(item["utc"]) for item in shown["items"]]
    assert moments == sorted(set(moments))
    assert all(
        datetime.fromisoformat(item["local"]) == moment for item, moment in zip(shown["items"], moments, strict=True)
    )
    assert len((await acme.call("GET", full)).json()["items"]) == 5
    assert (await acme.call("GET", off)).json() == {"description": "Every hour", "items": []}
    assert (await acme.call("GET", hook)).status_code == 409
    for count in ("0", "101", "x"):
        assert (await acme.call("GET", f"{full}?count={count}")).status_code in (400, 422)


async def test_a_slot_that_is_due_comes_first(acme: World) -> None:
    made = await acme.made(workflow(triggers=[hourly()]))
    due = datetime.fromisoformat(made["triggers"][0]["next_run_at"])
    acme.clock.move(5 * 3600)
    shown = (await acme.call("GET", f"/triggers/{made['triggers'][0]['id']}/next-runs?count=2")).json()["items"]
    assert [datetime.fromisoformat(item["utc"]) for item in shown] == [due, due + timedelta(hours=1)]


async def test_a_schedule_that_is_never_due_is_not_stored(acme: World) -> None:
    bounds = {"anchor": "2027-01-01T00:00:00Z", "start_at": "2027-01-01T00:10:00Z", "end_at": "2027-01-01T00:50:00Z"}
    triggers = [
        scheduled({"type": "cron", "expression": "0 0 30 2 *"}, "a"),
        scheduled({"type": "interval", "hours": 1, **bounds}, "b"),
    ]
    refused = await acme.call("POST", "/workflows", workflow(triggers=triggers))
    assert refused.status_code == 422
    assert {fault["path"]: fault["message"] for fault in refused.json()["errors"]} == {
        "triggers[0].config.expression": "will never be due: no month has such a day",
        "triggers[1].config": "has no run time within 50 years between start_at and end_at",
    }
    assert await acme.count("workflows") == 0


async def test_the_description_of_the_api_names_every_field_of_a_schedule(world: World) -> None:
    schemas = (await world.client.get("/schema/openapi.json")).json()["components"]["schemas"]
    assert set(FULL) <= set(schemas["CronSchedule"]["properties"])
    assert {"seconds", "weeks", "anchor", "overlap", "input"} <= set(schemas["IntervalSchedule"]["properties"])
    assert set(schemas["RunTime"]["properties"]) == {"local", "utc", "mark"}
