"""What a process knows of the executions in flight, beside another one that starts some too."""

import asyncio
from uuid import UUID

import pytest

from libs.common.db.pool import Database
from libs.common.domain.limits import Limits
from libs.common.errors import RateLimited
from libs.common.limits import in_flight
from libs.common.limits.in_flight import InFlight
from libs.common.limits.near import NearLimits
from tests.factories import make_execution, make_tenant, make_workflow
from tests.integration.conftest import MovableClock

LIMITS = Limits(executions_in_flight=16)


async def busy(database: Database, number: int) -> UUID:
    """A tenant with so many pending executions."""
    async with database.connection() as connection:
        tenant = await make_tenant(connection, "busy")
        workflow = await make_workflow(connection, tenant)
        for _ in range(number):
            await make_execution(connection, tenant, workflow)
    return tenant


async def admitted(counts: InFlight, tenant: UUID, most: int) -> int:
    """How many more there is room for, of so many."""
    for number in range(most):
        try:
            await counts.admit(tenant, LIMITS)
        except RateLimited:
            return number
        await asyncio.sleep(0)
    return most


async def test_one_process_admits_what_there_is_room_for(database: Database) -> None:
    counts, tenant = InFlight(database, NearLimits(database, MovableClock())), await busy(database, 10)
    assert await admitted(counts, tenant, 20) == 6
    await counts.close()


async def test_what_another_process_starts_is_seen_before_an_eighth_of_the_room_is_gone_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "_OLD_SECONDS", 0.0)
    counts, tenant = InFlight(database, NearLimits(database, MovableClock())), await busy(database, 0)
    await counts.admit(tenant, LIMITS)
    async with database.connection() as connection:
        workflow = await make_workflow(connection, tenant, "Others")
        for _ in range(16):
            await make_execution(connection, tenant, workflow)
    assert await admitted(counts, tenant, 2) == 2  # room for 16 was seen: two are no eighth of it yet, three are
    more = 0
    while await admitted(counts, tenant, 1):
        more += 1
        await asyncio.sleep(0.2)  # the count comes in the background, which tells nobody
    assert more < 13, "the sixteen of the other process were seen, not only one's own"
    await counts.close()


async def test_more_to_count_is_counted_more_rarely(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "_QUICKLY_COUNTED", 0.001)
    counts, tenant = InFlight(database, NearLimits(database, MovableClock())), await busy(database, 16)
    assert await admitted(counts, tenant, 1) == 0
    async with database.connection() as connection:
        await connection.execute("UPDATE executions SET status = 'waiting' WHERE tenant_id = $1", tenant)
    await asyncio.sleep(0.06)  # by then a small count would be taken anew
    assert await admitted(counts, tenant, 1) == 0
    monkeypatch.setattr(in_flight, "_QUICKLY_COUNTED", 10_000)
    assert await admitted(counts, tenant, 1) == 1
    await counts.close()
