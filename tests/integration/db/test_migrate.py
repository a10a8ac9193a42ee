"""Migrating: any number of processes may do it, as often as they like; a database of a later release is left alone. And
the day partitions that come with it hold each row in the day of its id.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest

from libs.common.clock import first_id_at
from libs.common.db.accepting import insert_accepted
from libs.common.db.execution_views import ExecutionFilter, find_execution, list_executions
from libs.common.db.migrate import migrate, migrations
from libs.common.db.partitions import DAYS_AHEAD, DAYS_BACK, make_partitions
from libs.common.db.pool import Connection, Database
from libs.common.errors import OperatorError
from tests.factories import make_tenant, make_workflow, new_execution

NAMES = [name for name, _ in migrations()]
_PARTITIONS = "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1::regclass"
_TABLES = "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"


class Fixed:
    """A clock that shows one moment."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


@pytest.fixture
async def empty_dsn(postgres_dsn: str) -> AsyncIterator[str]:
    """Address of a database without any table."""
    name = f"empty_{os.urandom(6).hex()}"
    server = await asyncpg.connect(postgres_dsn)
    await server.execute(f"CREATE DATABASE {name}")
    yield urlsplit(postgres_dsn)._replace(path=f"/{name}").geturl()
    await server.execute(f"DROP DATABASE {name}")  # refused while somebody is connected
    await server.close()


async def ledger(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        return [row["name"] for row in await connection.fetch("SELECT name FROM schema_migrations ORDER BY name")]
    finally:
        await connection.close()


async def test_of_many_at_once_one_migrates_and_the_others_find_it_done(empty_dsn: str) -> None:
    applied = await asyncio.gather(*[migrate(empty_dsn) for _ in range(4)])
    assert sorted(applied) == [[], [], [], NAMES]
    assert await ledger(empty_dsn) == NAMES
    assert await migrate(empty_dsn) == []


async def test_a_migration_that_fails_leaves_nothing_and_is_done_the_next_time(empty_dsn: str) -> None:
    """`jobs_open` is the name of an index that the third one makes after its table `jobs`."""
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute("CREATE TABLE jobs_open (n int)")
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(empty_dsn)
    assert await ledger(empty_dsn) == NAMES[:2]
    assert await connection.fetchval("SELECT to_regclass('jobs')") is None
    await connection.execute("DROP TABLE jobs_open")
    await connection.close()
    assert await migrate(empty_dsn) == NAMES[2:]


async def test_a_database_of_a_later_release_is_refused_in_one_line(database_dsn: str, beside: Connection) -> None:
    await beside.execute("INSERT INTO schema_migrations (name) VALUES ('9000_post_later.sql'), ('9001_post_still.sql')")
    tables = await beside.fetchval(_TABLES)
    with pytest.raises(OperatorError, match=r"9001_post_still\.sql") as refused:
        await migrate(database_dsn, Fixed(datetime.now(UTC) + timedelta(days=30)))
    assert "\n" not in refused.value.detail
    assert await beside.fetchval(_TABLES) == tables


async def test_the_release_before_still_runs_while_the_next_one_is_rolled_out(
    database_dsn: str, beside: Connection
) -> None:
    await beside.execute("INSERT INTO schema_migrations (name) VALUES ('9000_pre_later.sql')")
    assert await migrate(database_dsn) == []


async def test_days_from_yesterday_on_have_partitions_and_are_made_once(database: Database) -> None:
    moment = datetime(2031, 5, 31, 23, 59, tzinfo=UTC)
    days = [moment + timedelta(days=offset) for offset in range(-DAYS_BACK, DAYS_AHEAD + 1)]
    async with database.connection() as connection:
        made = await make_partitions(connection, moment)
        assert await make_partitions(connection, moment) == []
        for table in ("executions", "action_executions", "signals", "webhook_logs", "events", "firings"):
            existing = {row["name"] for row in await connection.fetch(_PARTITIONS, table)}
            wanted = {f"{table}_{day:%Y%m%d}" for day in days}
            assert wanted <= existing
            assert wanted <= set(made)
        tomorrow = await make_partitions(connection, moment + timedelta(minutes=1))
    assert {name[-8:] for name in tomorrow} == {"20310604"}


async def test_midnight_lies_between_two_partitions_and_none_is_left_out(database: Database) -> None:
    moment = datetime(2031, 3, 1, 12, tzinfo=UTC)
    midnight = datetime(2031, 3, 2, tzinfo=UTC)
    first = first_id_at(midnight)
    last = type(first)(int=first.int - 1)
    async with database.connection() as connection:
        await make_partitions(connection, moment)
        tenant = await make_tenant(connection)
        workflow = await make_workflow(connection, tenant)
        await insert_accepted(connection, [new_execution(tenant, workflow, id=one).row() for one in (last, first)])
        rows = await connection.fetch("SELECT tableoid::regclass::text AS name FROM executions ORDER BY id")
    assert [row["name"] for row in rows] == ["executions_20310301", "executions_20310302"]


async def test_days_long_past_stay_and_are_found(database: Database) -> None:
    past, now = datetime(2031, 1, 1, tzinfo=UTC), datetime(2031, 3, 1, tzinfo=UTC)
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        workflow = await make_workflow(connection, tenant)
        identifiers = [first_id_at(moment) for moment in (past, now)]
        for moment, identifier in zip((past, now), identifiers, strict=True):
            await make_partitions(connection, moment)
            await insert_accepted(connection, [new_execution(tenant, workflow, id=identifier).row()])
        assert await find_execution(connection, tenant, identifiers[0]) is not None
        listed = await list_executions(connection, tenant, ExecutionFilter(), after=None, limit=9, offset=0)
    assert [one.id for one in listed] == identifiers[::-1]
