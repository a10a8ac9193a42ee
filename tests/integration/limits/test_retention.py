"""Retention: a tenant's old history goes in fair batches, and days that nobody needs go whole."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from libs.common.clock import first_id_at, new_id
from libs.common.db import cleaning
from libs.common.db.accepting import insert_accepted
from libs.common.db.partitions import make_partitions
from libs.common.db.pool import Connection, Database
from libs.common.db.tenant_limits import set_quota
from libs.common.limits.plans import Plans
from libs.common.settings import load_settings
from services.scheduler.retention import Retention
from tests.factories import action_row, call_row, make_execution, make_tenant, make_trigger, make_workflow
from tests.integration.conftest import MovableClock

NOW = datetime.now(UTC)
_METERED = """
INSERT INTO usage_progress (pass, metered) VALUES ('first', $1), ('late', $1)
ON CONFLICT (pass) DO UPDATE SET metered = excluded.metered
"""
_DAYS = "SELECT relname FROM pg_class WHERE relname ~ '_[0-9]{8}$' AND relkind = 'r' ORDER BY 1"
_END = "UPDATE executions SET finished_at = $2 WHERE id = $1"


def id_of(days_ago: float) -> UUID:
    """An id of that time."""
    return UUID(int=first_id_at(NOW - timedelta(days=days_ago)).int | new_id().int & (2**74 - 1))


async def history(connection: Connection, tenant: UUID, days_ago: float, status: str = "completed") -> UUID:
    """A call and the execution that it started, so long ago; that has ended then, if it has."""
    await make_partitions(connection, NOW - timedelta(days=days_ago))
    workflow = await make_workflow(connection, tenant, f"w {new_id()}")
    hook = await make_trigger(connection, tenant, workflow)
    execution = await make_execution(connection, tenant, workflow, status, records=[action_row()], id=id_of(days_ago))
    if status == "completed":
        await connection.execute(_END, execution, NOW - timedelta(days=days_ago))
    await insert_accepted(connection, [], [call_row(tenant, hook, execution, id=id_of(days_ago))])
    return execution


async def keep(connection: Connection, tenant: UUID, days: int) -> None:
    await set_quota(connection, tenant, None, f'{{"retention_days": {days}}}')


async def clean(database: Database) -> int:
    """One round; returns how many batches it was."""
    duty, batches = Retention(database, Plans(load_settings({})), MovableClock()), 1
    while await duty.work():
        batches += 1
    return batches


async def rows(connection: Connection, tenant: UUID) -> tuple[int, int]:
    """How many executions and calls there are."""
    return (
        await connection.fetchval("SELECT count(*) FROM executions WHERE tenant_id = $1", tenant),
        await connection.fetchval("SELECT count(*) FROM webhook_logs WHERE tenant_id = $1", tenant),
    )


async def days(connection: Connection, days_ago: float) -> set[str]:
    """The tables that have a partition of that day."""
    day = f"_{NOW - timedelta(days=days_ago):%Y%m%d}"
    return {row["relname"].removesuffix(day) for row in await connection.fetch(_DAYS) if row["relname"].endswith(day)}


async def test_each_tenant_keeps_what_it_may(database: Database) -> None:
    async with database.connection() as connection:
        short, long, endless = [await make_tenant(connection, slug) for slug in ("short", "long", "endless")]
        for tenant in (short, long, endless):
            await history(connection, tenant, 5)
            await history(connection, tenant, 15)
        await keep(connection, short, 3)
        await keep(connection, long, 10)
        await clean(database)
        assert [await rows(connection, tenant) for tenant in (short, long, endless)] == [(0, 0), (1, 1), (2, 2)]


async def test_what_goes_on_stays_however_old_it_is(database: Database) -> None:
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        await keep(connection, tenant, 1)
        await connection.execute(_METERED, NOW)
        await history(connection, tenant, 20, "waiting")
        late = await history(connection, tenant, 30)
        await connection.execute(_END, late, NOW)  # it has taken a month
        await clean(database)
        assert await rows(connection, tenant) == (2, 0)
        assert {"executions", "action_executions", "signals"} <= await days(connection, 20)
        assert {"executions", "action_executions", "signals"} <= await days(connection, 30)


async def test_tenants_take_turns(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "EXECUTIONS_AT_ONCE", 2)
    async with database.connection() as connection:
        much, little, endless = [await make_tenant(connection, slug) for slug in ("much", "little", "endless")]
        for _ in range(9):
            await history(connection, much, 3)
        await history(connection, little, 3)
        await history(connection, endless, 3)
        for tenant in (much, little):
            await keep(connection, tenant, 1)
        duty = Retention(database, Plans(load_settings({})), MovableClock())
        for _ in range(3):  # the round begins; a batch of each
            assert await duty.work()
        assert ((await rows(connection, much))[0], (await rows(connection, little))[0]) == (7, 0)


async def test_days_beyond_every_retention_go_whole(database: Database) -> None:
    async with database.connection() as connection:
        short, long = [await make_tenant(connection, slug) for slug in ("short", "long")]
        for tenant, kept in ((short, 3), (long, 10)):
            await history(connection, tenant, 5)
            await history(connection, tenant, 15)
            await keep(connection, tenant, kept)
        await connection.execute(_METERED, NOW)
        assert await clean(database) == 9  # the beginning; for each tenant one batch of each of four kinds
        assert await days(connection, 15) == set()
        assert len(await days(connection, 5)) == 6
        assert [await rows(connection, tenant) for tenant in (short, long)] == [(0, 0), (1, 1)]


async def test_a_day_that_is_not_metered_yet_stays(database: Database) -> None:
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        await history(connection, tenant, 15, "waiting")
        await keep(connection, tenant, 3)
        await connection.execute(_METERED, NOW - timedelta(days=20))
        await clean(database)
        assert {"executions", "webhook_logs", "firings"} & await days(connection, 15) == {"executions", "webhook_logs"}


async def test_empty_days_of_a_week_ago_go_and_the_others_stay(database: Database) -> None:
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        await history(connection, tenant, 20)
        await make_partitions(connection, NOW - timedelta(days=4))
        await clean(database)
        assert await days(connection, 20) == {"executions", "action_executions", "signals", "webhook_logs"}
        assert await days(connection, 21) == set()
        assert len(await days(connection, 4)) == 6


async def test_a_table_that_is_read_is_left_for_the_next_round(database: Database, database_dsn: str) -> None:
    async with database.connection() as connection:
        await make_partitions(connection, NOW - timedelta(days=20))
        reader = await asyncpg.connect(database_dsn)
        async with reader.transaction():
            await reader.fetch("SELECT count(*) FROM executions")
            await clean(database)
            assert await days(connection, 20) == {"executions", "action_executions", "signals"}
        await reader.close()
        await clean(database)
        assert await days(connection, 20) == set()
