"""Deleting old history: in batches, with all that belongs to an execution; what goes on or is others' stays."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from libs.common.clock import first_id_at, new_id
from libs.common.db import approvals, cleaning, notifications
from libs.common.db.accepting import insert_accepted
from libs.common.db.events import raise_events
from libs.common.db.pool import Connection, Database
from libs.common.domain.events import NewEvent
from libs.common.domain.notifications import Notification
from services.executor.actions.base import Attempt
from services.executor.actions.upkeep import CleanUpAction
from tests.factories import action_row, call_row, make_execution, make_tenant, make_trigger, make_workflow

NOW = datetime.now(UTC)


class Later:
    """A clock two days ahead; every look takes so many seconds."""

    def __init__(self, step_seconds: float = 0) -> None:
        self.moment, self.step = NOW + timedelta(days=2), timedelta(seconds=step_seconds)

    def now(self) -> datetime:
        self.moment += self.step
        return self.moment


async def clean(database: Database, tenant: UUID, clock: Later, **config: Any) -> dict[str, Any]:
    """What the action says, made two days from now."""
    attempt = Attempt("k", 10.0, "", tenant)
    output = await CleanUpAction(database, clock).run({"older_than_days": 1, **config}, attempt)
    return {name: value for name, value in output.items() if name != "before"}


async def history(connection: Connection, tenant: UUID, number: int) -> UUID:
    """So many of each kind; returns the workflow."""
    workflow = await make_workflow(connection, tenant, f"w {new_id()}")
    hook = await make_trigger(connection, tenant, workflow)
    for _ in range(number):
        ended = await make_execution(connection, tenant, workflow, "completed", records=[action_row()])
        await insert_accepted(connection, [], [call_row(tenant, hook, ended)])
        told = Notification(tenant, new_id(), "", "info", "Title", "Message", None, ended, NOW)
        await notifications.insert_notifications(connection, [told])
        asked = approvals.NewApproval(tenant, new_id(), ended, 0, 0, "t", "", None)
        await approvals.ask_approvals(connection, [asked])
        async with connection.transaction():
            await raise_events(connection, [NewEvent(tenant, new_id(), "deal", "{}", "api")])
    return workflow


async def counts(connection: Connection, tenant: UUID) -> dict[str, int]:
    tables = ("executions", "action_executions", "approvals", "webhook_logs", "events", "notifications")
    return {
        table: await connection.fetchval(f"SELECT count(*) FROM {table} WHERE tenant_id = $1", tenant)
        for table in tables
    }


async def test_all_that_is_old_goes_in_batches_and_nobody_else_s(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "EXECUTIONS_AT_ONCE", 2)
    monkeypatch.setattr(cleaning, "ROWS_AT_ONCE", 2)
    async with database.connection() as connection:
        tenant, other = await make_tenant(connection), await make_tenant(connection, "other")
        await history(connection, tenant, 5)
        await history(connection, other, 3)
        before = await counts(connection, other)
        first = await cleaning.delete_old_calls(connection, tenant, first_id_at(NOW + timedelta(days=1)))
        assert first == 2
        gone = await clean(database, tenant, Later())
        assert gone == {"executions": 5, "webhook_calls": 3, "events": 5, "notifications": 5, "complete": True}
        assert set((await counts(connection, tenant)).values()) == {0}
        assert await counts(connection, other) == before
        assert (await clean(database, tenant, Later()))["executions"] == 0


async def test_what_has_not_ended_or_not_long_ago_stays_and_so_does_a_child_of_what_goes_on(database: Database) -> None:
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        workflow = await make_workflow(connection, tenant)
        stays = [
            await make_execution(connection, tenant, workflow, status)
            for status in ("pending", "running", "waiting", "completed")
        ]
        await connection.execute("UPDATE executions SET finished_at = $2 WHERE id = $1", stays[3], Later().now())
        child = await make_execution(connection, tenant, workflow, "completed", records=[action_row()])
        orphan = await make_execution(connection, tenant, workflow, "completed")
        for one, parent in ((child, stays[2]), (orphan, new_id())):
            await connection.execute("UPDATE executions SET parent_id = $2 WHERE id = $1", one, parent)
        assert await clean(database, tenant, Later(), what=["executions"]) == {"executions": 1, "complete": True}
        left = {row["id"] for row in await connection.fetch("SELECT id FROM executions")}
        assert left == {*stays, child}
        assert await connection.fetchval("SELECT count(*) FROM action_executions") == 1


async def test_only_what_is_asked_for_and_only_as_long_as_there_is_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "ROWS_AT_ONCE", 1)
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
        await history(connection, tenant, 4)
        gone = await clean(database, tenant, Later(step_seconds=3), what=["events", "notifications"])
        assert gone == {"events": 2, "notifications": 0, "complete": False}
        gone = await clean(database, tenant, Later(), what=["events"])
        assert gone == {"events": 2, "complete": True}
        found = await counts(connection, tenant)
        assert (found["executions"], found["notifications"]) == (4, 4)
