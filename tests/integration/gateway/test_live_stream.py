"""Following an execution by server-sent events: now, after every change, until it has ended; Redis or not."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import pytest

from libs.common.cache.protocol import LiveEvent
from libs.common.cache.redis import RedisLiveFeed
from libs.common.clock import new_id
from libs.common.runtime import HttpServer
from services.gateway.app import create_app
from services.gateway.live import LiveStreams
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow


async def started(world: World) -> str:
    made = await world.made(workflow())
    answer = await world.call("POST", f"/workflows/{made['id']}/execute", {"input": {}})
    return answer.json()["execution_id"]


async def end(world: World, execution_id: str) -> None:
    await world.fetch(
        "UPDATE executions SET status = 'completed', wake_at = NULL, finished_at = now() WHERE id = $1", execution_id
    )


async def tell(world: World, redis_url: str) -> None:
    """What an executor does after it has written."""
    feed = RedisLiveFeed(redis_url)
    (row,) = await world.fetch("SELECT tenant_id, id, workflow_id FROM executions")
    await feed.publish([LiveEvent(row["tenant_id"], row["id"], row["workflow_id"], "completed", world.clock.now())])
    await feed.close()


@asynccontextmanager
async def following(world: World, execution_id: str, redis_url: str = "") -> AsyncGenerator[AsyncIterator[Any]]:
    """The events of an execution's stream, over a real connection."""
    streams = LiveStreams(redis_url)
    app: Any = create_app(world.parts, streams)
    server = HttpServer(app, "127.0.0.1", 0, 1.0)
    server.start()
    url = f"http://127.0.0.1:{server.port}/api/v1/executions/{execution_id}/stream"
    async with aiohttp.ClientSession() as session, session.get(url, headers=world.headers("acme")) as response:
        assert response.status == 200
        yield (json.loads(line[6:]) async for line in response.content if line.startswith(b"data: "))
    await streams.close()
    await server.stop()


@pytest.mark.parametrize("redis_is_there", [True, False])
async def test_a_stream_shows_now_and_the_end(acme: World, redis_url: str, redis_is_there: bool) -> None:
    execution_id = await started(acme)
    async with asyncio.timeout(15), following(acme, execution_id, redis_url if redis_is_there else "") as events:
        assert (await anext(events))["status"] == "pending"
        await end(acme, execution_id)
        if redis_is_there:
            await tell(acme, redis_url)
        assert [event["status"] async for event in events][-1] == "completed"


async def test_an_ended_execution_is_shown_once(acme: World) -> None:
    execution_id = await started(acme)
    await end(acme, execution_id)
    async with asyncio.timeout(5), following(acme, execution_id) as events:
        assert [event["status"] async for event in events] == ["completed"]


async def test_another_tenant_s_execution_is_not_there(acme: World) -> None:
    execution_id = await started(acme)
    answers: list[httpx.Response] = [
        await acme.call("GET", f"/executions/{which}/stream", slug=slug)
        for which, slug in ((execution_id, "other"), (str(new_id()), "acme"))
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json()["detail"] == answers[1].json()["detail"]
