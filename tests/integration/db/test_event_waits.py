"""Waiting for an event: it is found by name, pattern and match, told once, and leaves nothing behind."""

import asyncio
from typing import Any
from uuid import UUID

import msgspec
import pytest

from libs.common.clock import id_time, new_id
from libs.common.db.controlling import cancel_executions
from libs.common.db.event_waits import EventWait, add_event_waits, drop_event_waits, forget_idle_waits, tell_waits
from libs.common.db.pool import Connection, Database
from libs.common.db.signals import signals_of
from libs.common.domain.events import Happening, NewEvent
from tests.factories import make_execution, make_tenant, make_workflow
from tests.integration.locks import held_up


class Waits:
    """Executions of one tenant that wait for events."""

    def __init__(self, database: Database, connection: Connection, tenant: UUID, workflow: UUID) -> None:
        self.database, self.connection, self.tenant, self.workflow = database, connection, tenant, workflow

    async def wait(self, event: str, match: Any = None, scope: Any = None, position: int = 0) -> UUID:
        """A new execution that waits; returns its id."""
        execution = await make_execution(self.connection, self.tenant, self.workflow, "waiting")
        text = None if match is None else msgspec.json.encode(match).decode()
        kept = msgspec.json.encode(scope or {}).decode()
        wait = EventWait(self.tenant, execution, position, 0, event, text, kept)
        await add_event_waits(self.connection, [wait, msgspec.structs.replace(wait, position=9, event="never")])
        return execution

    def happening(self, name: str, data: Any = None, tenant: UUID | None = None) -> Happening:
        text = msgspec.json.encode(data or {}).decode()
        event = NewEvent(tenant or self.tenant, new_id(), name, text, "api")
        return Happening(event, id_time(event.id))

    async def tell(self, *happenings: Happening) -> set[UUID]:
        """The executions that were told."""
        async with self.database.transaction() as connection:
            told = await tell_waits(connection, happenings)
        return {execution for executions in told.values() for execution in executions}

    async def left(self) -> int:
        return await self.connection.fetchval("SELECT count(*) FROM event_waits WHERE event <> 'never'")

    async def heard(self, execution: UUID) -> list[Any]:
        """The data of the events that it was told of."""
        signals = await signals_of(self.connection, [(self.tenant, execution)])
        return [msgspec.json.decode(signal.value)["data"] for signal in signals]


@pytest.fixture
async def waits(database: Database, beside: Connection) -> Waits:
    tenant = await make_tenant(beside)
    return Waits(database, beside, tenant, await make_workflow(beside, tenant))


async def test_an_event_is_told_to_those_who_wait_for_it_and_once(waits: Waits) -> None:
    exact, begins, every = [await waits.wait(event) for event in ("deal.won", "deal.*", "*")]
    other = await waits.wait("deal.lost")
    happening = waits.happening("deal.won", {"n": 1})
    assert await waits.tell(happening) == {exact, begins, every}
    assert await waits.heard(exact) == await waits.heard(every) == [{"n": 1}]
    (signal,) = await signals_of(waits.connection, [(waits.tenant, exact)])
    assert (signal.kind, signal.position, signal.value) == ("event", 0, happening.signal)
    assert await waits.tell(waits.happening("deal.won", {"n": 2})) == set()
    assert (await waits.heard(exact), await waits.heard(other), await waits.left()) == ([{"n": 1}], [], 1)


async def test_each_gets_the_event_that_its_match_means(waits: Waits) -> None:
    match = "{{ event.data.order == input.order }}"
    first, second, third = [await waits.wait("paid", match, {"input": {"order": n}}) for n in (1, 2, 3)]
    orders = [waits.happening("paid", {"order": order}) for order in (2, 1, 2)]
    assert await waits.tell(*orders) == {first, second}
    assert [await waits.heard(one) for one in (first, second, third)] == [[{"order": 1}], [{"order": 2}], []]
    assert await waits.left() == 1


async def test_another_tenant_s_event_is_nobody_s(waits: Waits) -> None:
    await waits.wait("paid")
    assert await waits.tell(waits.happening("paid", tenant=new_id())) == set()
    assert await waits.left() == 1


async def test_a_wait_that_is_put_down_again_is_the_same_wait(waits: Waits) -> None:
    execution = await waits.wait("paid")
    await add_event_waits(waits.connection, [EventWait(waits.tenant, execution, 0, 0, "refunded", None, "{}")])
    assert await waits.tell(waits.happening("paid")) == set()
    assert await waits.tell(waits.happening("refunded")) == {execution}


async def test_waits_go_with_their_execution(waits: Waits) -> None:
    dropped, ended, kept = [await waits.wait("paid") for _ in range(3)]
    await drop_event_waits(waits.connection, [(waits.tenant, dropped)])
    assert await waits.left() == 2
    await cancel_executions(waits.connection, waits.tenant, [ended])
    await forget_idle_waits(waits.connection)
    assert await waits.connection.fetch("SELECT execution_id FROM event_waits WHERE event = 'paid'") == [(kept,)]


async def test_of_two_events_at_once_one_is_told(waits: Waits) -> None:
    execution = await waits.wait("paid")
    async with waits.database.transaction() as connection:
        assert await tell_waits(connection, [first := waits.happening("paid", {"n": 1})]) == {
            first.event.id: [execution]
        }
        second = asyncio.create_task(waits.tell(waits.happening("paid", {"n": 2})))
        await held_up(waits.connection)
    await second
    assert await waits.heard(execution) == [{"n": 1}]


async def test_a_crowd_that_waits_is_told_in_one_go(waits: Waits) -> None:
    """More than are read at a time."""
    executions = {await waits.wait("*", "{{ event.data.n > 0 }}") for _ in range(600)}
    assert await waits.tell(waits.happening("paid", {"n": 0}), waits.happening("paid", {"n": 1})) == executions
    assert await waits.left() == 0
