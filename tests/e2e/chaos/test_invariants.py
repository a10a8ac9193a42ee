"""The checker of bad days notices: a database in which all is well, and one fault of every kind planted in it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import aio_pika
import asyncpg
import msgspec
import pytest
import redis.asyncio

from libs.common.bus.amqp import AmqpBus
from libs.common.clock import new_id
from libs.common.db.accepting import insert_accepted
from libs.common.db.pool import Connection, Database
from tests.e2e.chaos.broker import channel, count
from tests.e2e.chaos.invariants import FOREIGN, LAWS, SHOWN, Seen, broken_laws
from tests.e2e.chaos.witness import watch
from tests.e2e.elsewhere import found_elsewhere
from tests.factories import (
    action_row,
    call_row,
    make_execution,
    make_tenant,
    make_trigger,
    make_workflow,
    new_execution,
)
from tests.servers import RabbitMQ
from tests.waiting import until

CALL = {"key": "call", "type": "http_request", "retry": {"max_attempts": 2}, "config": {"url": "http://example.com"}}
SAY = {"key": "say", "type": "log", "config": {"message": "hello"}}
_SCHEDULED = """
WITH slots AS (
    INSERT INTO firings (tenant_id, trigger_id, planned_at, actual_at, outcome, execution_id)
    SELECT tenant_id, trigger_id, (input->>'scheduled_for')::timestamptz, now(), 'fired', id
      FROM executions WHERE trigger_type = 'schedule')
UPDATE triggers SET next_run_at = now() + interval '1 h' WHERE type = 'schedule'
"""
_SLOT = """
INSERT INTO concurrency_slots (tenant_id, execution_id, workflow_id, key, state, capacity)
SELECT tenant_id, id, workflow_id, 'k', 'held', 1 FROM executions WHERE status = 'waiting'
"""
_PARK = "UPDATE executions SET wake_at = now() + interval '1 h' WHERE status = 'waiting'"


def records() -> list[Any]:
    """A call that failed and was made again, and what came after it."""
    at = datetime.now(UTC) - timedelta(seconds=10)
    rows = [
        action_row("failed", 0, key="call", type="http_request"),
        action_row("completed", 0, key="call", type="http_request", attempt=2),
        action_row("completed", 1, key="say"),
    ]
    spans = [(at + timedelta(seconds=n), at + timedelta(seconds=n + 1)) for n in range(3)]
    return [
        msgspec.structs.replace(row, started_at=begins, finished_at=ends)
        for row, (begins, ends) in zip(rows, spans, strict=True)
    ]


async def make_world(connection: Connection) -> Seen:
    """Two tenants; a call that was taken, three slots of a schedule, and an execution that waits with a slot."""
    acme, other = await make_tenant(connection, "acme"), await make_tenant(connection, "other")
    called, ticking = await make_workflow(connection, acme, actions=[CALL, SAY]), await make_workflow(connection, other)
    hook = await make_trigger(connection, acme, called)
    every_second = '{"type": "interval", "seconds": 1}'
    clock = await make_trigger(connection, other, ticking, key="tick", kind="schedule", config=every_second)
    body = b'{"body": {"number": 1, "of": "canary of acme"}}'
    more: dict[str, Any] = {"trigger_id": hook, "trigger_type": "webhook", "input": body}
    run = await make_execution(connection, acme, called, "completed", records=records(), **more)
    await insert_accepted(connection, [], [call_row(acme, hook, run)])
    await connection.execute("UPDATE executions SET total = 2, executed = 2 WHERE id = $1", run)
    for second in range(3):
        slot = f'{{"scheduled_for": "2026-11-21T12:00:0{second}Z"}}'.encode()
        new = new_execution(other, ticking, trigger_id=clock, trigger_type="schedule", input=slot)
        await make_execution(
            connection, other, ticking, "completed", records=[action_row()],
            id=new.id, trigger_id=clock, trigger_type="schedule", input=slot,
        )  # fmt: skip
    await connection.execute(_SCHEDULED)
    await make_execution(connection, other, ticking, "waiting", records=[action_row("waiting")])
    await connection.execute(_PARK)
    await connection.execute(_SLOT)
    await watch(connection)
    key = f"{run}:call:0"
    return Seen(
        accepted=[run], calls={key: 2}, latest={key: records()[1].started_at}, canaries={"acme": "canary of acme"},
        secrets=["hidden"], dead=3, planted=3,
    )  # fmt: skip


async def test_nothing_is_said_of_what_is_well(database: Database) -> None:
    async with database.connection() as connection:
        seen = await make_world(connection)
        assert await broken_laws(connection, seen) == {}


_ANOTHER_ID = "overlay(id::text PLACING 'ffffffffffff' FROM 25)::uuid"
_COPY = f"""
INSERT INTO {{table}} SELECT (jsonb_populate_record(NULL::{{table}}, to_jsonb(t) || jsonb_build_object(
    'id', {_ANOTHER_ID}) || '{{more}}')).* FROM (SELECT * FROM {{table}} {{which}} LIMIT 1) t
