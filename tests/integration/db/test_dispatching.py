"""What waits for its tenant's turn, as rows: held back, ranked, let go, and counted."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from libs.common.clock import new_id
from libs.common.db.accepting import insert_accepted
from libs.common.db.controlling import cancel_executions, pause_execution
from libs.common.db.dispatching import (
    Ticket,
    count_outstanding,
    hold_executions,
    release_held,
    standings_of,
    tenants_with_backlog,
)
from libs.common.db.executions import wake_due_executions
from libs.common.db.pool import Connection, Database
from libs.common.domain.fairness import Lane, Standing
from tests.factories import make_execution, make_tenant, make_trigger, make_workflow, new_execution

BYTES = 1_000
_READ = """
SELECT sum(pg_stat_get_xact_tuples_returned(oid) + pg_stat_get_xact_tuples_fetched(oid))::int
  FROM pg_class WHERE relname LIKE $1 || '%'
"""


async def held(connection: Connection, tenant: UUID, workflow: UUID, number: int = 1, **more: Any) -> list[UUID]:
    """So many executions of the workflow, held back one after the other."""
    ids = [await make_execution(connection, tenant, workflow, **more) for _ in range(number)]
    for one in ids:
        assert await hold_executions(connection, [Ticket(tenant, one, 0)]) == 1
    return ids


async def held_from_the_start(
    connection: Connection, tenant: UUID, workflow: UUID, number: int = 1, **more: Any
) -> list[UUID]:
    """As `held`, and nothing has to be changed for it."""
    new = [new_execution(tenant, workflow, **more) for _ in range(number)]
    for one in new:
        await insert_accepted(connection, [one.started(Lane.HELD).row])
    return [one.id for one in new]


Held = Callable[..., Awaitable[list[UUID]]]
ways = pytest.mark.parametrize("held", [held, held_from_the_start])
"""What is announced and beyond the window is held then; what is placed before it is stored is stored so."""


async def released(connection: Connection, tenant: UUID, room: int = 50) -> list[UUID]:
    return [one.id for one in await release_held(connection, [(tenant, room)], BYTES)]


@ways
async def test_what_is_held_is_let_go_once_and_in_its_order(database: Database, held: Held) -> None:
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        workflow = await make_workflow(connection, tenant)
        ids = await held(connection, tenant, workflow, 5)
        assert await count_outstanding(connection) == {}
        assert await wake_due_executions(connection, 50, -1_000.0) == [], "the sweep leaves them alone"
        assert await tenants_with_backlog(connection) == {tenant}
        assert await released(connection, tenant, 3) == ids[:3]
        assert await count_outstanding(connection) == {tenant: 3}
        assert await released(connection, tenant) == ids[3:]
        assert (await released(connection, tenant), await tenants_with_backlog(connection)) == ([], set())
        lost = await wake_due_executions(connection, 50, -1_000.0)
        assert {one.id for one in lost} == set(), "what is let go has some seconds to be taken"
        await connection.execute("UPDATE executions SET wake_at = wake_at - interval '10 s'")
        assert {one.id for one in await wake_due_executions(connection, 50, 0.0)} == set(ids)


@ways
async def test_a_fresh_one_comes_with_all_that_an_executor_needs(database: Database, held: Held) -> None:
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        workflow = await make_workflow(connection, tenant)
        trigger = await make_trigger(connection, tenant, workflow, key="push")
        more: dict[str, Any] = {
            "trigger_id": trigger,
            "trigger_type": "webhook",
            "actor": "ada",
            "traceparent": "00-1-2-01",
        }
        (small,) = await held(connection, tenant, workflow, input=b'{"n":1}', **more)
        await held(connection, tenant, workflow, input=b'"' + b"x" * BYTES + b'"')
        (old,) = await held(connection, tenant, workflow)
        await connection.execute("UPDATE executions SET epoch = 4 WHERE id = $1", old)
        fresh, large, aged = await release_held(connection, [(tenant, 9)], BYTES)
        assert (fresh.id, fresh.epoch, fresh.is_fresh, fresh.input) == (small, 0, True, '{"n":1}')
        assert (fresh.workflow_id, fresh.version, fresh.trigger_id, fresh.trigger_key) == (workflow, 1, trigger, "push")
        assert (fresh.trigger_type, fresh.actor, fresh.traceparent) == ("webhook", "ada", "00-1-2-01")
        assert (large.is_fresh, large.input) == (False, "")
        assert (aged.id, aged.epoch, aged.is_fresh) == (old, 4, False)


@ways
async def test_priority_of_the_call_the_trigger_the_workflow(database: Database, held: Held) -> None:
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        workflow = await make_workflow(connection, tenant)
        definition = {
            "name": "w", "priority": 2, "triggers": [{"key": "slow", "type": "webhook", "priority": -3}], "actions": [],
        }  # fmt: skip
        await connection.execute(
            "UPDATE workflow_versions SET definition = $1", msgspec.json.encode(definition).decode()
        )
        slow = await make_trigger(connection, tenant, workflow, key="slow")
        usual = await make_trigger(connection, tenant, workflow, key="usual")
        by_slow = await held(connection, tenant, workflow, 2, trigger_id=slow)
        by_usual = await held(connection, tenant, workflow, 2, trigger_id=usual)
        by_hand = await held(connection, tenant, workflow, 1)
        asked = [
            (await held(connection, tenant, workflow, 1, trigger_id=slow, priority=priority))[0]
            for priority in (0, 10, 1)
        ]
        rows = await connection.fetch("SELECT id, queue_rank - now() AS rank FROM executions")
        ranks = {row["id"]: round(row["rank"] / timedelta(minutes=1)) for row in rows}
        assert [ranks[one] for one in (*by_slow, *by_usual, *by_hand, *asked)] == [3, 3, -2, -2, -2, 0, -10, -1]
        assert await released(connection, tenant) == [asked[1], *by_usual, *by_hand, asked[2], asked[0], *by_slow]


async def test_ready_and_held_are_stored_together(database: Database) -> None:
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        workflow, other = [await make_workflow(connection, tenant, name) for name in ("one", "other")]
        await connection.execute(
            """UPDATE workflow_versions SET definition = '{"priority": 2}' WHERE workflow_id = $1""", other
        )
        lanes = (Lane.PROMPT, Lane.HELD, Lane.BULK, None, Lane.HELD)
        new = [new_execution(tenant, one) for one in (workflow, workflow, workflow, workflow, other)]
        await insert_accepted(connection, [one.started(lane).row for one, lane in zip(new, lanes, strict=True)])
        rows = {row["id"]: row for row in await connection.fetch("SELECT * FROM executions")}
        assert [rows[one.id]["queue_rank"] is None for one in new] == [True, False, True, True, False]
        assert [rows[one.id]["priority"] for one in new] == [None, 0, None, None, 2]
        assert await count_outstanding(connection) == {tenant: 3}
        assert await released(connection, tenant) == [new[4].id, new[1].id]


async def test_who_has_waited_long_enough_goes_before_a_higher_priority(database: Database) -> None:
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        workflow = await make_workflow(connection, tenant)
        (low,) = await held(connection, tenant, workflow, priority=-1)
        (high,) = await held(connection, tenant, workflow, priority=1)
        waited = "UPDATE executions SET queue_rank = queue_rank - interval '121 s' WHERE id = $1"
        await connection.execute(waited, low)
        assert await released(connection, tenant) == [low, high]


async def test_what_has_moved_meanwhile_is_not_held(database: Database) -> None:
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        workflow = await make_workflow(connection, tenant)
        running = await make_execution(connection, tenant, workflow, "running", worker=new_id())
        pending = await make_execution(connection, tenant, workflow)
        tickets = [Ticket(tenant, running, 0), Ticket(tenant, pending, 1), Ticket(tenant, new_id(), 0)]
        assert await hold_executions(connection, tickets) == 0
        assert await count_outstanding(connection) == {tenant: 2}


@pytest.mark.parametrize("leave", [cancel_executions, pause_execution])
async def test_who_is_cancelled_or_paused_stands_in_no_queue(database: Database, leave: Any) -> None:
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        (one,) = await held(connection, tenant, await make_workflow(connection, tenant))
        assert await leave(connection, tenant, one if leave is pause_execution else [one])
        assert (await tenants_with_backlog(connection), await released(connection, tenant)) == (set(), [])


async def test_two_dispatchers_share_a_backlog(database: Database) -> None:
    async with database.connection() as one, database.connection() as other:
        tenant = await make_tenant(one)
        ids = await held(one, tenant, await make_workflow(one, tenant), 4)
        async with one.transaction():
            assert await released(one, tenant, 2) == ids[:2]
            assert await released(other, tenant, 2) == ids[2:]


async def test_standings(database: Database) -> None:
    async with database.connection() as connection:
        usual, heavy, narrow = [await make_tenant(connection, slug) for slug in ("usual", "heavy", "narrow")]
        await connection.execute("UPDATE tenants SET weight = 4 WHERE tenant_id = $1", heavy)
        await connection.execute("UPDATE tenants SET run_window = 7, weight = 2 WHERE tenant_id = $1", narrow)
        assert await standings_of(connection, [usual, heavy, narrow, new_id()], 100) == {
            usual: Standing(100, 1), heavy: Standing(400, 4), narrow: Standing(7, 2)
        }  # fmt: skip


async def test_a_backlog_is_found_and_let_go_without_reading_the_rest(database: Database) -> None:
    async with database.connection() as connection:
        tenants = [await make_tenant(connection, f"tenant-{number}") for number in range(3)]
        workflows = [await make_workflow(connection, tenant) for tenant in tenants]
        await connection.execute(
            "INSERT INTO executions (tenant_id, id, workflow_id, version, trigger_type, input, status, wake_at,"
            " queue_rank) SELECT ($1::uuid[])[1 + n % 3], x.id, ($2::uuid[])[1 + n % 3], 1, 'manual', '{}', 'pending',"
            " 'infinity', now() + make_interval(secs => n) FROM unnest($3::uuid[]) WITH ORDINALITY AS x (id, n)",
            tenants, workflows, [new_id() for _ in range(9_000)],
        )  # fmt: skip
        await connection.execute("ANALYZE executions")
        assert await rows_read(connection, lambda: tenants_with_backlog(connection)) < 200
        assert await rows_read(connection, lambda: release_held(connection, [(tenants[0], 3)], BYTES)) < 300
        assert await rows_read(connection, lambda: count_outstanding(connection)) < 200


async def rows_read(connection: Connection, work: Callable[[], Awaitable[object]], tables: str = "executions") -> int:
    """How many entries of indexes and rows it reads of the tables whose names begin so."""
    async with connection.transaction():
        before = await connection.fetchval(_READ, tables)
        await work()
        return await connection.fetchval(_READ, tables) - before


async def test_the_priority_of_a_workflow_is_looked_up_once_for_all_that_have_it(database: Database) -> None:
    """What compares each with each takes seconds for thousands."""
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        workflow = await make_workflow(connection, tenant)
        new = [new_execution(tenant, workflow) for _ in range(300)]

        async def start_held() -> None:
            await insert_accepted(connection, [one.started(Lane.HELD).row for one in new[:150]])

        async def hold() -> None:
            await insert_accepted(connection, [one.row() for one in new[150:]])
            tickets = [Ticket(tenant, one.id, 0) for one in new[150:]]
            assert await hold_executions(connection, tickets) == 150

        for work in (start_held, hold):
            assert await rows_read(connection, work, "workflow_versions") <= 10


async def test_a_priority_out_of_range_is_refused(database: Database) -> None:
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        workflow = await make_workflow(connection, tenant)
        with pytest.raises(Exception, match="priority"):
            await make_execution(connection, tenant, workflow, priority=11)
        assert new_execution(tenant, workflow).priority is None
