"""The commit stands between a call and its answer: what was answered 202 is stored, what is not stored gets 503."""

import asyncio

import httpx

from libs.common.db.pool import Connection
from tests.integration.conftest import World
from tests.integration.locks import held_up
from tests.integration.webhooks.conftest import BODY, JSON, open_trigger, outcomes
from tests.waiting import until


async def test_nobody_is_answered_and_nothing_announced_before_the_commit(
    acme: World, ingress: httpx.AsyncClient, beside: Connection
) -> None:
    trigger = await open_trigger(acme)
    async with beside.transaction():
        await beside.execute("LOCK TABLE webhook_logs IN ACCESS EXCLUSIVE MODE")
        call = asyncio.create_task(ingress.post(f"/webhooks/{trigger['id']}", content=BODY, headers=JSON))
        await held_up(beside)
        assert not call.done()
        assert await acme.bus.depth() == 0
        assert await beside.fetchval("SELECT count(*) FROM executions") == 0
    assert (await call).status_code == 202

    async def is_announced() -> bool:
        return await acme.bus.depth() == 1

    await until(is_announced)


async def test_a_connection_cut_in_the_commit_leaves_nothing_half_stored(
    acme: World, ingress: httpx.AsyncClient, beside: Connection
) -> None:
    trigger = await open_trigger(acme)
    path = f"/webhooks/{trigger['id']}"
    async with beside.transaction():
        await beside.execute("LOCK TABLE webhook_logs IN ACCESS EXCLUSIVE MODE")
        call = asyncio.create_task(ingress.post(path, content=BODY, headers=JSON))
        (pid,) = await held_up(beside)
        await beside.execute("SELECT pg_terminate_backend($1)", pid)
        answer = await call
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert int(answer.headers["retry-after"]) > 0
    assert [await acme.count(table) for table in ("executions", "webhook_logs")] == [0, 0]
    assert (await ingress.post(path, content=BODY, headers=JSON)).status_code == 202
    assert await outcomes(acme) == [("accepted", 202, True)]


async def test_a_bus_that_is_away_refuses_no_call(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = await open_trigger(acme)
    await acme.bus.close()
    answer = await ingress.post(f"/webhooks/{trigger['id']}", content=BODY, headers=JSON)
    assert answer.status_code == 202
    (row,) = await acme.fetch("SELECT id, status, wake_at > now() AS will_be_announced FROM executions")
    assert (str(row["id"]), row["status"], row["will_be_announced"]) == (
        answer.json()["execution_id"], "pending", True,
    )  # fmt: skip
