"""Cancelling what moves at that very moment: it ends, or who runs it is told; nothing in between."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import pytest

from libs.common.clock import new_id
from libs.common.db.concurrency import Entry, enter
from libs.common.db.controlling import cancel_executions
from libs.common.db.executions import change_executions, wake_due_executions
from libs.common.db.pool import Connection, Database
from tests.factories import execution_change, make_execution, make_tenant, make_workflow

ROUNDS = 60
LEFT = {("cancelled", None, None), ("waiting", "cancel", True), ("pending", "cancel", None)}
"""What is pending has been announced by who woke it."""

_LEFT = """
SELECT status, control, CASE status WHEN 'waiting' THEN wake_at <= now() END AS due FROM executions WHERE id = $1
"""


@dataclass
class Hands:
    """Three who do something to the executions of one workflow at the same time."""

    canceller: Connection
    worker: Connection
    waker: Connection
    tenant: UUID
    workflow: UUID

    async def cancel(self, execution_id: UUID, after: int) -> None:
        for _ in range(after):
            await asyncio.sleep(0)
        assert await cancel_executions(self.canceller, self.tenant, [execution_id]) == {execution_id}

    async def run(self, execution_id: UUID) -> None:
        """Wakes it, takes it, asks for its slot, parks it."""
        me = new_id()
        await wake_due_executions(self.worker, 10, 0)
        await change_executions(self.worker, me, [execution_change(self.tenant, execution_id, 1, claims=True)])
        await enter(self.worker, [Entry(self.tenant, self.workflow, execution_id, "", 1, "queue")])
        await change_executions(self.worker, me, [execution_change(self.tenant, execution_id, 1, "waiting")])


@pytest.fixture
async def hands(database: Database) -> AsyncIterator[Hands]:
    async with database.connection() as one, database.connection() as two, database.connection() as three:
        tenant = await make_tenant(one)
        yield Hands(one, two, three, tenant, await make_workflow(one, tenant))


async def test_an_execution_is_cancelled_while_it_is_woken_taken_admitted_and_parked(hands: Hands) -> None:
    """The moment of the cancellation moves through the others'."""
    for moment in range(ROUNDS):
        one = await make_execution(hands.worker, hands.tenant, hands.workflow)
        await hands.worker.execute("UPDATE executions SET status = 'waiting', wake_at = now() WHERE id = $1", one)
        await asyncio.gather(hands.cancel(one, moment), hands.run(one), wake_due_executions(hands.waker, 10, 0))
        row = await hands.waker.fetchrow(_LEFT, one)
        assert row is not None
        assert tuple(row) in LEFT, moment
