"""The door: what is accepted is committed whole, under its own tenant, and then announced; a key starts one execution,
however often it is used.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import asyncpg
import pytest

from libs.common.accept import Acceptor, NewExecution
from libs.common.bus.memory import MemoryBus
from libs.common.bus.messages import Ready, decode, decode_snapshot
from libs.common.bus.protocol import Delivery
from libs.common.db.accepting import CallRow
from libs.common.db.group_commit import RefusedWrite
from libs.common.db.pool import Connection, Database
from libs.common.errors import IdempotencyMismatch, Unavailable
from tests.factories import call_row, make_tenant, make_workflow, new_execution
from tests.integration.locks import held_up

HASH = b"\x01" * 32


class Door:
    """An acceptor, two tenants with a workflow each, and what came over the bus."""

    def __init__(self, database: Database, bus: MemoryBus, owners: Sequence[tuple[UUID, UUID]]) -> None:
        self.database, self.bus, self.owners = database, bus, owners
        self.acceptor = Acceptor(database, bus)
        self.announced: list[Ready] = []

    def new(self, owner: int = 0, input: bytes = b"{}") -> NewExecution:
        tenant_id, workflow_id = self.owners[owner]
        return new_execution(tenant_id, workflow_id, input=input)

    def call_for(self, new: NewExecution, status: int = 202) -> CallRow:
        return call_row(new.tenant_id, new.workflow_id, new.id, status=status)

    async def hear(self, delivery: Delivery) -> None:
        self.announced += decode(delivery.body).items
        await delivery.ack()

    async def rows(self, query: str) -> list[tuple[object, ...]]:
        async with self.database.connection() as connection:
            return [tuple(row.values()) for row in await connection.fetch(query)]

    async def executions(self) -> list[tuple[object, ...]]:
        return await self.rows("SELECT tenant_id, id, workflow_id, input::text FROM executions ORDER BY id")


@pytest.fixture
async def door(database: Database) -> AsyncIterator[Door]:
    bus = MemoryBus()
    await bus.connect()
    async with database.connection() as connection:
        tenants = [await make_tenant(connection, slug) for slug in ("acme", "other")]
        owners = [(tenant, await make_workflow(connection, tenant)) for tenant in tenants]
    made = Door(database, bus, owners)
    await bus.consume(made.hear, 8)
    yield made
    await made.acceptor.close()
    await bus.close()


async def test_what_two_tenants_send_at_once_stays_with_each(door: Door) -> None:
    new = [door.new(number % 2, f'{{"n": {number}}}'.encode()) for number in range(80)]
    await asyncio.gather(*[door.acceptor.accept(one, door.call_for(one)) for one in new])
    expected = sorted((one.tenant_id, one.id, one.workflow_id, one.input.decode()) for one in new)
    assert sorted(await door.executions(), key=repr) == sorted(expected, key=repr)
    calls = await door.rows("SELECT tenant_id, trigger_id, execution_id FROM webhook_logs")
    assert set(calls) == {(one.tenant_id, one.workflow_id, one.id) for one in new}
    await door.acceptor.close()
    heard = {(one.tenant_id, one.execution_id, decode_snapshot(one.snapshot).input) for one in door.announced}
    assert heard == {(one.tenant_id, one.id, one.input) for one in new}
    assert len(door.announced) == len(new)


@pytest.mark.parametrize("broken", ["execution", "call"])
async def test_an_execution_and_its_call_are_stored_together_or_not_at_all(door: Door, broken: str) -> None:
    new = [door.new() for _ in range(7)]
    calls = [door.call_for(one) for one in new]
    new[3], calls[3] = _broken(door, new[3]) if broken == "execution" else (new[3], door.call_for(new[3], 99_999))
    answers = await asyncio.gather(
        *[door.acceptor.accept(one, call) for one, call in zip(new, calls, strict=True)], return_exceptions=True
    )
    good = [one.id for number, one in enumerate(new) if number != 3]
    assert isinstance(answers.pop(3), RefusedWrite)
    assert answers == good
    assert [row[1] for row in await door.executions()] == good
    assert {row[0] for row in await door.rows("SELECT execution_id FROM webhook_logs")} == set(good)
    await door.acceptor.close()
    assert sorted(one.execution_id for one in door.announced) == good


def _broken(door: Door, new: NewExecution) -> tuple[NewExecution, CallRow]:
    return new_execution(new.tenant_id, new.workflow_id, id=new.id, input=b'{"cut off'), door.call_for(new)


async def test_a_call_that_starts_nothing_is_on_record_alone(door: Door) -> None:
    tenant_id, workflow_id = door.owners[0]
    await door.acceptor.log_call(call_row(tenant_id, workflow_id, outcome="bad_token", status=401))
    calls = await door.rows("SELECT tenant_id, execution_id, outcome, status FROM webhook_logs")
    assert calls == [(tenant_id, None, "bad_token", 401)]
    assert await door.executions() == []


async def test_a_key_used_again_gives_the_same_execution(door: Door) -> None:
    first = door.new()
    assert await door.acceptor.accept_once(first, "k", HASH) == (first.id, False)
    assert await door.acceptor.accept_once(door.new(), "k", HASH) == (first.id, True)
    with pytest.raises(IdempotencyMismatch):
        await door.acceptor.accept_once(door.new(), "k", b"\x02" * 32)
    assert [row[1] for row in await door.executions()] == [first.id]
    await door.acceptor.close()
    assert [one.execution_id for one in door.announced] == [first.id]


async def test_of_many_at_once_with_one_key_one_is_started(door: Door) -> None:
    new = [door.new() for _ in range(20)]
    answers = await asyncio.gather(*[door.acceptor.accept_once(one, "k", HASH) for one in new])
    ((_, started, *_),) = await door.executions()
    assert {identifier for identifier, _ in answers} == {started}
    assert sorted(known for _, known in answers) == [False] + [True] * 19
    assert [one.id for one, (_, known) in zip(new, answers, strict=True) if not known] == [started]


async def test_a_key_is_its_tenant_s_own(door: Door) -> None:
    one, other = door.new(0), door.new(1)
    assert await door.acceptor.accept_once(one, "k", HASH) == (one.id, False)
    assert await door.acceptor.accept_once(other, "k", HASH) == (other.id, False)


async def test_a_key_whose_first_use_was_cut_off_starts_the_next(door: Door, beside: Connection) -> None:
    """The second waits for the first, and is told of nothing that was never committed."""
    first, second = door.new(), door.new()
    async with beside.transaction():
        await beside.execute("LOCK TABLE executions IN ACCESS EXCLUSIVE MODE")
        cut_off = asyncio.create_task(door.acceptor.accept_once(first, "k", HASH))
        (pid,) = await held_up(beside)
        next_one = asyncio.create_task(door.acceptor.accept_once(second, "k", HASH))
        await held_up(beside, sessions=2)
        await beside.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(Unavailable):
            await cut_off
        assert not next_one.done()
    assert await next_one == (second.id, False)
    assert [row[1] for row in await door.executions()] == [second.id]
    await door.acceptor.close()
    assert [one.execution_id for one in door.announced] == [second.id]


async def test_an_execution_that_is_refused_leaves_its_key_free(door: Door) -> None:
    with pytest.raises(asyncpg.DataError):
        await door.acceptor.accept_once(door.new(input=b'{"cut off'), "k", HASH)
    new = door.new()
    assert await door.acceptor.accept_once(new, "k", HASH) == (new.id, False)
    assert [row[1] for row in await door.executions()] == [new.id]


async def test_what_belongs_to_a_transaction_is_not_there_before_its_commit(door: Door) -> None:
    new = [door.new(0), door.new(1)]
    with pytest.raises(LookupError):
        async with door.database.transaction() as connection:
            await door.acceptor.accept_within(connection, new)
            raise LookupError
    assert await door.executions() == []
    async with door.database.transaction() as connection:
        await door.acceptor.accept_within(connection, new)
        assert await door.executions() == []
    assert [row[1] for row in await door.executions()] == [one.id for one in new]


async def test_closing_commits_and_announces_what_was_taken(door: Door) -> None:
    new = [door.new() for _ in range(30)]
    waiting = [asyncio.ensure_future(door.acceptor.accept(one)) for one in new]
    await asyncio.sleep(0)
    await door.acceptor.close()
    assert [task.result() for task in waiting] == [one.id for one in new]
    assert len(await door.executions()) == len(door.announced) == 30
    with pytest.raises(Unavailable):
        await door.acceptor.accept(door.new())


async def test_a_large_input_is_not_carried_by_the_message(door: Door) -> None:
    small, large = door.new(input=b'"' + b"x" * 1000 + b'"'), door.new(input=b'"' + b"x" * 100_000 + b'"')
    for one in (small, large):
        await door.acceptor.accept(one)
    await door.acceptor.close()
    assert {one.execution_id: len(one.snapshot) > 0 for one in door.announced} == {small.id: True, large.id: False}
    lengths = await door.rows("SELECT length(input::text) FROM executions ORDER BY id")
    assert lengths == [(1002,), (100_002,)]


async def test_an_id_of_a_day_without_a_partition_is_refused_alone(door: Door) -> None:
    good, far = door.new(), new_execution(*door.owners[0], id=UUID(int=2**127))
    answers = await asyncio.gather(*[door.acceptor.accept(one) for one in (good, far)], return_exceptions=True)
    assert answers[0] == good.id
    assert isinstance(answers[1], RefusedWrite)
    assert [row[1] for row in await door.executions()] == [good.id]
