"""Raising events: what they start and tell is one transaction with their log, and a sender's id counts once."""

from typing import Any
from uuid import UUID

import msgspec
import pytest

from libs.common.clock import new_id
from libs.common.db.event_views import StoredEventDetail, find_event
from libs.common.db.event_waits import EventWait, add_event_waits
from libs.common.db.events import EventIdTaken, RaisedEvent, raise_events
from libs.common.db.pool import Connection, Database
from libs.common.db.tenants import set_tenant_status
from libs.common.db.workflows import delete_workflow, set_workflow_enabled
from libs.common.domain.events import MAX_DEPTH, MAX_STARTS, NewEvent
from tests.factories import make_execution, make_tenant, make_trigger, make_workflow

ABOVE_TEN = [{"field": "amount", "operator": "greater_than", "value": 10}]
_STARTED = """
SELECT id, workflow_id, trigger_id, trigger_type, version, status, input, actor, traceparent FROM executions
 WHERE status = 'pending' ORDER BY id
"""


class Listeners:
    """Workflows of one tenant that events start."""

    def __init__(self, database: Database, connection: Connection, tenant: UUID) -> None:
        self.database, self.connection, self.tenant = database, connection, tenant

    async def listen(self, pattern: str, conditions: Any = None, tenant: UUID | None = None, **more: Any) -> UUID:
        """A new workflow with an event trigger; returns its id."""
        owner = tenant or self.tenant
        workflow = await make_workflow(self.connection, owner, f"On {pattern} {new_id()}")
        config = msgspec.json.encode({"event": pattern}).decode()
        text = None if conditions is None else msgspec.json.encode(conditions).decode()
        await make_trigger(
            self.connection, owner, workflow, key="on", kind="event", config=config, conditions=text, **more
        )
        return workflow

    def event(self, name: str = "deal.won", data: Any = None, **more: Any) -> NewEvent:
        text = msgspec.json.encode(data or {}).decode()
        return msgspec.structs.replace(NewEvent(self.tenant, new_id(), name, text, "api"), **more)

    async def raise_all(self, *events: NewEvent) -> list[RaisedEvent]:
        async with self.database.transaction() as connection:
            return await raise_events(connection, events)

    async def started(self) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.connection.fetch(_STARTED)]

    async def logged(self, event_id: UUID) -> StoredEventDetail:
        found = await find_event(self.connection, self.tenant, event_id)
        assert found is not None
        return found

    async def outcomes(self, event_id: UUID) -> dict[UUID | None, str]:
        return {one.workflow_id: one.outcome for one in (await self.logged(event_id)).outcomes}


@pytest.fixture
async def listeners(database: Database, beside: Connection) -> Listeners:
    return Listeners(database, beside, await make_tenant(beside))


async def test_an_event_starts_every_workflow_that_it_fits(listeners: Listeners) -> None:
    fitting = [await listeners.listen(pattern) for pattern in ("deal.won", "deal.*", "*")]
    for pattern in ("deal.lost", "deal_*", "deal"):
        await listeners.listen(pattern)
    other = await make_tenant(listeners.connection, "other")
    await listeners.listen("deal.won", tenant=other)
    event = listeners.event(data={"amount": 3}, actor="ada", traceparent="00-t-s-01")
    (raised,) = await listeners.raise_all(event)
    started = await listeners.started()
    assert {row["workflow_id"] for row in started} == set(fitting)
    assert {row["id"] for row in started} == set(raised.execution_ids)
    for row in started:
        assert (row["trigger_type"], row["version"], row["actor"], row["traceparent"]) == (
            "event",
            1,
            "ada",
            "00-t-s-01",
        )
        data = msgspec.json.decode(row["input"])
        assert (data["id"], data["type"], data["data"]) == (str(event.id), "deal.won", {"amount": 3})
    logged = await listeners.logged(event.id)
    assert (logged.event.started, logged.event.told, logged.event.source, logged.data) == (3, 0, "api", '{"amount":3}')
    assert {one.execution_id for one in logged.outcomes} == set(raised.execution_ids)


async def test_what_cannot_run_is_not_started(listeners: Listeners) -> None:
    deleted, disabled = await listeners.listen("*"), await listeners.listen("*")
    await listeners.listen("*", enabled=False)
    await delete_workflow(listeners.connection, listeners.tenant, deleted)
    await set_workflow_enabled(listeners.connection, listeners.tenant, disabled, enabled=False)
    runs = await listeners.listen("*")
    (first,) = await listeners.raise_all(event := listeners.event())
    assert (len(first.execution_ids), await listeners.outcomes(event.id)) == (1, {runs: "started"})
    await set_tenant_status(listeners.connection, listeners.tenant, "suspended")
    (second,) = await listeners.raise_all(listeners.event())
    assert second.execution_ids == ()


