"""Each illness is made in a real database, found by the doctor, and mended."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from libs.common.bus.memory import MemoryBus
from libs.common.clock import new_id
from libs.common.db.children import open_children
from libs.common.db.controlling import pause_execution
from libs.common.db.event_waits import EventWait, add_event_waits
from libs.common.db.partitions import wanted_partitions
from libs.common.db.pool import Connection, Database
from libs.common.db.slots import Place
from libs.common.db.workers import beat, retire
from libs.common.doctor import MOST, Patient, examine
from libs.common.security.encryption import Vault, new_master_key
from tests.factories import make_execution, make_trigger, make_workflow
from tests.integration.cli.command import signalbox
from tests.integration.conftest import ADMIN, World
from tests.integration.gateway.definitions import webhook, workflow

_SLOT = """
INSERT INTO concurrency_slots (tenant_id, execution_id, workflow_id, key, state, capacity)
VALUES ($1, $2, $3, 'k', 'held', 1)
"""
_SILENT = "UPDATE workers SET beat_at = now() - interval '10 minutes' WHERE id = $1"
_ADOPT = "UPDATE executions SET parent_id = $1, parent_position = 0, parent_iteration = 0 WHERE id = $2"
_PARK = "UPDATE executions SET wake_at = 'infinity' WHERE id = $1"


async def look(world: World, method: str = "GET") -> dict[str, Any]:
    answer = await world.client.request(method, "/api/v1/admin/doctor", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def found(world: World) -> dict[str, int]:
    return {one["disease"]: one["count"] for one in (await look(world))["findings"]}


async def mended(world: World) -> dict[str, int | None]:
    return {one["disease"]: one["mended"] for one in (await look(world, "POST"))["findings"]}


async def place(connection: Connection, world: World) -> tuple[UUID, UUID]:
    (row,) = await world.fetch("SELECT tenant_id FROM tenants WHERE slug = 'acme'")
    return row["tenant_id"], await make_workflow(connection, row["tenant_id"])


async def test_a_healthy_installation_has_nothing(acme: World) -> None:
    async with acme.parts.database.connection() as connection:
        tenant, workflow = await place(connection, acme)
        worker = new_id()
        await beat(connection, worker, "executor")
        await make_execution(connection, tenant, workflow, "running", worker=worker)
        gone = new_id()
        await beat(connection, gone, "executor")
        await retire(connection, gone)
        paused = await make_execution(connection, tenant, workflow)
        await pause_execution(connection, tenant, paused)
        await make_execution(connection, tenant, workflow)
        await make_execution(connection, tenant, workflow, "completed")
    assert await look(acme) == {"well": True, "findings": []}


@pytest.mark.parametrize("known", [True, False])
async def test_executions_of_dead_workers(acme: World, known: bool) -> None:
    worker = new_id()
    async with acme.parts.database.connection() as connection:
        tenant, workflow = await place(connection, acme)
        execution = await make_execution(connection, tenant, workflow, "running", worker=worker)
        if known:
            await beat(connection, worker, "executor")
            await connection.execute(_SILENT, worker)
    report = await look(acme)
    assert report["well"] is False
    assert str(execution) in report["findings"][0]["examples"][0]
    dead = {"dead_workers": 1} if known else {}
    assert await found(acme) == {"orphaned_executions": 1, **dead}
    assert await mended(acme) == {"orphaned_executions": 1, **dead, "overdue_executions": 1}  # what is free goes on
    (row,) = await acme.fetch("SELECT status, epoch, worker FROM executions WHERE id = $1", execution)
    assert (row["status"], row["epoch"], row["worker"]) == ("pending", 2, None)


async def test_a_slot_of_what_has_ended(acme: World) -> None:
    async with acme.parts.database.connection() as connection:
        tenant, workflow = await place(connection, acme)
        execution = await make_execution(connection, tenant, workflow, "completed")
        await connection.execute(_SLOT, tenant, execution, workflow)
    assert await found(acme) == {"leaked_slots": 1}
    assert await mended(acme) == {"leaked_slots": 1}
    assert await acme.count("concurrency_slots") == 0
    assert await found(acme) == {}


async def test_an_execution_that_waits_for_nothing(acme: World) -> None:
    async with acme.parts.database.connection() as connection:
        tenant, workflow = await place(connection, acme)
        stranded, waiting, parent = [await make_execution(connection, tenant, workflow, "waiting") for _ in range(3)]
        child = await make_execution(connection, tenant, workflow)
        for one in (stranded, waiting, parent):
            await connection.execute(_PARK, one)
        await add_event_waits(connection, [EventWait(tenant, waiting, 0, 0, "deal.won", None, "{}")])
        await connection.execute(
            "UPDATE executions SET parent_id = $1, parent_position = 0, parent_iteration = 0 WHERE id = $2",
            parent,
            child,
        )
        assert await open_children(connection, [Place(tenant, parent)]) == [Place(tenant, child)]
    report = await look(acme, "POST")
    assert [(one["disease"], one["mended"]) for one in report["findings"]] == [("stranded_executions", 1)]
    assert report["findings"][0]["examples"] == [f"execution {stranded} of tenant {tenant}"]
    assert report["well"] is True
    rows = await acme.fetch("SELECT id FROM executions WHERE wake_at <= now() AND status = 'waiting'")
    assert [row["id"] for row in rows] == [stranded]


async def test_what_nobody_put_on_the_bus(acme: World) -> None:
    async with acme.parts.database.connection() as connection:
        tenant, workflow = await place(connection, acme)
        execution = await make_execution(connection, tenant, workflow)
        await connection.execute("UPDATE executions SET wake_at = now() - interval '1 hour' WHERE id = $1", execution)
    assert await found(acme) == {"overdue_executions": 1}
    assert await mended(acme) == {"overdue_executions": 1}
    assert await found(acme) == {}
    await acme.parts.acceptor.close()
    assert await acme.bus.depth() == 1


async def test_a_schedule_that_nobody_looks_at(acme: World) -> None:
    async with acme.parts.database.connection() as connection:
        tenant, workflow = await place(connection, acme)
        due = datetime(2026, 1, 1, tzinfo=UTC)
        await make_trigger(connection, tenant, workflow, kind="schedule", next_run_at=due)
    assert await found(acme) == {"lagging_schedules": 1}
    report = await look(acme, "POST")
    assert (report["well"], report["findings"][0]["mended"]) == (False, None)
    assert "Start a scheduler" in report["findings"][0]["remedy"]


async def test_missing_partitions(acme: World) -> None:
    name = list(wanted_partitions(acme.clock.now()))[-1]
    async with acme.parts.database.connection() as connection:
        await connection.execute(f"DROP TABLE {name}")
    report = await look(acme)
    assert report["findings"][0]["examples"] == [name]
    assert await mended(acme) == {"missing_partitions": 1}
    assert await found(acme) == {}


async def test_dead_letters_are_for_people(acme: World) -> None:
    assert isinstance(acme.bus, MemoryBus)
    consumer = await acme.bus.consume(lambda delivery: delivery.reject(), 1)
    await acme.bus.publish([b"nobody can read this"])
    await consumer.stop()
    assert await found(acme) == {"dead_letters": 1}
    assert await mended(acme) == {"dead_letters": None}


async def test_secrets_that_no_master_key_opens_are_for_people(acme: World, master_key: str) -> None:
    acme_id, other_id = [row["tenant_id"] for row in await acme.fetch("SELECT tenant_id FROM tenants ORDER BY slug")]
    for slug in ("acme", "other"):
        assert (await acme.call("PUT", "/secrets/TOKEN", {"value": "x"}, slug=slug, role="owner")).status_code == 201
    made = await acme.made(workflow("Hooked", triggers=[webhook(type="github")]))
    assert await found(acme) == {}

    async def seen_with(keys: str) -> list[str]:
        seen = await examine(Patient(acme.parts.database, Vault(keys), acme.clock, lambda _: None), fix=True)
        assert [(one.disease, one.mended) for one in seen] == [("unreadable_secrets", None)][: len(seen)]
        return seen[0].examples if seen else []

    ours = [f"data key of tenant {acme_id}", f"data key of tenant {other_id}", f"secret TOKEN of tenant {acme_id}",
            f"secret TOKEN of tenant {other_id}",
            f"secrets of trigger {made['triggers'][0]['id']} of tenant {acme_id}"]  # fmt: skip
    same_name = new_master_key(master_key.partition(":")[0])
    for keys in ("", new_master_key("another"), same_name):
        assert sorted(await seen_with(keys)) == sorted(ours)
    assert await seen_with(f"{new_master_key('another')},{master_key}") == []
    await acme.fetch("UPDATE tenants SET status = 'erasing', data_key = NULL WHERE slug = 'other'")
    assert await found(acme) == {}  # what is being erased is not to open
    await acme.fetch(
        "UPDATE secrets SET sealed = overlay(sealed PLACING '\\x00' FROM 20) WHERE tenant_id = $1", acme_id
    )
    report = await look(acme)
    assert (report["well"], report["findings"][0]["examples"]) == (False, [f"secret TOKEN of tenant {acme_id}"])


async def test_a_look_is_bounded(acme: World) -> None:
    async with acme.parts.database.connection() as connection:
        await connection.execute(
            "INSERT INTO workers (id, service, beat_at) SELECT gen_random_uuid(), 'executor', now() - interval '1 hour'"
            f" FROM generate_series(1, {MOST + 7})"
        )
    (one,) = (await look(acme))["findings"]
    assert (one["count"], one["more"], len(one["examples"])) == (MOST, True, 5)
    assert (await look(acme, "POST"))["well"] is False
    assert await found(acme) == {"dead_workers": 7}
    assert (await look(acme, "POST"))["well"] is True


async def test_the_command_says_what_is_wrong_and_mends_it(database_dsn: str, database: Database) -> None:
    settings = {"SIGNALBOX_DATABASE_URL": database_dsn}
    assert await signalbox("doctor", **settings) == (0, "nothing is stuck\n", "")
    worker = new_id()
    async with database.connection() as connection:
        await beat(connection, worker, "executor")
        await connection.execute(_SILENT, worker)
    code, output, errors = await signalbox("doctor", **settings)
    assert (code, output) == (1, f"dead_workers: 1. Counts them as gone.\n    worker {worker}\n")
    assert errors == "signalbox: something is wrong; --fix mends what can be mended\n"
    assert await signalbox("doctor", "--fix", **settings) == (
        0,
        f"dead_workers: 1. mended 1\n    worker {worker}\n",
        "",
    )
    assert (await signalbox("doctor", **settings))[0] == 0


async def test_the_command_names_a_broker_that_is_away(database_dsn: str) -> None:
    settings = {"SIGNALBOX_DATABASE_URL": database_dsn, "SIGNALBOX_BUS_URL": "amqp://127.0.0.1:1/"}
    code, output, _ = await signalbox("doctor", **settings)
    assert (code, output.partition(":")[0]) == (1, "bus_away")
