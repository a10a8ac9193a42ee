"""Who may write: a worker that was given up and comes back writes nothing, and two schedulers fire every slot once."""

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import pytest
import pytest_asyncio

from tests.e2e.chaos.invariants import Seen
from tests.e2e.chaos.verdict import begin, laws_hold
from tests.e2e.installation import Installation, installation
from tests.waiting import patience, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("hand-over")]

LOST = 'signalbox_claims_total{outcome="lost"}'
COMPLETED = 'signalbox_executions_total{status="completed"}'
SLOTS = 8


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    async with installation(tmp_path_factory.mktemp("hand-over")) as made:
        await begin(made)
        yield made


async def test_a_stopped_worker_that_comes_back_writes_nothing(running: Installation) -> None:
    echo, first = running.echo, running.services["executor"]
    async with AsyncExitStack() as stack, running.tenant("zombie") as tenant:
        call = {"key": "call", "type": "http_request", "config": {"url": f"{echo.url}/held", "body": {"n": 1}}}
        workflow = await tenant.make("/workflows", {"name": "held", "actions": [call]})
        started = await tenant.make(f"/workflows/{workflow['id']}/execute", {"input": {}})
        async with patience():
            await echo.came.wait()
        completed = await running.metric("executor", COMPLETED)
        first.send(signal.SIGSTOP)
        stack.callback(first.send, signal.SIGCONT)
        await running.add("executor", stack, alias="second executor")
        run = await tenant.ended(started["execution_id"])
        first.send(signal.SIGCONT)
        echo.release.set()

        async def gave_up() -> bool:
            return await running.metric("executor", LOST) >= 1

        await until(gave_up)
        assert [(action["attempt"], action["status"]) for action in run["actions"]] == [
            (1, "unknown"),
            (2, "completed"),
        ]
        assert (await tenant.call("GET", f"/executions/{run['id']}"))[1] == run
        assert echo.calls[f"{run['id']}:call:0"] == 2
        ends = [await running.metric(name, COMPLETED) for name in ("executor", "second executor")]
        assert ends == [completed, 1]
    await laws_hold(running, Seen())


async def test_two_schedulers_fire_every_slot_once_though_one_is_killed(running: Installation) -> None:
    async with AsyncExitStack() as stack, running.tenant("punctual") as tenant:
        second = await running.add("scheduler", stack, alias="second scheduler")
        every_second = {"key": "tick", "type": "schedule", "config": {"type": "interval", "seconds": 1}}
        log = {"key": "l", "type": "log", "config": {"message": "tick"}}
        workflow = await tenant.make("/workflows", {"name": "ticking", "triggers": [every_second], "actions": [log]})
        trigger = UUID(workflow["triggers"][0]["id"])

        async def has_fired(times: int) -> bool:
            return len(await running.fetch("SELECT FROM firings WHERE trigger_id = $1", trigger)) >= times

        await until(lambda: has_fired(SLOTS // 2))
        await second.kill()
        await until(lambda: has_fired(SLOTS))
        await tenant.call("DELETE", f"/workflows/{workflow['id']}")
        rows = await running.fetch(
            "SELECT f.planned_at, f.outcome, e.id FROM firings f LEFT JOIN executions e"
            " ON e.tenant_id = f.tenant_id AND e.id = f.execution_id WHERE f.trigger_id = $1 ORDER BY 1",
            trigger,
        )
        started = await running.fetch("SELECT id FROM executions WHERE trigger_id = $1", trigger)
        planned = [row["planned_at"] for row in rows]
        assert {after - before for before, after in pairwise(planned)} == {timedelta(seconds=1)}
        assert {row["outcome"] for row in rows} <= {"fired", "late", "caught_up"}
        assert sorted(row["id"] for row in rows) == sorted(row["id"] for row in started)
    await laws_hold(running, Seen())
