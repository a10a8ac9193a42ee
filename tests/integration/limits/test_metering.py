"""Metering: exactly what has ended, each once, however often it is counted and whoever dies in the middle."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from libs.common.clock import first_id_at
from libs.common.db.accepting import insert_accepted
from libs.common.db.metering import HOUR, meter_hour, meter_next_hour, metered_until
from libs.common.db.pool import Connection, Database
from services.scheduler.metering import Metering
from tests.factories import action_row, call_row, make_execution, make_tenant, make_trigger, make_workflow
from tests.integration.conftest import ADMIN, World

NOW = datetime.now(UTC)
THIS_HOUR = NOW.replace(minute=0, second=0, microsecond=0)
_SUMS = """
SELECT sum(executions)::int, sum(actions)::int, sum(action_seconds)::float, sum(calls)::int, sum(mails)::int,
       sum(tokens)::float, sum(cost)::float FROM usage WHERE tenant_id = $1
"""
_MOVE_BACK = """
INSERT INTO usage_progress (pass, metered) VALUES ('first', $1), ('late', $1)
ON CONFLICT (pass) DO UPDATE SET metered = excluded.metered
"""
_END_EARLIER = "UPDATE executions SET finished_at = finished_at - interval '2 h' WHERE finished_at IS NOT NULL"
_USED = """
INSERT INTO usage (tenant_id, hour, executions, actions, action_seconds, calls, bytes, mails, tokens, cost)
SELECT tenant_id, $1, $2 * length(slug), 0, 1.5, 0, 0, 0, 0, 0.25 FROM tenants ORDER BY slug
"""


async def used_by(connection: Connection, tenant: UUID) -> tuple[Any, ...]:
    row = await connection.fetchrow(_SUMS, tenant)
    return tuple(row or ())


async def some_use(connection: Connection, tenant: UUID) -> None:
    """Two executions with a mail, a call of a model and half a minute of work; one that goes on; four calls."""
    workflow = await make_workflow(connection, tenant)
    hook = await make_trigger(connection, tenant, workflow)
    said = '{"text": "caf\\u00e9", "usage": {"tokens": 1200, "cost": 0.035}}'
    records = [
        action_row(started_at=NOW - timedelta(seconds=30), finished_at=NOW),
        action_row(position=1, type="send_email"),
        action_row(position=2, output=said),
        action_row("started", position=3),
        action_row("skipped", position=4),
    ]
    await make_execution(connection, tenant, workflow, "completed", records=records)
    await make_execution(connection, tenant, workflow, "failed", records=[action_row("failed", type="send_email")])
    await make_execution(connection, tenant, workflow, "running", records=[action_row()])
    calls = [call_row(tenant, hook), call_row(tenant, hook, stands_for=3), call_row(tenant, hook, outcome="preflight")]
    await insert_accepted(connection, [], calls)


async def meter(database: Database) -> None:
    async with database.transaction() as connection:
        await meter_hour(connection, THIS_HOUR)
        await meter_hour(connection, THIS_HOUR + HOUR)  # the test may have begun in the last moment of an hour


async def test_what_has_ended_is_counted_once_however_often_it_is_counted(database: Database) -> None:
    async with database.connection() as connection:
        tenant, other = await make_tenant(connection), await make_tenant(connection, "other")
        await some_use(connection, tenant)
        for _ in range(3):
            await meter(database)
            assert await used_by(connection, tenant) == pytest.approx((2, 4, 30.0, 4, 1, 1200.0, 0.035), abs=0.1)
        assert await used_by(connection, other) == (None,) * 7


async def test_what_comes_late_is_one_more_row(database: Database) -> None:
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        workflow = await make_workflow(connection, tenant)
        await make_execution(connection, tenant, workflow, "completed")
        await meter(database)
        await make_execution(connection, tenant, workflow, "completed", records=[action_row()])
        await meter(database)
        rows = await connection.fetch("SELECT executions, actions FROM usage ORDER BY number")
        assert [tuple(row) for row in rows] == [(1, 0), (1, 1)]


async def test_what_was_deleted_since_stays_counted(database: Database) -> None:
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        await some_use(connection, tenant)
        await meter(database)
        before = await used_by(connection, tenant)
        await connection.execute("DELETE FROM executions")
        await meter(database)
        assert await used_by(connection, tenant) == before


@pytest.mark.parametrize(
    "output",
    [
        '{"usage": {"tokens": 1e999999, "cost": "much"}}', '{"usage": {"tokens": -5}}', '{"usage": "\\u0000"}',
        '"usage"', '[{"usage": 1}]', '{"usage": {"cost": "\\ud800"}}', '{"usage": {"tokens": 12345678901234567890}}',
    ],
)  # fmt: skip
async def test_what_an_output_says_can_not_stop_the_metering(database: Database, output: str) -> None:
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        workflow = await make_workflow(connection, tenant)
        await make_execution(connection, tenant, workflow, "completed", records=[action_row(output=output)])
        await meter(database)
        assert (await used_by(connection, tenant))[:2] == (1, 1)
        assert (await used_by(connection, tenant))[5:] == (0.0, 0.0)


async def test_a_scheduler_that_is_killed_in_the_middle_leaves_nothing_behind(
    database: Database, database_dsn: str
) -> None:
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        await some_use(connection, tenant)
        await connection.execute(_MOVE_BACK, THIS_HOUR - 5 * HOUR)
        await connection.execute(_END_EARLIER)
        dying = await asyncpg.connect(database_dsn)
        await dying.execute("BEGIN")
        for _ in range(4):
            assert await meter_next_hour(dying, "first", timedelta())
        other = Metering(database)
        await other.work()  # somebody is at it
        assert await used_by(connection, tenant) == (None,) * 7
        dying.terminate()
        while await connection.fetchval("SELECT count(*) FROM pg_locks WHERE relation = 'usage'::regclass"):
            continue
        while await other.work():
            continue
        assert (await used_by(connection, tenant))[:2] == (2, 4)
        rows = await connection.fetch("SELECT pass, metered FROM usage_progress ORDER BY pass")
    assert [tuple(row) for row in rows] == [("first", _last_full_hour()), ("late", THIS_HOUR - 5 * HOUR)]


async def test_the_first_look_begins_with_its_hour(database: Database) -> None:
    async with database.connection() as connection:
        assert await metered_until(connection) == THIS_HOUR
        assert await connection.fetchval("SELECT count(*) FROM usage_progress") == 0
        assert not await Metering(database).work()
        rows = await connection.fetch("SELECT pass, metered FROM usage_progress ORDER BY pass")
    assert [tuple(row) for row in rows] == [("first", THIS_HOUR), ("late", THIS_HOUR)]


def _last_full_hour() -> datetime:
    """Up to which hour is metered five minutes after its end."""
    return (datetime.now(UTC) - timedelta(minutes=5)).replace(minute=0, second=0, microsecond=0)


async def exported(world: World, query: str) -> dict[str, Any]:
    answer = await world.client.get(f"/api/v1/admin/usage{query}", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_export_gives_the_same_rows_and_goes_on_after_them(acme: World) -> None:
    await acme.call("GET", "/usage")
    for hour in range(3):
        await acme.fetch(_USED, THIS_HOUR - (5 - hour) * HOUR, hour + 1)
    since = f"?since={(THIS_HOUR - 4 * HOUR).isoformat().replace('+', '%2B')}"
    first = await exported(acme, f"{since}&limit=3")
    assert first == await exported(acme, f"{since}&limit=3")
    rest = await exported(acme, f"{since}&cursor={first['next_cursor']}")
    assert [one["executions"] for one in first["items"] + rest["items"]] == [8, 10, 12, 15]
    assert (await exported(acme, f"{since}&cursor={rest['next_cursor']}"))["items"] == []
    answer = await acme.client.get(f"/api/v1/admin/usage{since}&limit=3&format=csv", headers=ADMIN)
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["id"] for row in rows] == [str(one["id"]) for one in first["items"]]
    assert answer.headers["x-next-cursor"] == first["next_cursor"]
    assert (rows[0]["action_seconds"], rows[0]["cost"]) == ("1.5", "0.25")


async def test_a_tenant_sees_its_own_totals_only(acme: World) -> None:
    await acme.fetch(_USED, THIS_HOUR - HOUR, 1)
    since = f"?from={(THIS_HOUR - HOUR).isoformat().replace('+', '%2B')}"
    own, other = [(await acme.call("GET", f"/usage{since}", slug=slug)).json() for slug in ("acme", "other")]
    assert (own["totals"]["executions"], other["totals"]["executions"]) == (4, 5)
    assert (await acme.call("GET", "/admin/usage")).status_code == 401


async def test_calls_of_the_hour_alone_are_usage(database: Database) -> None:
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        hook = await make_trigger(connection, tenant, await make_workflow(connection, tenant))
        within = call_row(tenant, hook, id=first_id_at(THIS_HOUR), body_bytes=70)
        before = call_row(tenant, hook, id=first_id_at(THIS_HOUR - timedelta(milliseconds=1)), body_bytes=70)
        await insert_accepted(connection, [], [within, before])
        await meter(database)
        row = await connection.fetchrow("SELECT calls, bytes, executions FROM usage")
        assert tuple(row or ()) == (1, 70, 0)
