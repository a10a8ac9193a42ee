"""Signals: the first one for a place stands, what waits is woken, and sender and executor never miss each other,
whoever of them comes first.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from libs.common.clock import new_id
from libs.common.db.controlling import cancel_executions, pause_execution, resume_execution
from libs.common.db.executions import change_executions
from libs.common.db.pool import Connection, Database
from libs.common.db.signals import Place, Signal, clear_signals, close_places, send_signals, signals_of, wake_signalled
from tests.factories import execution_change, make_execution, make_tenant, make_workflow
from tests.integration.locks import held_up

NEVER = datetime.max.replace(tzinfo=UTC)
WORKER = new_id()
_LOCK = "SELECT FROM executions WHERE id = $1 FOR UPDATE NOWAIT"
_STATE = "SELECT status, wake_at <= now() AS due FROM executions WHERE id = $1"


class Runs:
    """Executions of one tenant, at the statements' level."""

    def __init__(self, connection: Connection, tenant: UUID, workflow: UUID) -> None:
        self.connection, self.tenant, self.workflow = connection, tenant, workflow

    async def running(self) -> UUID:
        return await make_execution(self.connection, self.tenant, self.workflow, "running", worker=WORKER)

    async def parked(self) -> UUID:
        execution = await self.running()
        await self.park(execution, self.connection)
        return execution

    async def park(self, execution: UUID, connection: Connection) -> None:
        """As an executor does when nothing but somebody else can move it on."""
        change = msgspec.structs.replace(execution_change(self.tenant, execution, 1, "waiting"), wake_at=NEVER)
        assert await change_executions(connection, WORKER, [change]) == {execution}

    def signal(self, execution: UUID, position: int = 0, iteration: int = 0, value: str = "{}") -> Signal:
        return Signal(self.tenant, execution, position, iteration, "event", value)

    def place(self, execution: UUID, position: int = 0) -> Place:
        return Place(self.tenant, execution, position, 0)

    async def state(self, execution: UUID) -> tuple[Any, ...]:
        """Its status, and whether it is due."""
        row = await self.connection.fetchrow(_STATE, execution)
        assert row is not None
        return tuple(row.values())


@pytest.fixture
async def runs(beside: Connection) -> Runs:
    tenant = await make_tenant(beside)
    return Runs(beside, tenant, await make_workflow(beside, tenant))


async def send(database: Database, signals: Sequence[Signal]) -> int:
    async with database.transaction() as connection:
        return await send_signals(connection, signals)


async def test_what_waits_is_told_and_due(runs: Runs, database: Database) -> None:
    told, other = await runs.parked(), await runs.parked()
    sent = [runs.signal(told, value='{"n": 1}'), runs.signal(told, 2, 7)]
    assert await send(database, sent) == 2
    assert await runs.state(told) == ("waiting", True)
    assert await runs.state(other) == ("waiting", False)
    assert await signals_of(runs.connection, [(runs.tenant, told), (runs.tenant, other)]) == sent


async def test_the_first_signal_of_a_place_stands(runs: Runs, database: Database) -> None:
    execution = await runs.parked()
    first, second = runs.signal(execution, value='"first"'), runs.signal(execution, value='"second"')
    assert await send(database, [first, second]) == 1
    assert await send(database, [second, runs.signal(execution, 1)]) == 1
    kept = await signals_of(runs.connection, [(runs.tenant, execution)])
    assert kept == [first, runs.signal(execution, 1)]


async def test_what_has_ended_or_is_another_tenant_s_gets_no_signal(runs: Runs, database: Database) -> None:
    ended, theirs = await runs.parked(), await runs.parked()
    await cancel_executions(runs.connection, runs.tenant, [ended])
    foreign = msgspec.structs.replace(runs.signal(theirs), tenant_id=new_id())
    unknown = runs.signal(new_id())
    assert await send(database, [runs.signal(ended), foreign, unknown]) == 0
    assert await runs.state(theirs) == ("waiting", False)
    assert await runs.connection.fetchval("SELECT count(*) FROM signals") == 0


async def test_a_paused_execution_stays_paused_and_keeps_its_signal(runs: Runs, database: Database) -> None:
    execution = await runs.parked()
    await pause_execution(runs.connection, runs.tenant, execution)
    assert await send(database, [runs.signal(execution)]) == 1
    assert await wake_signalled(runs.connection, [runs.place(execution)]) == 0
    assert await runs.state(execution) == ("waiting", False)
    assert await resume_execution(runs.connection, runs.tenant, execution)
    assert await runs.state(execution) == ("waiting", True)
    assert len(await signals_of(runs.connection, [(runs.tenant, execution)])) == 1


