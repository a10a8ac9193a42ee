"""The release before, its own code, on today's schema: alone, and beside the present one in a half-done upgrade.

A workflow that needs every way between the services (a call that is tried again, a delay that parks it, a sub-workflow)
is run by a webhook, by hand, by a schedule and by an event, and is followed live by whoever looks on.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import pytest_asyncio

from libs.common.db.migrate import migrate, migrations
from tests.e2e.installation import SERVICES, Installation, Tenant, installation
from tests.integration.db.release import latest
from tests.integration.db.release_code import MARK, commit_of, unpack
from tests.servers import ROOT
from tests.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("release before")]

BEFORE = latest().version
PARKED_SECONDS = 2.2
"""A delay for which an executor lets go; the scheduler sends it on."""
WINDOW, BURST = 30, 60
"""More than the prompt lane takes of one tenant, and more than its window: some goes by the bulk lane, some is held."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """Servers with today's schema, and no service yet."""
    folder = tmp_path_factory.mktemp("before")
    async with installation(folder, False, (), SIGNALBOX_RUN_WINDOW=str(WINDOW)) as made:
        await migrate(made.dsn)
        yield made


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the release before is."""
    return unpack(BEFORE, tmp_path_factory.mktemp("code"))


@pytest_asyncio.fixture(loop_scope="module")
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Ends the services of one test."""
    async with AsyncExitStack() as made:
        yield made


async def start(servers: Installation, stack: AsyncExitStack, old: Iterable[str], code: Path) -> None:
    """The four services, these of them of the release before. Each says what it is."""
    await asyncio.gather(*[servers.add(name, stack, code=code if name in old else ROOT) for name in SERVICES])
    for name, process in servers.services.items():
        async with aiohttp.ClientSession() as session, session.get(f"{process.url}/metrics") as response:
            assert (f'version="{BEFORE}{MARK}"' in await response.text()) == (name in old)


async def everything(servers: Installation, tenant: Tenant) -> dict[str, Any]:
    """A workflow that every kind of trigger starts."""
    call = {"type": "http_request", "config": {"url": f"{servers.echo.url}/flaky", "method": "POST", "body": {"n": 1}}}
    again = {"retry": {"max_attempts": 2, "initial_seconds": 0.05}}
    await tenant.make("/workflows", {"name": "inner", "actions": [{**call, **again, "key": "inner"}]})
    workflow = await tenant.make("/workflows", {
        "name": "everything",
        "triggers": [
            {"key": "in", "type": "webhook", "config": {"auth": {"type": "none"}}},
            {"key": "tick", "type": "schedule", "config": {"type": "interval", "seconds": 1, "max_runs": 2}},
            {"key": "on", "type": "event", "config": {"event": "order.made"}},
        ],
        "actions": [
            {**call, **again, "key": "call"},
            {"key": "later", "type": "set_variables", "delay_seconds": PARKED_SECONDS, "config": {"values": {"n": 7}}},
            {"key": "sub", "type": "run_workflow", "config": {"workflow": "inner"}},
        ],
        "output": {"n": "{{ vars.n }}"},
    })  # fmt: skip
    assert len(workflow["triggers"]) == 3
    return workflow


async def call_webhook(servers: Installation, workflow: dict[str, Any]) -> str:
    """The execution that a call of the webhook started."""
    [trigger] = [one for one in workflow["triggers"] if one["type"] == "webhook"]
    url = f"{servers.services['webhooks'].url}/webhooks/{trigger['id']}"
    async with aiohttp.ClientSession() as session, session.post(url, json={"order": 1}) as response:
        assert response.status == 202
        return str((await response.json())["execution_id"])


async def last_seen(servers: Installation, tenant: Tenant, execution_id: str) -> Any:
    """What a follower of the execution is told last."""
    url = f"{servers.services['gateway'].url}/api/v1/executions/{execution_id}/stream"
    seen: list[Any] = []
    async with tenant.session.get(url, headers=tenant.headers) as response:
        async for line in response.content:
            if line.startswith(b"data: "):
                seen.append(json.loads(line.removeprefix(b"data: ")))
    return seen[-1]


async def runs_of(tenant: Tenant, workflow: dict[str, Any], number: int) -> list[Any]:
    """So many executions, ended."""
    found: list[Any] = []

    async def are_there() -> bool:
        found[:] = (await tenant.call("GET", f"/workflows/{workflow['id']}/executions"))[1]["items"]
        return len(found) == number and all(run["finished_at"] for run in found)

    await until(are_there)
    return [await tenant.ended(run["id"]) for run in found]


