"""Slots of a concurrency key: each policy, the order of the queue, and who is woken when a slot is given back."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from libs.common.clock import new_id
from libs.common.db.accepting import insert_accepted
from libs.common.db.concurrency import Entered, enter
from libs.common.db.controlling import cancel_executions, pause_execution, resume_execution
from libs.common.db.pool import Connection, Database
from libs.common.db.slots import Place, leave, queued_for
from tests.factories import new_execution
from tests.integration.db.slot_users import (
    TENANT,
    WORKFLOW,
    accepted,
    asked,
    becomes,
    entry,
    follow,
    row,
    slots,
)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.connection() as made:
        yield made


async def begun(connection: Connection, ids: list[UUID], limit: int = 1) -> None:
    """All have entered, one after the other, and run or are parked."""
    for one in ids:
        await follow(connection, await enter(connection, [entry(one, limit=limit)]))


async def due(connection: Connection, ids: list[UUID]) -> list[UUID]:
    """Those of them that are to be woken."""
    return [one for one in ids if (await row(connection, one))[2]]


async def test_as_many_as_the_limit_says_hold_and_the_others_queue(connection: Connection) -> None:
    ids = await accepted(connection, 4)
    assert await asked(connection, *[entry(one, limit=2) for one in reversed(ids)]) == ["queued"] * 2 + ["held"] * 2


async def test_keys_workflows_and_tenants_have_slots_of_their_own(connection: Connection) -> None:
    ids, stranger, foreign = await accepted(connection, 3), new_id(), new_execution(new_id(), WORKFLOW)
    await insert_accepted(connection, [foreign.row()])
    others = [entry(ids[1], key="other"), entry(ids[2], workflow_id=new_id())]
    others.append(entry(foreign.id, tenant_id=foreign.tenant_id))
    assert await asked(connection, entry(ids[0]), *others) == ["held"] * 4
    assert await asked(connection, entry(ids[1], tenant_id=stranger)) == ["skipped"]


async def test_one_that_has_ended_gets_nothing(connection: Connection) -> None:
    (one,) = await accepted(connection, 1)
    await cancel_executions(connection, TENANT, [one])
    assert await enter(connection, [entry(one)]) == [Entered(TENANT, one, "skipped", None)]
    assert await slots(connection) == {}


async def test_who_asks_again_is_told_the_same(connection: Connection) -> None:
    ids = await accepted(connection, 2)
    for _ in range(3):
        assert await asked(connection, *[entry(one) for one in ids]) == ["held", "queued"]
        assert await asked(connection, entry(ids[1], key="other", limit=7, policy="skip")) == ["queued"]
    assert await asked(connection) == []


async def test_the_first_accepted_is_the_first_served_whenever_it_came(connection: Connection) -> None:
    ids = await accepted(connection, 5)
    await begun(connection, [ids[2], ids[4], ids[1], ids[3], ids[0]])
    order = [ids[2]]
    for _ in range(4):
        await becomes(connection, "completed", order[-1])
        (following,) = await due(connection, ids)
        assert (await slots(connection))[following] == "held"
        order.append(following)
        await connection.execute("UPDATE executions SET status = 'pending' WHERE id = $1", following)
        await follow(connection, await enter(connection, [entry(following)]))
    assert order == [ids[2], ids[0], ids[1], ids[3], ids[4]]


async def test_skipped_ones_leave_no_trace_and_name_the_holder(connection: Connection) -> None:
    holder, late, later = await accepted(connection, 3)
    await begun(connection, [holder])
    told = await enter(connection, [entry(late, policy="skip")])
    assert told == [Entered(TENANT, late, "skipped", holder)]
    assert await slots(connection) == {holder: "held"}
    await becomes(connection, "completed", holder)
    assert await asked(connection, entry(later, policy="skip"), entry(late, policy="skip")) == ["skipped", "held"]


async def test_cancel_running_asks_the_holder_to_stop_and_ends_who_queues(connection: Connection) -> None:
    holder, queued, newest = await accepted(connection, 3)
    await begun(connection, [holder, queued])
    assert await asked(connection, entry(newest, policy="cancel_running")) == ["queued"]
    assert (await row(connection, holder))[::3] == ("running", "cancel")
    assert (await row(connection, queued))[0] == "cancelled"
    error = await connection.fetchval("SELECT error FROM executions WHERE id = $1", queued)
    assert "concurrency_replaced" in error
    assert str(newest) in error
    await becomes(connection, "waiting", newest)
    await becomes(connection, "cancelled", holder)
    assert await slots(connection) == {newest: "held"}
    assert await due(connection, [newest]) == [newest]


async def test_cancel_running_takes_the_slot_at_once_from_one_that_waits(connection: Connection) -> None:
    holder, newest = await accepted(connection, 2)
    await begun(connection, [holder])
    await becomes(connection, "waiting", holder)
    assert await asked(connection, entry(newest, policy="cancel_running")) == ["held"]
    assert (await row(connection, holder))[0] == "cancelled"


async def test_cancel_running_leaves_as_many_of_the_newest_as_the_limit_says(connection: Connection) -> None:
    ids = await accepted(connection, 4)
    await begun(connection, ids[:3], limit=3)
    assert await asked(connection, entry(ids[3], limit=3, policy="cancel_running")) == ["queued"]
    assert [(await row(connection, one))[3] for one in ids[:3]] == ["cancel", None, None]


async def test_an_older_run_never_cancels_a_newer_one(connection: Connection) -> None:
    late, holder = await accepted(connection, 2)
    await begun(connection, [holder])
    told = await enter(connection, [entry(late, policy="cancel_running")])
    assert told == [Entered(TENANT, late, "skipped", holder)]
    assert (await row(connection, holder))[::3] == ("running", None)


async def test_the_limit_of_the_newest_counts(connection: Connection) -> None:
    ids = await accepted(connection, 6)
    await begun(connection, ids[:3])
    assert await asked(connection, entry(ids[3], limit=3)) == ["queued"]
    assert [state for _, state in sorted((await slots(connection)).items())] == ["held"] * 3 + ["queued"]
    assert await due(connection, ids[:3]) == ids[1:3]
    assert await asked(connection, entry(ids[4], limit=1)) == ["queued"]
    async with connection.transaction():
        assert await leave(connection, [Place(TENANT, ids[0]), Place(TENANT, ids[1])]) == 0
        assert await connection.fetchval("SELECT count(*) FROM concurrency_slots WHERE state = 'held'") == 1


async def test_one_that_is_cancelled_gives_its_slot_back(connection: Connection) -> None:
    ids = await accepted(connection, 3)
    await begun(connection, ids)
    await becomes(connection, "waiting", ids[0])
    assert await cancel_executions(connection, TENANT, [ids[0], ids[1]]) == {ids[0], ids[1]}
    assert await slots(connection) == {ids[2]: "held"}
    assert await due(connection, [ids[2]]) == [ids[2]]


async def test_a_paused_one_keeps_its_place_and_goes_on_when_it_is_resumed(connection: Connection) -> None:
    ids = await accepted(connection, 2)
    await begun(connection, ids)
    await pause_execution(connection, TENANT, ids[1])
    await becomes(connection, "completed", ids[0])
    assert await slots(connection) == {ids[1]: "held"}
    assert await due(connection, [ids[1]]) == []
    await resume_execution(connection, TENANT, ids[1])
    assert await due(connection, [ids[1]]) == [ids[1]]


async def test_one_whose_turn_comes_before_it_is_parked_is_woken(connection: Connection) -> None:
    ids = await accepted(connection, 2)
    await begun(connection, ids[:1])
    assert await asked(connection, entry(ids[1])) == ["queued"]
    await becomes(connection, "completed", ids[0])
    await becomes(connection, "waiting", ids[1])
    assert await due(connection, [ids[1]]) == [ids[1]]


async def test_a_queued_one_knows_its_place_and_who_holds(connection: Connection) -> None:
    ids = await accepted(connection, 16)
    await begun(connection, ids, limit=12)
    last = await queued_for(connection, TENANT, ids[-1])
    assert last is not None
    assert (last.key, last.limit, last.place, last.held_by) == ("k", 12, 4, ids[:10])
    assert await queued_for(connection, TENANT, ids[0]) is None


async def test_what_has_no_slot_has_nothing_to_give_back(connection: Connection) -> None:
    (one,) = await accepted(connection, 1)
    async with connection.transaction():
        assert await leave(connection, [Place(TENANT, one)]) == 0
