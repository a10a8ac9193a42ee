"""Waking: what is due or was lost comes on the bus, each once, and nothing else does."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from libs.common.announce import Announcer
from libs.common.bus.amqp import AmqpBus
from libs.common.bus.memory import MemoryBus
from services.scheduler.waking import Waking
from tests.integration.conftest import World
from tests.integration.scheduler.conftest import drained, metric, parked, sweep, woken

_TAKE = "UPDATE executions SET status = 'running', wake_at = NULL, epoch = 1, worker = gen_random_uuid() WHERE id = $1"
SECOND = timedelta(seconds=1)


async def statuses(world: World, ids: list[UUID]) -> set[str]:
    return {row["status"] for row in await world.fetch("SELECT status FROM executions WHERE id = ANY($1)", ids)}


async def test_exactly_what_is_due_is_published(acme: World, bus: MemoryBus) -> None:
    (lost,) = await parked(acme, 1, "pending")
    (waiting,) = await parked(acme, 1, "waiting", epoch=3)
    fresh = await parked(acme, 1, "pending", due_in=2 * SECOND)
    later = await parked(acme, 1, "waiting", due_in=30 * SECOND)
    await sweep(acme.parts.database, bus)
    assert await woken(bus) == [(lost, 0), (waiting, 3)]
    await sweep(acme.parts.database, bus)
    assert await woken(bus) == []
    assert await statuses(acme, [lost, waiting, *fresh]) == {"pending"}
    assert await statuses(acme, later) == {"waiting"}


async def test_the_message_names_everything_that_the_taker_must_know(acme: World, bus: MemoryBus) -> None:
    (waiting,) = await parked(acme, 1, "waiting", epoch=7)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    (row,) = await acme.fetch("UPDATE executions SET traceparent = $1 RETURNING tenant_id, workflow_id, version", trace)
    await sweep(acme.parts.database, bus)
    (ready,) = await drained(bus)
    assert (ready.tenant_id, ready.execution_id, ready.epoch) == (row["tenant_id"], waiting, 7)
    assert (ready.workflow_id, ready.version, ready.traceparent) == (row["workflow_id"], row["version"], trace)


async def test_a_flood_is_woken_in_batches_the_longest_overdue_first(acme: World, bus: MemoryBus) -> None:
    recent = await parked(acme, 600, "waiting", due_in=-SECOND)
    overdue = await parked(acme, 500, "waiting", due_in=-60 * SECOND)
    before = metric("sweep_republished_total")
    assert await sweep(acme.parts.database, bus) is True, "a full batch: there may be more"
    assert await woken(bus) == [(one, 0) for one in overdue]
    assert [await sweep(acme.parts.database, bus) for _ in range(3)] == [True, False, False]
    assert await woken(bus) == [(one, 0) for one in recent]
    assert metric("sweep_republished_total") - before == 1100


async def test_schedulers_that_wake_at_the_same_time_publish_each_once(acme: World, bus: MemoryBus) -> None:
    waiting = await parked(acme, 1500, "waiting")
    published: list[tuple[UUID, int]] = []
    for _ in range(4):  # one that finds only what others hold is done for this turn
        await asyncio.gather(*[sweep(acme.parts.database, bus) for _ in range(3)])
        published += await woken(bus)
    assert sorted(published) == [(one, 0) for one in waiting]


async def test_while_the_bus_holds_a_backlog_only_what_waited_is_published(acme: World, bus: MemoryBus) -> None:
    """What nobody took for a few seconds is most likely among the backlog; after a minute that is no excuse."""
    await bus.publish([b"backlog"] * 21)
    queued = await parked(acme, 1, "pending", due_in=-50 * SECOND)
    lost = await parked(acme, 1, "pending", due_in=-70 * SECOND)
    waiting = await parked(acme, 1, "waiting")
    await sweep(acme.parts.database, bus)
    rows = await acme.fetch("SELECT id FROM executions WHERE wake_at > now()")
    assert {row["id"] for row in rows} == {*lost, *waiting}
    assert await bus.depth() == 22
    (row,) = await acme.fetch("SELECT id FROM executions WHERE wake_at < now()")
    assert [row["id"]] == queued


@pytest.mark.parametrize("bulk", [False, True])
async def test_what_the_bus_has_come_past_is_published_again_at_once(acme: World, bus: MemoryBus, bulk: bool) -> None:
    """An execution that was announced eight seconds later has been taken, so no message stands for the lost one. What
    was announced just before may be on its way. Of bulk, which has a lane of its own, it says nothing.
    """
    await bus.publish([b"backlog"] * 21, bulk=bulk)
    (lost,) = await parked(acme, 1, "pending", due_in=-7 * SECOND)
    (before,) = await parked(acme, 1, "pending", due_in=-5 * SECOND)
    (taken,) = await parked(acme, 1, "pending", due_in=2 * SECOND)
    announcer = Announcer(bus)
    waking = Waking(acme.parts.database, bus, announcer)
    for _ in range(3):
        await waking.work()
    assert await bus.depth(bulk=False) == (0 if bulk else 21)
    await acme.fetch(_TAKE, taken)
    for _ in range(3):
        await waking.work()
    await announcer.close()
    again = await acme.fetch("SELECT id FROM executions WHERE status = 'pending' AND wake_at > now()")
    assert [row["id"] for row in again] == ([] if bulk else [lost])
    (left,) = await acme.fetch("SELECT wake_at < now() AS is_due FROM executions WHERE id = $1", before)
    assert left["is_due"]


async def test_how_far_it_came_in_one_backlog_says_nothing_of_the_next(acme: World, bus: MemoryBus) -> None:
    await bus.publish([b"backlog"] * 21)
    (taken,) = await parked(acme, 1, "pending", due_in=9 * SECOND)
    announcer = Announcer(bus)
    waking = Waking(acme.parts.database, bus, announcer)
    await waking.work()
    await acme.fetch(_TAKE, taken)
    await waking.work()
    consumer = await bus.consume(lambda delivery: delivery.ack(), 100)
    await waking.work()
    await consumer.stop()
    await bus.publish([b"backlog"] * 21)
    await parked(acme, 1, "pending", due_in=-5 * SECOND)
    await waking.work()
    await announcer.close()
    assert await bus.depth() == 21


async def test_while_the_bus_is_away_nothing_is_woken_and_the_gauge_says_so(acme: World, bus: MemoryBus) -> None:
    (lost,) = await parked(acme, 1, "pending")
    await bus.publish([b"backlog"] * 3)
    await sweep(acme.parts.database, bus)
    waiting = [metric("bus_ready_messages", lane=lane) for lane in ("usual", "bulk")]
    assert (metric("bus_connected"), waiting) == (1, [3, 0])
    await acme.fetch("UPDATE executions SET wake_at = now() - interval '1 second'")
    await sweep(acme.parts.database, AmqpBus("amqp://127.0.0.1:9/", f"nobody-listens-{uuid4().hex}"))
    assert metric("bus_connected") == 0
    (row,) = await acme.fetch("SELECT wake_at < now() AS is_due FROM executions WHERE id = $1", lost)
    assert row["is_due"]


async def test_what_is_published_and_not_taken_is_published_again_later(acme: World, bus: MemoryBus) -> None:
    (waiting,) = await parked(acme, 1, "waiting")
    await sweep(acme.parts.database, bus)
    (row,) = await acme.fetch("SELECT wake_at - now() AS pause FROM executions")
    assert timedelta(seconds=5) < row["pause"] <= timedelta(seconds=10)
    await acme.fetch("UPDATE executions SET wake_at = wake_at - interval '10 seconds'")
    await sweep(acme.parts.database, bus)
    assert await woken(bus) == [(waiting, 0)] * 2


async def test_what_was_accepted_while_the_bus_was_away_runs_when_it_is_back(acme: World, bus: MemoryBus) -> None:
    await acme.bus.close()
    made = await acme.made(
        {"name": "Unannounced", "actions": [{"key": "a", "type": "log", "config": {"message": "x"}}]}
    )
    answer = await acme.call("POST", f"/workflows/{made['id']}/execute", {"input": {}})
    assert answer.status_code == 202
    await acme.fetch("UPDATE executions SET wake_at = wake_at - interval '2 seconds'")
    await sweep(acme.parts.database, bus)
    assert await woken(bus) == [(UUID(answer.json()["execution_id"]), 0)]
