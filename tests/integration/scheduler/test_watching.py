"""What the scheduler tells the metrics of the installation's state is what its database holds."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from libs.common.accept import Acceptor
from libs.common.bus.memory import MemoryBus
from libs.common.cache.outstanding import NobodyCounts
from libs.common.clock import SystemClock, first_id_at, new_id
from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.security.encryption import Vault, new_master_key
from libs.common.telemetry import states
from libs.common.telemetry.registry import REGISTRY
from libs.common.telemetry.tenants import SERIES
from libs.common.windows import Windows
from services.scheduler.watching import Watching
from tests.factories import make_tenant, make_workflow
from tests.waiting import patience

_PENDING = """
INSERT INTO executions (tenant_id, id, workflow_id, version, trigger_type, status, input, wake_at)
SELECT $1, x.id, $2, 1, 'manual', $4, '{}', now() + $5::interval FROM unnest($3::uuid[]) AS x (id)
"""
_SCHEDULE = """
INSERT INTO triggers (tenant_id, id, workflow_id, key, type, config, enabled, next_run_at)
VALUES ($1, $2, $3, $4, 'schedule', '{}', true, now() + $5::interval)
"""

_HOLD = """
UPDATE executions SET wake_at = 'infinity', priority = $3::int, queue_rank = now() - $2::interval - $3 * interval '60 s'
 WHERE id = ANY($1::uuid[])
"""
_END = "UPDATE executions SET status = 'completed', wake_at = NULL, queue_rank = NULL, finished_at = now()"


@pytest.fixture
async def watching(database: Database) -> AsyncIterator[Watching]:
    bus = MemoryBus()
    await bus.connect()
    acceptor = Acceptor(database, bus, Windows(database, NobodyCounts(), window=4, budget=30))
    yield Watching(database, Vault(new_master_key()), acceptor, SystemClock(), 15.0)
    await acceptor.close()
    await bus.close()
    SERIES.show("off")
    for name in dir(states):
        if isinstance(state := getattr(states, name), states.State):
            state.tell_all({})


def told(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"signalbox_{name}", labels)


async def make_work(database: Database, slug: str = "acme") -> tuple[UUID, UUID]:
    """A tenant with a workflow."""
    async with database.connection() as connection:
        tenant = await make_tenant(connection, slug)
        return tenant, await make_workflow(connection, tenant)


async def store(database: Database, tenant: UUID, workflow: UUID, ids: list[UUID], status: str, wakes: int) -> None:
    async with database.connection() as connection:
        await connection.execute(_PENDING, tenant, workflow, ids, status, timedelta(seconds=wakes))


async def test_the_backlog_is_what_is_ready_and_not_taken(database: Database, watching: Watching) -> None:
    SERIES.show("all")
    (acme, work), (rival, other) = await make_work(database), await make_work(database, "rival")
    now = SystemClock().now()
    old = [UUID(int=first_id_at(now - timedelta(seconds=90)).int + 1)]
    await store(database, acme, work, [*old, new_id()], "pending", 2)
    await store(database, acme, work, [new_id()], "waiting", 3)
    await store(database, acme, work, [UUID(int=old[0].int - 1)], "waiting", 3600)
    await store(database, rival, other, [new_id()], "pending", 5)
    await watching.work()
    assert told("backlog_executions") == 3
    assert 90 <= (told("backlog_age_seconds") or 0) < 150
    assert (told("tenant_backlog", tenant=str(acme)), told("tenant_backlog", tenant=str(rival))) == (2, 1)
    assert told("tenant_info", tenant=str(acme), slug="acme") == 1


async def test_windows_their_use_and_what_waits_for_a_turn(database: Database, watching: Watching) -> None:
    SERIES.show("all")
    (acme, work), (rival, other) = await make_work(database), await make_work(database, "rival")
    await store(database, acme, work, [new_id() for _ in range(4)], "pending", 2)
    await store(database, rival, other, [new_id()], "pending", 2)
    held = [new_id() for _ in range(4)]
    await store(database, acme, work, held[:3], "pending", 0)
    await store(database, rival, other, held[3:], "pending", 0)
    async with database.connection() as connection:
        await connection.execute(_HOLD, held, timedelta(seconds=90), 2)
        await connection.execute("UPDATE tenants SET weight = 2 WHERE tenant_id = $1", rival)
    await watching.work()
    assert (told("dispatch_budget"), told("dispatch_outstanding")) == (30, 5)
    assert (told("dispatch_held_executions"), told("dispatch_held_tenants")) == (4, 2)
    assert told("dispatch_held_with_room") == 1, "rival's: nobody dispatches here"
    assert 90 <= (told("dispatch_held_age_seconds") or 0) < 150, "what its priority brings is no waiting"
    assert told("dispatch_window_use_max") == 1
    of_tenants = [
        [told(f"tenant_{name}", tenant=str(tenant)) for name in ("window", "outstanding", "held")]
        for tenant in (acme, rival)
    ]
    assert of_tenants == [[4, 4, 3], [8, 1, 1]]
    async with database.connection() as connection:
        await connection.execute(_END)
    await watching.work()
    assert (told("dispatch_outstanding"), told("dispatch_held_executions"), told("dispatch_held_age_seconds")) == (
        0, 0, 0,
    )  # fmt: skip
    assert told("tenant_window", tenant=str(acme)) is None


async def test_schedules_that_nobody_looks_at(database: Database, watching: Watching) -> None:
    acme, work = await make_work(database)
    await watching.work()
    assert (told("schedules_overdue"), told("schedule_overdue_seconds")) == (0, 0)
    async with database.connection() as connection:
        for key, seconds in (("a", -300), ("b", -10), ("c", 60)):
            await connection.execute(_SCHEDULE, acme, new_id(), work, key, timedelta(seconds=seconds))
    await watching.work()
    assert told("schedules_overdue") == 2
    assert 300 <= (told("schedule_overdue_seconds") or 0) < 360


async def test_what_the_doctor_finds(database: Database, watching: Watching) -> None:
    acme, work = await make_work(database)
    await store(database, acme, work, [new_id(), new_id()], "pending", -600)
    await watching.work()
    assert told("doctor_findings", disease="overdue_executions") == 2
    assert told("doctor_findings", disease="leaked_slots") == 0, "what is well begins at 0, so that a rise is one"
    assert told("bus_dead_letters") == 0


async def test_the_servers_own_figures(database: Database, watching: Watching) -> None:
    await watching.work()
    assert (told("database_bytes") or 0) > 1_000_000
    assert (told("database_connections", state="active") or 0) >= 1
    assert (told("table_bytes", table="executions") or 0) > 0, "with its partitions, by the name of the whole"
    assert told("table_bytes", table="executions_default") is None
    assert told("executors_alive") == 0


async def test_a_look_waits_for_nobody_who_has_tables_locked(database: Database, watching: Watching) -> None:
    SERIES.show("all")
    async with database.transaction() as connection:
        await connection.execute("LOCK TABLE firings, webhook_logs, audit_log IN ACCESS EXCLUSIVE MODE")
        async with patience():
            await watching.work()
    assert told("backlog_executions") == 0


async def test_nothing_old_is_told_while_the_database_is_away(database: Database, watching: Watching) -> None:
    await watching.work()
    assert told("backlog_executions") == 0
    await database.close()
    with pytest.raises(Unavailable):
        await watching.work()
    assert told("backlog_executions") is None
    assert told("dispatch_held_executions") is None
    assert told("doctor_findings", disease="overdue_executions") is None
