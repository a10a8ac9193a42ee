"""Approvals: asked once, decided once, and the decision reaches the execution with the same commit."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from libs.common.clock import new_id
from libs.common.db.approvals import (
    Approval,
    ApprovalStatus,
    Decision,
    NewApproval,
    ask_approvals,
    decide,
    find_approval,
    list_approvals,
)
from libs.common.db.controlling import cancel_executions
from libs.common.db.pool import Connection, Database
from libs.common.db.signals import Signal, send_signals, signals_of
from libs.common.errors import Conflict, NotFound
from tests.factories import make_execution, make_tenant, make_workflow
from tests.integration.locks import held_up

STATUSES: tuple[ApprovalStatus, ...] = ("pending", "approved", "rejected", "expired", "withdrawn")


class Desk:
    """Approvals of one tenant."""

    def __init__(self, database: Database, connection: Connection, tenant: UUID, workflow: UUID) -> None:
        self.database, self.connection, self.tenant, self.workflow = database, connection, tenant, workflow

    async def ask(self, seconds: float | None = None) -> NewApproval:
        """A new execution asks; so many seconds are left to decide."""
        execution = await make_execution(self.connection, self.tenant, self.workflow, "waiting")
        expires = None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
        row = NewApproval(self.tenant, new_id(), execution, 4, 2, "Refund?", "Order 7", expires)
        await ask_approvals(self.connection, [row])
        return row

    async def decide(self, approval: UUID, decision: Decision = "approve", comment: str | None = None) -> Approval:
        async with self.database.transaction() as connection:
            return await decide(connection, self.tenant, approval, decision, comment, "ada")

    async def told(self, asked: NewApproval) -> list[tuple[str, int, int, Any]]:
        signals = await signals_of(self.connection, [(self.tenant, asked.execution_id)])
        return [(one.kind, one.position, one.iteration, msgspec.json.decode(one.value)) for one in signals]

    async def find(self, approval: UUID) -> Approval:
        found = await find_approval(self.connection, self.tenant, approval)
        assert found is not None
        return found

    async def listed(self, status: ApprovalStatus | None) -> list[UUID]:
        rows = await list_approvals(self.connection, self.tenant, status, after=None, limit=9, offset=0)
        return [row.id for row in rows]


@pytest.fixture
async def desk(database: Database, beside: Connection) -> Desk:
    tenant = await make_tenant(beside)
    return Desk(database, beside, tenant, await make_workflow(beside, tenant))


async def test_a_decision_is_on_record_and_reaches_the_execution(desk: Desk) -> None:
    asked, other = await desk.ask(60), await desk.ask()
    before = await desk.find(asked.id)
    assert (before.status, before.title, before.message) == ("pending", "Refund?", "Order 7")
    assert (before.execution_id, before.workflow_id) == (asked.execution_id, desk.workflow)
    after = await desk.decide(asked.id, "reject", "too much")
    assert (after.status, after.decision, after.comment, after.actor) == ("rejected", "reject", "too much", "ada")
    ((kind, position, iteration, value),) = await desk.told(asked)
    assert (kind, position, iteration) == ("approval", 4, 2)
    assert (value["id"], value["decision"], value["comment"]) == (str(asked.id), "reject", "too much")
    assert await desk.told(other) == []


async def test_it_is_decided_once(desk: Desk) -> None:
    asked = await desk.ask()
    await desk.decide(asked.id, "approve")
    with pytest.raises(Conflict, match="approved"):
        await desk.decide(asked.id, "reject")
    assert (await desk.find(asked.id)).status == "approved"
    ((*_, value),) = await desk.told(asked)
    assert value["decision"] == "approve"


async def test_of_two_who_decide_at_once_one_does(desk: Desk) -> None:
    asked = await desk.ask()
    async with desk.database.transaction() as connection:
        await decide(connection, desk.tenant, asked.id, "approve", None, None)
        second = asyncio.create_task(desk.decide(asked.id, "reject"))
        await held_up(desk.connection)
    with pytest.raises(Conflict, match="approved"):
        await second


async def test_when_time_is_over_it_cannot_be_decided(desk: Desk) -> None:
    asked = await desk.ask(-1)
    with pytest.raises(Conflict, match="expired"):
        await desk.decide(asked.id)
    assert await desk.told(asked) == []


async def test_an_execution_that_has_ended_or_goes_on_takes_no_decision(desk: Desk) -> None:
    ended, gone_on = await desk.ask(), await desk.ask()
    await cancel_executions(desk.connection, desk.tenant, [ended.execution_id])
    async with desk.database.transaction() as connection:
        await send_signals(connection, [Signal(desk.tenant, gone_on.execution_id, 4, 2, "event", "{}")])
    for asked, status in ((ended, "withdrawn"), (gone_on, "pending")):
        with pytest.raises(Conflict, match="has ended or goes on"):
            await desk.decide(asked.id)
        assert (await desk.find(asked.id)).status == status


async def test_what_nobody_asked_is_not_found(desk: Desk) -> None:
    with pytest.raises(NotFound):
        await desk.decide(new_id())


async def test_what_is_asked_again_is_asked_once(desk: Desk) -> None:
    asked = await desk.ask()
    await ask_approvals(desk.connection, [msgspec.structs.replace(asked, title="Again?")])
    assert await desk.listed(None) == [asked.id]


async def test_lists_by_status_newest_first(desk: Desk) -> None:
    pending, older, approved, rejected, expired, withdrawn = [
        await desk.ask(n) for n in (60, None, None, None, -1, None)
    ]
    await desk.decide(approved.id, "approve")
    await desk.decide(rejected.id, "reject")
    await cancel_executions(desk.connection, desk.tenant, [withdrawn.execution_id])
    found = {status: await desk.listed(status) for status in STATUSES}
    assert found == {
        "pending": [older.id, pending.id], "approved": [approved.id], "rejected": [rejected.id],
        "expired": [expired.id], "withdrawn": [withdrawn.id],
    }  # fmt: skip
    assert await desk.listed(None) == [one.id for one in (withdrawn, expired, rejected, approved, older, pending)]
