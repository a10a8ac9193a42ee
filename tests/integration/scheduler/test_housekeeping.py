"""Housekeeping: the days to come have their partitions, in nobody's way, and what is out of date is gone."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from libs.common.clock import first_id_at, new_id
from libs.common.db.partitions import DAYS_AHEAD, DAYS_BACK
from services.scheduler.housekeeping import Housekeeping
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow
from tests.waiting import patience

TABLES = ("executions", "action_executions", "signals", "webhook_logs", "events", "firings")
MONTH = 30 * 86_400
_NAMES = "SELECT relname FROM pg_class WHERE relname ~ '^[a-z_]+_[0-9]{8}$' AND relkind = 'r'"
_INSERT = """
INSERT INTO executions (tenant_id, id, workflow_id, version, trigger_type, input, wake_at)
SELECT tenant_id, $1, id, 1, 'manual', '{}', now() FROM workflows LIMIT 1
"""
_INDEXES = "SELECT count(*) FROM pg_index WHERE indrelid = $1::regclass AND indisvalid"


async def partitions(world: World) -> set[str]:
    return {row["relname"] for row in await world.fetch(_NAMES)}


async def test_yesterday_and_the_days_to_come_have_partitions(acme: World) -> None:
    before = await partitions(acme)
    acme.clock.move(MONTH)
    await Housekeeping(acme.parts.database, acme.clock).work()
    days = [acme.clock.now() + timedelta(days=offset) for offset in range(-DAYS_BACK, DAYS_AHEAD + 1)]
    assert await partitions(acme) - before == {f"{table}_{day:%Y%m%d}" for table in TABLES for day in days}


async def test_a_partition_takes_rows_under_the_rules_of_its_table(acme: World) -> None:
    await acme.made(workflow())
    acme.clock.move(MONTH)
    await Housekeeping(acme.parts.database, acme.clock).work()
    identifier, name = first_id_at(acme.clock.now()), f"executions_{acme.clock.now():%Y%m%d}"
    await acme.fetch(_INSERT, identifier)
    (row,) = await acme.fetch("SELECT tableoid::regclass::text AS name, status, epoch FROM executions")
    assert (row["name"], row["status"], row["epoch"]) == (name, "pending", 0)
    with pytest.raises(asyncpg.UniqueViolationError):
        await acme.fetch(_INSERT, identifier)
    with pytest.raises(asyncpg.CheckViolationError, match="finished_iff_terminal"):
        await acme.fetch("UPDATE executions SET status = 'completed', wake_at = NULL")
    for table in TABLES:
        assert await acme.fetch(_INDEXES, table) == await acme.fetch(_INDEXES, f"{table}_{acme.clock.now():%Y%m%d}")


async def test_a_long_reader_holds_up_nobody(acme: World, database_dsn: str) -> None:
    """As a dump does, it has every table under its lock while partitions are made and rows written."""
    await acme.made(workflow())
    reader = await asyncpg.connect(database_dsn)
    async with reader.transaction():
        for table in TABLES:
            await reader.fetch(f"SELECT count(*) FROM {table}")
        acme.clock.move(MONTH)
        async with patience():
            await Housekeeping(acme.parts.database, acme.clock).work()
            await acme.fetch(_INSERT, new_id())
    await reader.close()
    assert f"executions_{acme.clock.now():%Y%m%d}" in await partitions(acme)


async def test_many_schedulers_may_do_it_at_the_same_time(acme: World) -> None:
    acme.clock.move(MONTH)
    await asyncio.gather(*[Housekeeping(acme.parts.database, acme.clock).work() for _ in range(4)])
    assert f"firings_{acme.clock.now():%Y%m%d}" in await partitions(acme)


async def test_old_idempotency_keys_and_workers_are_forgotten(acme: World) -> None:
    made = await acme.made(workflow())
    for key in ("old", "new"):
        await acme.call("POST", f"/workflows/{made['id']}/execute", {}, Idempotency_Key=key)
    await acme.fetch("UPDATE idempotency_keys SET created_at = now() - interval '25 hours' WHERE key = 'old'")
    for identifier, silent in ((new_id(), timedelta(hours=25)), (new_id(), timedelta(hours=1))):
        await acme.fetch(
            "INSERT INTO workers (id, service, beat_at) VALUES ($1, 'executor', now() - $2::interval)",
            identifier, silent,
        )  # fmt: skip
    await Housekeeping(acme.parts.database, acme.clock).work()
    assert [row["key"] for row in await acme.fetch("SELECT key FROM idempotency_keys")] == ["new"]
    assert await acme.count("workers") == 1


async def test_old_ids_of_events_are_free_again(acme: World) -> None:
    sent = [{"type": "deal", "id": name} for name in ("old", "new")]
    await acme.call("POST", "/events", sent)
    await acme.fetch("UPDATE event_ids SET created_at = now() - interval '25 hours' WHERE dedupe_id = 'old'")
    await Housekeeping(acme.parts.database, acme.clock).work()
    answer = await acme.call("POST", "/events", sent)
    assert [item["duplicate"] for item in answer.json()["items"]] == [False, True]


async def test_waits_of_executions_that_have_ended_are_forgotten(acme: World) -> None:
    made = await acme.made(workflow())
    runs = [(await acme.call("POST", f"/workflows/{made['id']}/execute", {})).json()["execution_id"] for _ in range(2)]
    await acme.call("POST", f"/executions/{runs[0]}/cancel")
    await acme.fetch(
        "INSERT INTO event_waits (tenant_id, execution_id, position, event, scope)"
        " SELECT tenant_id, id, 0, 'deal', '{}' FROM executions"
    )
    await Housekeeping(acme.parts.database, acme.clock).work()
    assert [str(row["execution_id"]) for row in await acme.fetch("SELECT execution_id FROM event_waits")] == [runs[1]]