async def test_what_is_signalled_while_it_runs_is_due_when_it_is_parked(runs: Runs, database: Database) -> None:
    execution, other = await runs.running(), await runs.running()
    await send(database, [runs.signal(execution, 3)])
    assert await runs.state(execution) == ("running", None)
    for parked in (execution, other):
        await runs.park(parked, runs.connection)
    elsewhere = [runs.place(execution, 2), runs.place(other, 3)]
    assert await wake_signalled(runs.connection, elsewhere) == 0
    assert await wake_signalled(runs.connection, [*elsewhere, runs.place(execution, 3)]) == 1
    assert (await runs.state(execution), await runs.state(other)) == (("waiting", True), ("waiting", False))


async def test_a_sender_that_comes_during_the_park_waits_and_wakes(runs: Runs, database: Database) -> None:
    execution = await runs.running()
    async with database.transaction() as executor:
        await runs.park(execution, executor)
        assert await wake_signalled(executor, [runs.place(execution)]) == 0
        sending = asyncio.create_task(send(database, [runs.signal(execution)]))
        await held_up(runs.connection)
    assert await sending == 1
    assert await runs.state(execution) == ("waiting", True)


async def test_a_park_that_comes_during_the_sending_waits_and_finds_the_signal(runs: Runs, database: Database) -> None:
    execution = await runs.running()
    async with database.transaction() as executor:
        async with database.transaction() as sender:
            await send_signals(sender, [runs.signal(execution)])
            parking = asyncio.create_task(runs.park(execution, executor))
            await held_up(runs.connection)
        await parking
        assert await wake_signalled(executor, [runs.place(execution)]) == 1
    assert await runs.state(execution) == ("waiting", True)


async def test_executions_are_locked_in_the_order_of_their_keys(runs: Runs, database: Database) -> None:
    """Whatever the order of the signals, so that two senders never wait for each other in a ring."""
    first, last = await runs.parked(), await runs.parked()
    async with database.transaction() as other:
        await other.fetch(_LOCK, last)
        sending = asyncio.create_task(send(database, [runs.signal(last), runs.signal(first)]))
        await held_up(runs.connection)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await runs.connection.fetch(_LOCK, first)
    assert await sending == 2


async def test_at_a_closed_place_nothing_is_told_and_what_was_told_before_stands(
    runs: Runs, database: Database
) -> None:
    early, late, ended = await runs.parked(), await runs.parked(), await runs.parked()
    await send(database, [runs.signal(early)])
    await cancel_executions(runs.connection, runs.tenant, [ended])
    async with database.transaction() as connection:
        await close_places(connection, [runs.place(one) for one in (early, late, ended)])
    assert await send(database, [runs.signal(early), runs.signal(late)]) == 0
    both = [(runs.tenant, early), (runs.tenant, late)]
    assert await signals_of(runs.connection, both) == [runs.signal(early)]
    assert await wake_signalled(runs.connection, [runs.place(late)]) == 0
    assert await runs.connection.fetchval("SELECT count(*) FROM signals WHERE execution_id = $1", ended) == 0
    await clear_signals(runs.connection, [runs.place(late)])
    assert await send(database, [runs.signal(late)]) == 1, "another attempt waits anew"


async def test_who_closes_a_place_waits_for_who_tells_it_something(runs: Runs, database: Database) -> None:
    execution = await runs.running()
    async with database.transaction() as executor:
        async with database.transaction() as sender:
            await send_signals(sender, [runs.signal(execution)])
            closing = asyncio.create_task(close_places(executor, [runs.place(execution)]))
            await held_up(runs.connection)
        await closing
        assert await signals_of(executor, [(runs.tenant, execution)]) == [runs.signal(execution)]


async def test_many_senders_at_once_all_come_through(runs: Runs, database: Database) -> None:
    executions = [await runs.parked() for _ in range(6)]

    def signals(position: int) -> list[Signal]:
        return [runs.signal(one, position) for one in (executions if position % 2 else executions[::-1])]

    assert await asyncio.gather(*[send(database, signals(position)) for position in range(24)]) == [6] * 24


async def test_sending_outside_of_a_transaction_is_refused(runs: Runs) -> None:
    execution = await runs.parked()
    with pytest.raises(RuntimeError, match="transaction"):
        await send_signals(runs.connection, [runs.signal(execution)])
