"""An upgrade without downtime: two of each service, every process is stopped and started again under load, and no
request fails, nothing is lost, nothing happens twice.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import pairwise
from time import perf_counter
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from tests.e2e.balancer import Balancer, balancer
from tests.e2e.chaos.load import check, load
from tests.e2e.installation import SERVICES, Installation, Tenant, installation
from tests.servers import ServiceProcess
from tests.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("rolling")]

CALLS = 300
TICK = {"key": "tick", "type": "schedule", "config": {"type": "interval", "seconds": 1}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    settings = {"SIGNALBOX_UNREADY_SECONDS": "3", "SIGNALBOX_DATABASE_POOL_SIZE": "4"}
    async with AsyncExitStack() as stack, installation(tmp_path_factory.mktemp("rolling"), **settings) as made:
        for name in SERVICES:
            await made.add(name, stack, alias=f"{name} 2")
        yield made


async def restart(process: ServiceProcess) -> float:
    """Stop it as an upgrade does, and start it again; returns how long it took to end."""
    started = perf_counter()
    assert await process.stop() == 0
    took = perf_counter() - started
    process.launch()
    await process.ready()
    return took


async def use_the_api(door: Balancer, tenant: Tenant, workflow: dict[str, Any], enough: asyncio.Event) -> list[UUID]:
    """Runs by hand and reads, one after the other, until it is enough; returns the executions. None may fail."""
    begun: list[UUID] = []
    through = Tenant(tenant.session, door.url, tenant.headers)
    while not enough.is_set():
        status, answer = await through.call("POST", f"/workflows/{workflow['id']}/execute", {})
        assert status == 202, answer
        begun.append(UUID(answer["execution_id"]))
        status, _ = await through.call("GET", f"/executions/{begun[-1]}")
        assert status == 200
        await asyncio.sleep(0.05)
    return begun


async def test_no_request_fails_and_nothing_is_lost_while_every_process_is_replaced(running: Installation) -> None:
    of = running.services
    async with (
        balancer(of["gateway"], of["gateway 2"]) as door,
        balancer(of["webhooks"], of["webhooks 2"]) as hooks,
        running.tenant("rolling") as tenant,
    ):
        log = {"key": "l", "type": "log", "config": {"message": "."}}
        by_hand = await tenant.make("/workflows", {"name": "by hand", "actions": [log]})
        ticking = await tenant.make("/workflows", {"name": "ticking", "triggers": [TICK], "actions": [log]})
        enough = asyncio.Event()
        async with load(running, "hooked", CALLS, base=hooks.url, per_second=60) as made:
            users = asyncio.ensure_future(use_the_api(door, tenant, by_hand, enough))
            await made.sent_more(30)
            for half in ("", " 2"):
                took = await asyncio.gather(*[restart(of[name + half]) for name in SERVICES])
                assert max(took) < 30
                await asyncio.gather(door.look(), hooks.look())
            await made.sent_more(30)
            enough.set()
            begun = await users
        figures = await check(running, made)
        print(figures, f"{len(begun)} by hand")
        assert (door.dropped, hooks.dropped) == ([], [])
        assert (made.refused, made.unanswered) == (set(), set())
        assert len(made.accepted) == made.sent >= CALLS
        assert {figures["in doubt"], figures["repeated"]} == {0}, "what runs is finished, not cut off"
        ended = await running.fetch("SELECT status FROM executions WHERE id = ANY($1)", begun)
        assert [row["status"] for row in ended] == ["completed"] * len(begun)
        assert len(begun) > 20
        await no_slot_is_missing(running, tenant, ticking)


async def no_slot_is_missing(running: Installation, tenant: Tenant, workflow: dict[str, Any]) -> None:
    """Every second since the schedule was stored has fired, once."""
    assert (await tenant.call("DELETE", f"/workflows/{workflow['id']}"))[0] == 204
    trigger = UUID(workflow["triggers"][0]["id"])
    slots = await running.fetch("SELECT planned_at, outcome FROM firings WHERE trigger_id = $1 ORDER BY 1", trigger)
    assert {after["planned_at"] - before["planned_at"] for before, after in pairwise(slots)} == {timedelta(seconds=1)}
    assert {row["outcome"] for row in slots} <= {"fired", "late", "caught_up"}

    async def all_have_run() -> bool:
        runs = await running.fetch("SELECT status FROM executions WHERE trigger_id = $1", trigger)
        return [row["status"] for row in runs] == ["completed"] * len(slots)

    await until(all_have_run)
