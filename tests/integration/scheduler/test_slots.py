"""The net under the slots of concurrency keys: what a crash at the wrong moment leaves behind is mended, and nothing
else is touched.
"""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from libs.common.db.concurrency import enter
from libs.common.db.executions import change_executions
from libs.common.db.pool import Connection
from libs.common.db.slots import Place, leave
from services.scheduler import slots as module
from services.scheduler.slots import Slots
from tests.integration.conftest import World
from tests.integration.db.slot_users import TENANT, WORKER, accepted, becomes, change_of, entry, row, slots


@pytest.fixture
async def connection(world: World) -> AsyncIterator[Connection]:
    async with world.parts.database.connection() as made:
        yield made


async def in_line(connection: Connection, count: int) -> list[UUID]:
    """Executions of one key, the first of which runs and the others are parked."""
    ids = await accepted(connection, count)
    await enter(connection, [entry(one) for one in ids])
    await becomes(connection, "running", ids[0])
    await becomes(connection, "waiting", *ids[1:])
    return ids


async def test_the_slot_of_one_that_has_ended_or_is_gone_is_freed(world: World, connection: Connection) -> None:
    ended, gone, following = await in_line(connection, 3)
    assert await change_executions(connection, WORKER, [await change_of(connection, ended, "failed")])
    duty = Slots(world.parts.database)
    await duty.work()
    assert await slots(connection) == {gone: "held", following: "queued"}
    await connection.execute("DELETE FROM executions WHERE id = $1", gone)
    await duty.work()
    assert await slots(connection) == {following: "held"}
    assert (await row(connection, following))[2]


async def test_one_that_holds_and_was_not_woken_is_woken(world: World, connection: Connection) -> None:
    first, following = await in_line(connection, 2)
    async with connection.transaction():
        await leave(connection, [Place(TENANT, first)])
        await connection.execute("UPDATE executions SET wake_at = 'infinity' WHERE id = $1", following)
    await Slots(world.parts.database).work()
    assert (await row(connection, following))[2]


async def test_one_that_was_to_be_cancelled_is_cancelled(world: World, connection: Connection) -> None:
    first, following = await in_line(connection, 2)
    (newest,) = await accepted(connection, 1)
    await connection.execute("UPDATE concurrency_slots SET replaced_by = $1", newest)
    await Slots(world.parts.database).work()
    assert (await row(connection, first))[::3] == ("running", "cancel")
    assert (await row(connection, following))[0] == "cancelled"


async def test_what_is_in_order_stays_as_it_is(world: World, connection: Connection) -> None:
    runs, parked = await in_line(connection, 2)
    (waits,) = await accepted(connection, 1)
    await enter(connection, [entry(waits, key="other")])
    await becomes(connection, "waiting", waits)
    before = [await row(connection, one) for one in (runs, parked, waits)]
    await Slots(world.parts.database).work()
    assert [await row(connection, one) for one in (runs, parked, waits)] == before
    assert await slots(connection) == {runs: "held", parked: "queued", waits: "held"}


async def test_it_goes_round_all_slots(world: World, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 2)
    ids = await accepted(connection, 5)
    await enter(connection, [entry(one, key=str(one)) for one in ids])
    await connection.execute("DELETE FROM executions WHERE id = ANY($1)", [ids[0], ids[4]])
    duty = Slots(world.parts.database)
    for left in (4, 4, 3):
        await duty.work()
        assert len(await slots(connection)) == left
    await connection.execute("DELETE FROM executions WHERE id = $1", ids[1])
    await duty.work()
    assert len(await slots(connection)) == 2