async def test_conditions_decide_and_the_log_says_which(listeners: Listeners) -> None:
    above, any_amount = await listeners.listen("deal.*", ABOVE_TEN), await listeners.listen("deal.*")
    small, large = listeners.event(data={"amount": 3}), listeners.event(data={"amount": 30})
    first, second = await listeners.raise_all(small, large)
    assert (len(first.execution_ids), len(second.execution_ids)) == (1, 2)
    assert await listeners.outcomes(small.id) == {above: "no_match", any_amount: "started"}
    (refused,) = [one for one in (await listeners.logged(small.id)).outcomes if one.outcome == "no_match"]
    assert refused.reason == 'conditions[0]: {"field":"amount","operator":"greater_than","value":10}'


async def test_a_chain_comes_to_its_end(listeners: Listeners) -> None:
    workflow = await listeners.listen("*")
    deep = listeners.event(chain=tuple(new_id() for _ in range(MAX_DEPTH)), source="action")
    loop = listeners.event(chain=(workflow,) * 3, source="action", execution_id=new_id())
    assert [raised.execution_ids for raised in await listeners.raise_all(deep, loop)] == [(), ()]
    assert [await listeners.outcomes(one.id) for one in (deep, loop)] == [{workflow: "too_deep"}, {workflow: "loop"}]
    logged = (await listeners.logged(loop.id)).event
    assert (logged.depth, logged.source, logged.execution_id) == (3, "action", loop.execution_id)


async def test_who_waits_is_told_and_on_record(listeners: Listeners) -> None:
    workflow = await listeners.listen("deal.won")
    waiting = await make_execution(listeners.connection, listeners.tenant, workflow, "waiting")
    await add_event_waits(listeners.connection, [EventWait(listeners.tenant, waiting, 0, 0, "deal.*", None, "{}")])
    (raised,) = await listeners.raise_all(event := listeners.event())
    logged = await listeners.logged(event.id)
    assert (logged.event.started, logged.event.told) == (1, 1)
    assert [(one.outcome, one.execution_id) for one in logged.outcomes] == [
        ("started", raised.execution_ids[0]), ("told", waiting)
    ]  # fmt: skip


async def test_what_is_rolled_back_never_was(listeners: Listeners) -> None:
    await listeners.listen("*")
    event = listeners.event(dedupe_id="one")
    with pytest.raises(ZeroDivisionError):
        async with listeners.database.transaction() as connection:
            await raise_events(connection, [event])
            _ = 1 / 0
    assert await listeners.started() == []
    assert await find_event(listeners.connection, listeners.tenant, event.id) is None
    (raised,) = await listeners.raise_all(event)
    assert not raised.duplicate


async def test_the_same_id_is_the_same_event(listeners: Listeners) -> None:
    await listeners.listen("*")
    first, again, third = [listeners.event(data={"n": 1}, dedupe_id="evt_1") for _ in range(3)]
    plain = listeners.event()
    (raised,) = await listeners.raise_all(first)
    answers = await listeners.raise_all(again, plain, third)
    assert answers[0] == answers[2] == RaisedEvent(first.id, raised.execution_ids, duplicate=True)
    assert (answers[1].id, answers[1].duplicate) == (plain.id, False)
    assert len(await listeners.started()) == 2


async def test_an_id_twice_in_one_batch_is_one_event(listeners: Listeners) -> None:
    await listeners.listen("*")
    first, again = listeners.event(dedupe_id="evt_1"), listeners.event(dedupe_id="evt_1")
    raised, repeated = await listeners.raise_all(first, again)
    assert repeated == RaisedEvent(first.id, raised.execution_ids, duplicate=True)
    assert len(await listeners.started()) == 1


async def test_an_id_of_another_event_is_refused(listeners: Listeners) -> None:
    await listeners.raise_all(listeners.event(data={"n": 1}, dedupe_id="evt_1"))
    other_data, other_type = listeners.event(dedupe_id="evt_1"), listeners.event("x", {"n": 1}, dedupe_id="evt_1")
    fine = listeners.event(dedupe_id="evt_2")
    with pytest.raises(EventIdTaken) as refused:
        await listeners.raise_all(other_data, fine, other_type)
    assert refused.value.event_ids == {other_data.id, other_type.id}
    stranger = await make_tenant(listeners.connection, "other")
    (raised,) = await listeners.raise_all(listeners.event(tenant_id=stranger, dedupe_id="evt_1"))
    assert not raised.duplicate


async def test_large_events_that_start_many_are_stored_in_parts(listeners: Listeners) -> None:
    workflow = await make_workflow(listeners.connection, listeners.tenant)
    for number in range(MAX_STARTS + 1):
        await make_trigger(
            listeners.connection, listeners.tenant, workflow, key=f"on{number}", kind="event", config='{"event": "*"}'
        )
    event = listeners.event(data={"text": "x" * 100_000})
    (raised,) = await listeners.raise_all(event)
    assert len(raised.execution_ids) == len(await listeners.started()) == MAX_STARTS
    last = (await listeners.logged(event.id)).outcomes[-1]
    assert (last.outcome, last.execution_id) == ("too_many", None)