async def all_works(servers: Installation, slug: str) -> None:
    """Every way to start an execution leads to its end, with each effect done once."""
    async with servers.tenant(slug) as tenant:
        workflow = await everything(servers, tenant)
        hooked = await call_webhook(servers, workflow)
        by_hand = (await tenant.make(f"/workflows/{workflow['id']}/execute", {}))["execution_id"]
        assert (await tenant.call("POST", "/events", {"type": "order.made"}))[0] == 202
        assert (await last_seen(servers, tenant, by_hand))["status"] == "completed"
        runs = await runs_of(tenant, workflow, 5)
        assert {run["id"] for run in runs} > {hooked, by_hand}
        assert sorted(run["trigger"]["type"] for run in runs) == ["event", "manual", "schedule", "schedule", "webhook"]
        for run in runs:
            assert (run["status"], run["output"]) == ("completed", {"n": 7}), run["error"]
            attempts = [(action["key"], action["attempt"], action["status"]) for action in run["actions"]]
            assert attempts == [
                ("call", 1, "failed"), ("call", 2, "completed"), ("later", 1, "completed"), ("sub", 1, "completed"),
            ]  # fmt: skip
            assert servers.echo.calls[f"{run['id']}:call:0"] == 2, "refused once, done once"
        await cancelled(tenant)


async def cancelled(tenant: Tenant) -> None:
    """What waits is told by the gateway to end, and does."""
    wait = {"key": "w", "type": "wait", "config": {"until": "+1 hour"}}
    waiting = await tenant.make("/workflows", {"name": "waiting", "actions": [wait]})
    started = (await tenant.make(f"/workflows/{waiting['id']}/execute", {}))["execution_id"]

    async def waits() -> bool:
        return (await tenant.call("GET", f"/executions/{started}"))[1]["status"] == "waiting"

    await until(waits)
    assert (await tenant.call("POST", f"/executions/{started}/cancel"))[0] in (200, 202)
    assert (await tenant.ended(started))["status"] == "cancelled"


async def test_what_is_kept_has_an_older_schema(code: Path) -> None:
    """Else nothing is shown here."""
    theirs = {path.name for path in (code / "libs" / "common" / "db" / "migrations").iterdir()}
    assert theirs < {name for name, _ in migrations()}
    assert len(commit_of(BEFORE)) == 40


async def test_the_release_before_works_on_todays_schema(
    servers: Installation, stack: AsyncExitStack, code: Path
) -> None:
    await start(servers, stack, SERVICES, code)
    await all_works(servers, "all-old")


async def test_what_the_release_before_accepts_the_present_one_runs(
    servers: Installation, stack: AsyncExitStack, code: Path
) -> None:
    await start(servers, stack, ("gateway", "webhooks"), code)
    await all_works(servers, "old-doors")


async def test_what_the_present_one_accepts_the_release_before_runs(
    servers: Installation, stack: AsyncExitStack, code: Path
) -> None:
    await start(servers, stack, ("scheduler", "executor"), code)
    await all_works(servers, "new-doors")
    await a_burst_is_done_at_the_latest_when_the_upgrade_is(servers, stack)


async def a_burst_is_done_at_the_latest_when_the_upgrade_is(servers: Installation, stack: AsyncExitStack) -> None:
    """What the release before knows nothing of (a lane of the bus, what is held back) waits for the present one."""
    async with servers.tenant("burst") as tenant:
        log = {"key": "l", "type": "log", "config": {"message": "."}}
        workflow = await tenant.make("/workflows", {"name": "burst", "actions": [log]})
        started = await asyncio.gather(*[tenant.make(f"/workflows/{workflow['id']}/execute", {}) for _ in range(BURST)])
        ids = [UUID(one["execution_id"]) for one in started]

        async def some_are_held() -> bool:
            query = "SELECT count(*) FROM executions WHERE id = ANY($1) AND queue_rank IS NOT NULL"
            [row] = await servers.fetch(query, ids)
            return row[0] > 0

        await until(some_are_held)
        await asyncio.gather(*[servers.add(name, stack) for name in ("scheduler", "executor")])

        async def are_done() -> bool:
            query = "SELECT count(*) FROM executions WHERE id = ANY($1) AND status = 'completed'"
            [row] = await servers.fetch(query, ids)
            return row[0] == BURST

        await until(are_done)
