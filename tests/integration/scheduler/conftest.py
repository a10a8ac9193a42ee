"""What the scheduler's tests share: a database whose clock a test sets, schedules and executions in any state, and what
comes over the bus.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from libs.common.accept import Acceptor
from libs.common.announce import Announcer
from libs.common.bus.memory import MemoryBus
from libs.common.bus.messages import Ready, decode
from libs.common.bus.protocol import Bus, Delivery
from libs.common.clock import new_id
from libs.common.db.partitions import make_partitions
from libs.common.db.pool import Database
from libs.common.telemetry.registry import REGISTRY
from services.scheduler.arrears import Arrears
from services.scheduler.firing import Firing
from services.scheduler.turns import Turns
from services.scheduler.waking import Waking
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow
from tests.waiting import patience

_CLOCK = """
CREATE SCHEMA clock;
CREATE TABLE clock.ahead (by interval NOT NULL);
INSERT INTO clock.ahead VALUES ('0 s');
CREATE FUNCTION clock.now() RETURNS timestamptz STABLE LANGUAGE sql
    AS 'SELECT pg_catalog.now() + by FROM clock.ahead';
GRANT USAGE ON SCHEMA clock TO PUBLIC;
GRANT SELECT ON clock.ahead TO PUBLIC;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = clock, pg_catalog, public', current_database()); END $$
"""
_PARK = """
INSERT INTO executions (tenant_id, id, workflow_id, version, trigger_type, status, input, wake_at, epoch)
SELECT w.tenant_id, x.id, w.id, 1, 'manual', $3, '{}', now() + $4::interval, $5
  FROM workflows w, unnest($2::uuid[]) AS x (id) WHERE w.id = $1
"""

Slot = tuple[datetime, str | None, bool]
"""Of a row in the ledger: when it was due, its outcome, and whether it has an execution."""


class Timed:
    """A world in which the test says what time it is, for the gateway and for every statement of the scheduler."""

    def __init__(self, world: World, database: Database) -> None:
        self.world, self.database = world, database
        self.acceptor = Acceptor(database, world.bus)

    async def set(self, now: datetime) -> None:
        """It is `now`, and time goes on from there. There are partitions for that day."""
        ahead = now - datetime.now(UTC)
        self.world.clock.offset = ahead
        await self.world.fetch("UPDATE clock.ahead SET by = $1", ahead)
        async with self.database.connection() as connection:
            await make_partitions(connection, now)

    async def fire(self) -> None:
        """The scheduler looks, until nothing is left to do."""
        await work_off(self.database, self.acceptor)

    async def look_every(self, step: timedelta, start: datetime, end: datetime) -> None:
        """The scheduler looks a second after each step of that time."""
        for number in range(1 + (end - start) // step):
            await self.set(start + number * step + timedelta(seconds=1))
            await self.fire()


@pytest.fixture
async def timed(acme: World, database_dsn: str) -> AsyncIterator[Timed]:
    """Those who connect to its database from now on find another `now()` before PostgreSQL's own."""
    async with acme.parts.database.connection() as connection:
        await connection.execute(_CLOCK)
    await acme.parts.database.close()
    await acme.parts.database.open()
    database = Database(database_dsn, size=4, name="timed")
    await database.open()
    made = Timed(acme, database)
    yield made
    await made.acceptor.close()
    await database.close()


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    """A bus beside the world's: on it is what the duty under test has published."""
    made = MemoryBus()
    await made.connect()
    yield made
    await made.close()


async def drained(bus: Bus) -> list[Ready]:
    """Everything that is on the bus at this moment; it is taken off."""
    bodies: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(delivery: Delivery) -> None:
        await delivery.ack()
        bodies.put_nowait(delivery.body)

    messages = await bus.depth()
    consumer = await bus.consume(take, prefetch=max(1, messages))
    async with patience():
        found = [decode(await bodies.get()) for _ in range(messages)]
    await consumer.stop()
    return [ready for batch in found for ready in batch.items]


async def woken(bus: Bus) -> list[tuple[UUID, int]]:
    """As `drained`: the id and the epoch of each, sorted."""
    return sorted((ready.execution_id, ready.epoch) for ready in await drained(bus))


async def give(world: World, key: str = "tick", **fields: Any) -> None:
    """The stored config of the trigger of that key has these fields as well."""
    await world.fetch(
        "UPDATE triggers SET config = (config::jsonb || $2::jsonb)::json WHERE key = $1",
        key, msgspec.json.encode(fields).decode(),
    )  # fmt: skip


async def end_runs(world: World, status: str = "completed") -> int:
    """Whatever runs has ended so; returns how many did."""
    rows = await world.fetch(
        "UPDATE executions SET status = $1, wake_at = NULL, worker = NULL, finished_at = now()"
        " WHERE finished_at IS NULL RETURNING id",
        status,
    )
    return len(rows)


def every(seconds: int, key: str = "tick", **more: Any) -> dict[str, Any]:
    """A trigger that fires at such intervals."""
    return {"key": key, "type": "schedule", "config": {"type": "interval", "seconds": seconds, **more}}


def cron(expression: str, zone: str = "UTC", key: str = "tick", **more: Any) -> dict[str, Any]:
    """A trigger that fires by a cron expression in a time zone."""
    config = {"type": "cron", "expression": expression, "timezone": zone, **more}
    return {"key": key, "type": "schedule", "config": config}


async def work_off(database: Database, acceptor: Acceptor) -> None:
    """Fire everything that is due, account for what was missed, and let go what waits."""
    for duty in (Firing(database, acceptor), Arrears(database, acceptor), Turns(database, acceptor)):
        while await duty.work() is True:
            pass


async def ledger(world: World, key: str = "tick") -> list[Slot]:
    """The slots of the trigger of that key, in order."""
    rows = await world.fetch(
        "SELECT f.planned_at, f.outcome, f.execution_id FROM firings f JOIN triggers t ON t.id = f.trigger_id"
        " WHERE t.key = $1 ORDER BY f.planned_at",
        key,
    )
    return [(row["planned_at"], row["outcome"], row["execution_id"] is not None) for row in rows]


async def parked(
    world: World, count: int, status: str, due_in: timedelta = timedelta(seconds=-1), epoch: int = 0
) -> list[UUID]:
    """So many stored executions that are pending or waiting, to be woken in that time."""
    made = await world.made(workflow(f"{status} {new_id()}"))
    ids = [new_id() for _ in range(count)]
    await world.fetch(_PARK, made["id"], ids, status, due_in, epoch)
    return ids


async def sweep(database: Database, bus: Bus) -> bool:
    """One turn of waking, with everything published that it announces; whether there may be more."""
    announcer = Announcer(bus)
    more = await Waking(database, bus, announcer).work()
    await announcer.close()
    return more


def metric(name: str, **labels: str) -> float:
    """The value of a series; 0 before it is first counted."""
    return REGISTRY.get_sample_value(f"signalbox_{name}", labels) or 0