"""


def copy(table: str, more: str = "{}", which: str = "") -> str:
    """One more row, like one that is there but for its id and `more`."""
    return _COPY.format(table=table, more=more, which=which)


_CALLED = "WHERE execution_id IN (SELECT id FROM executions WHERE trigger_type = 'webhook')"
PLANTED: dict[str, str] = {
    "no call has two executions": copy("executions", which="WHERE trigger_type = 'webhook'"),
    "a call that was taken is logged once, with its execution": copy("webhook_logs"),
    "everything has ended, or waits for something that can come":
        "UPDATE executions SET wake_at = 'infinity' WHERE status = 'waiting'; DELETE FROM concurrency_slots",
    "what has ended is written no more": "UPDATE executions SET epoch = 9 WHERE trigger_type = 'webhook'",
    "attempts are numbered from 1 without a hole":
        f"DELETE FROM action_executions {_CALLED} AND attempt = 1 AND key = 'call'",
    "no more attempts than the maximum, those in doubt apart":
        "UPDATE workflow_versions SET definition = replace(definition::text, ':2}', ':1}')::json",
    "only the last attempt of an action completes it":
        f"UPDATE action_executions SET status = 'completed' {_CALLED} AND attempt = 1",
    "nothing is open in what has ended":
        f"UPDATE action_executions SET status = 'started', finished_at = NULL {_CALLED} AND key = 'say'",
    "what has completed has a record of each of its actions":
        f"DELETE FROM action_executions {_CALLED} AND key = 'say'",
    "actions in a row begin when the one before has ended":
        f"UPDATE action_executions SET started_at = started_at - interval '1 min' {_CALLED} AND key = 'say'",
    "who holds an execution is alive":
        "UPDATE executions SET status = 'running', worker = id, wake_at = NULL WHERE status = 'waiting'",
    "slots are held by the living, and no more than there are":
        "UPDATE concurrency_slots SET execution_id = (SELECT id FROM executions WHERE trigger_type = 'webhook')",
    "who has ended waits for no event":
        "INSERT INTO event_waits (tenant_id, execution_id, position, event, scope)"
        " SELECT tenant_id, id, 0, 'x', '{}' FROM executions WHERE trigger_type = 'webhook'",
    "no timer is overdue": "UPDATE triggers SET next_run_at = now() - interval '6 s' WHERE type = 'schedule'",
    "every slot is in the ledger": "DELETE FROM firings WHERE extract(second FROM planned_at) = 1",
    "no slot waits for its outcome": "UPDATE firings SET outcome = NULL",
    "the executions of schedules are those of the ledger": "UPDATE firings SET execution_id = NULL",
    "no record of a tenant holds what is another's":
        "UPDATE executions SET input = '{\"of\": \"canary of acme\"}' WHERE trigger_type = 'manual'",
    "no record holds a secret": "UPDATE executions SET output = '\"it is hidden here\"' WHERE trigger_type = 'webhook'",
    FOREIGN: "INSERT INTO signals (tenant_id, execution_id, position, kind, value)"
        " SELECT t.tenant_id, e.id, 0, 'x', '1' FROM tenants t, executions e"
        " WHERE e.trigger_type = 'webhook' AND e.tenant_id <> t.tenant_id",
    SHOWN: "ALTER TABLE executions DISABLE ROW LEVEL SECURITY",
}  # fmt: skip
"""What is done to the database, and the law that it breaks."""


def told(change: Callable[[Seen, str], dict[str, Any]]) -> Callable[[Seen], Seen]:
    """What was seen, otherwise; `change` has it and the one key of the endpoint."""
    return lambda seen: msgspec.structs.replace(seen, **change(seen, next(iter(seen.calls))))


SEEN_OTHERWISE: dict[str, Callable[[Seen], Seen]] = {
    "what was answered 202 has its execution": told(lambda seen, key: {"accepted": [*seen.accepted, new_id()]}),
    "no effect without its record, nor more often than on record": told(lambda seen, key: {"calls": {key: 3}}),
    "what is recorded as completed was done": told(lambda seen, key: {"calls": {}}),
    "nothing that completed was done again": told(lambda seen, key: {"latest": {key: datetime.now(UTC)}}),
    "dead letters are those that were planted": told(lambda seen, key: {"planted": 2}),
    "services keep a bounded number of sessions, and no transaction open": told(lambda seen, key: {"services": 0}),
}


async def test_every_fault_that_is_planted_is_noticed(database: Database) -> None:
    async with database.connection() as connection:
        seen = await make_world(connection)
        for law, fault in PLANTED.items():
            planting = connection.transaction()
            await planting.start()
            await connection.execute(fault)
            assert law in await broken_laws(connection, seen), law
            await planting.rollback()
        assert await broken_laws(connection, seen) == {}


async def test_what_was_seen_outside_is_held_against_the_database(database: Database, database_dsn: str) -> None:
    service = await asyncpg.connect(database_dsn, server_settings={"application_name": "signalbox-executor"})
    async with database.connection() as connection:
        seen = await make_world(connection)
        for law, otherwise in SEEN_OTHERWISE.items():
            assert set(await broken_laws(connection, otherwise(seen))) == {law}
    await service.close()


async def test_an_effect_of_an_execution_that_nobody_knows_is_noticed(database: Database) -> None:
    async with database.connection() as connection:
        seen = await make_world(connection)
        key = f"{UUID(int=1)}:call:0"
        more = msgspec.structs.replace(
            seen, calls={**seen.calls, key: 1}, latest={**seen.latest, key: datetime.now(UTC)}
        )  # fmt: skip
        assert set(await broken_laws(connection, more)) == {
            "no effect without its record, nor more often than on record"
        }


_DOUBT = f"UPDATE action_executions SET status = 'unknown' {_CALLED} AND attempt = 1 AND key = 'call'"


async def test_who_stood_still_may_send_late_what_is_in_doubt_and_nothing_else(database: Database) -> None:
    law = "nothing that completed was done again"
    async with database.connection() as connection:
        late = SEEN_OTHERWISE[law](await make_world(connection))
        frozen = msgspec.structs.replace(late, frozen=True)
        assert set(await broken_laws(connection, frozen)) == {law}
        await connection.execute(_DOUBT)
        assert law not in await broken_laws(connection, frozen)
        assert law in await broken_laws(connection, late)


HIDDEN = "canary-of-a-secret-0c51d7"
_KEPT = {
    "string": ("SET", "k", HIDDEN * 9),
    "key": ("SET", HIDDEN, "v"),
    "list": ("RPUSH", "k", "v", HIDDEN),
    "set": ("SADD", "k", "v", HIDDEN),
    "sorted set": ("ZADD", "k", "1", HIDDEN),
    "field": ("HSET", "k", HIDDEN, "v"),
    "hash": ("HSET", "k", "f", HIDDEN),
    "stream": ("XADD", "k", "*", "f", HIDDEN),
}


@pytest.mark.parametrize("how", _KEPT)
async def test_a_secret_in_redis_is_noticed(tmp_path: Path, redis_url: str, how: str) -> None:
    async with redis.asyncio.from_url(redis_url) as client:
        await client.set("other", "v" * 100)
        assert await found_elsewhere(tmp_path, redis_url, [HIDDEN]) == set()
        await client.execute_command(*_KEPT[how])  # pyright: ignore[reportUnknownMemberType]
        assert [text for _, text in await found_elsewhere(tmp_path, redis_url, ["v2", HIDDEN])] == [HIDDEN]


@pytest.mark.parametrize("where", ["stored", "dead letter", "header", "taken"])
async def test_a_secret_on_the_bus_is_noticed(rabbitmq: RabbitMQ, redis_url: str, where: str) -> None:
    """In the queues as the product declares them."""
    name, hidden = f"test-{new_id().hex}", f"canary-{new_id().hex}"
    bus = AmqpBus(rabbitmq.url, name)
    await bus.connect()
    assert await found_elsewhere(rabbitmq.data, redis_url, [hidden]) == set()
    async with channel(rabbitmq.url) as made:
        message = aio_pika.Message(hidden.encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        if where == "header":
            message.body, message.headers = b"x", {"x": hidden}
        await made.default_exchange.publish(message, routing_key=f"{name}.ready")
        if where in ("dead letter", "taken"):
            taken = await (await made.get_queue(f"{name}.ready")).get(timeout=10)
            await (taken.reject() if where == "dead letter" else taken.ack())
    if where == "dead letter":
        await until(lambda: _is_there(rabbitmq.url, f"{name}.dead"))
    assert {text for _, text in await found_elsewhere(rabbitmq.data, redis_url, [hidden])} == {hidden}
    await bus.close()


async def _is_there(url: str, queue: str) -> bool:
    return await count(url, queue) == 1


def test_every_law_is_shown_to_be_one() -> None:
    assert PLANTED.keys() | SEEN_OTHERWISE.keys() == {*LAWS, FOREIGN, SHOWN}
