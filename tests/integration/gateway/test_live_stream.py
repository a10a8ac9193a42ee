"""Following an execution by server-sent events: now, after every change, until it has ended; Redis or not."""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import redis.asyncio

from libs.common.cache.protocol import LiveEvent
from libs.common.cache.redis import RedisLiveFeed
from libs.common.clock import new_id
from libs.common.embedded.valkey import EmbeddedValkey
from services.gateway import live
from services.gateway.live import LiveStreams, Seen
from services.webhooks.app import WebhooksService
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow
from tests.integration.gateway.following import Gateway, gateway
from tests.integration.webhooks.conftest import open_trigger
from tests.servers import free_port
from tests.waiting import PATIENCE_SECONDS, until

AWAY = f"redis://127.0.0.1:{free_port()}"
BECOME = {
    "waiting": "UPDATE executions SET status = 'waiting', started_at = now() WHERE id = $1",
    "completed": "UPDATE executions SET status = 'completed', wake_at = NULL, finished_at = now() WHERE id = $1",
}


async def started(world: World) -> str:
    made = await world.made(workflow(f"Followed {new_id()}"))
    answer = await world.call("POST", f"/workflows/{made['id']}/execute", {"input": {}})
    return answer.json()["execution_id"]


async def become(world: World, execution_id: str, status: str) -> None:
    await world.fetch(BECOME[status], execution_id)


@asynccontextmanager
async def telling(world: World, redis_url: str) -> AsyncGenerator[Any]:
    """Tells that something happened to an execution, as an executor does after it has written."""
    feed = RedisLiveFeed(redis_url)

    async def tell(execution_id: str, status: str = "completed") -> None:
        (row,) = await world.fetch("SELECT tenant_id, workflow_id FROM executions WHERE id = $1", execution_id)
        event = LiveEvent(row["tenant_id"], UUID(execution_id), row["workflow_id"], status, world.clock.now())
        await feed.publish([event])

    yield tell
    await feed.close()


@pytest.fixture
def redis_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks by himself: what is seen in time was told by Redis."""
    monkeypatch.setattr(live, "_LOOK_SECONDS", 600.0)


async def statuses(events: AsyncIterator[dict[str, Any]]) -> list[str]:
    return [event["status"] async for event in events]


async def test_a_stream_says_what_it_is(acme: World) -> None:
    execution_id = await started(acme)
    await become(acme, execution_id, "completed")
    async with gateway(acme) as served, served.stream(execution_id) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        lines = (await response.text()).split("\n")
    assert [line.partition(":")[0] for line in lines] == ["id", "event", "data", "", ""]
    shown = (await acme.call("GET", f"/executions/{execution_id}")).json()
    assert json.loads(lines[2].removeprefix("data: ")) == shown


@pytest.mark.usefixtures("redis_only")
async def test_changes_come_in_order_and_the_last_one_ends_the_stream(acme: World, redis_url: str) -> None:
    execution_id = await started(acme)
    async with (
        gateway(acme, redis_url) as served, telling(acme, redis_url) as tell,
        served.following(execution_id) as events,
    ):  # fmt: skip
        seen = [await anext(events)]
        await tell(execution_id, "waiting")  # nothing changed: nothing is shown
        for status in ("waiting", "completed"):
            await become(acme, execution_id, status)
            await tell(execution_id, status)
            seen.append(await anext(events))
        assert await statuses(events) == []
    assert [event["status"] for event in seen] == ["pending", "waiting", "completed"]
    assert len({event["number"] for event in seen}) == 3


@pytest.mark.parametrize("redis_url", ["", AWAY], ids=["none", "away"])
async def test_without_redis_changes_are_seen_too(acme: World, redis_url: str) -> None:
    execution_id = await started(acme)
    async with gateway(acme, redis_url) as served, served.following(execution_id) as events:
        assert (await anext(events))["status"] == "pending"
        await become(acme, execution_id, "completed")
        assert await statuses(events) == ["completed"]


async def test_what_is_there_already_does_not_wait_for_redis(acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.common.cache.redis._CONNECT_SECONDS", 2 * PATIENCE_SECONDS)
    execution_id = await started(acme)
    async with gateway(acme, AWAY) as served, served.following(execution_id) as events:
        assert (await anext(events))["status"] == "pending"


async def test_redis_that_goes_away_and_comes_back_ends_no_stream(acme: World, tmp_path: Path) -> None:
    server, execution_id = EmbeddedValkey(tmp_path), await started(acme)
    async with gateway(acme, await server.start()) as served, served.following(execution_id) as events:
        assert (await anext(events))["status"] == "pending"
        await server.stop()
        await become(acme, execution_id, "waiting")
        assert (await anext(events))["status"] == "waiting"
        await server.start()
        await become(acme, execution_id, "completed")
        assert await statuses(events) == ["completed"]
    await server.stop()


async def test_a_database_that_goes_away_and_comes_back_ends_no_stream(
    acme: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_LOOK_SECONDS", 0.05)
    execution_id = await started(acme)
    async with gateway(acme) as served, served.following(execution_id) as events:
        assert (await anext(events))["status"] == "pending"
        await acme.parts.database.close()
        following = asyncio.ensure_future(anext(events))
        assert (await asyncio.wait([following], timeout=0.3))[0] == set()  # it has looked in vain
        await acme.parts.database.open()
        await become(acme, execution_id, "completed")
        assert (await following)["status"] == "completed"


async def test_an_ended_execution_is_shown_once(acme: World) -> None:
    execution_id = await started(acme)
    await become(acme, execution_id, "completed")
    async with gateway(acme) as served:
        for told in ("", "1", "nonsense"):
            async with served.following(execution_id, **{"Last-Event-ID": told}) as events:
                assert await statuses(events) == ["completed"]


async def test_what_a_caller_sent_on_several_lines_is_one_event(acme: World) -> None:
    """What comes by a webhook is kept to the letter, line breaks between its parts included."""
    trigger = await open_trigger(acme)
    hooks: Any = WebhooksService(acme.service_parts(cache_seconds=0.0)).app
    async with httpx.AsyncClient(transport=httpx.ASGITransport(hooks), base_url="http://hooks.test") as caller:
        body = b'{\r\n  "a": "x\\ny",\r\r\n\n"event": 1\n}\n'
        sent = await caller.post(f"/webhooks/{trigger['id']}", content=body)
    async with gateway(acme) as served, served.following(sent.json()["execution_id"]) as events:
        assert (await anext(events))["input"]["body"] == {"a": "x\ny", "event": 1}


@asynccontextmanager
async def watching(redis_url: str) -> AsyncGenerator[Any]:
    """A client that looks at Redis itself."""
    async with redis.asyncio.Redis.from_url(redis_url) as client:  # pyright: ignore[reportUnknownMemberType]
        yield client


@pytest.mark.usefixtures("redis_only")
async def test_each_follower_sees_all_and_nothing_is_left_of_them(acme: World, redis_url: str) -> None:
    execution_id = await started(acme)
    async with watching(redis_url) as admin:
        before = await clients(admin)
        async with gateway(acme, redis_url) as served, telling(acme, redis_url) as tell:
            began = asyncio.Barrier(6)
            following = asyncio.gather(*(followed_to_the_end(served, execution_id, began) for _ in range(5)))
            await began.wait()
            await become(acme, execution_id, "completed")
            await tell(execution_id)
            found = await following
        assert found == [["pending", "completed"]] * 5
        await until(only(admin, before))


async def followed_to_the_end(served: Gateway, execution_id: str, began: asyncio.Barrier) -> list[str]:
    async with served.following(execution_id) as events:
        first = await anext(events)
        await began.wait()
        return [first["status"], *await statuses(events)]


async def test_those_who_come_at_once_share_one_connection(redis_url: str) -> None:
    numbers = itertools.count()

    async def look() -> Seen:
        return Seen(b"%d" % next(numbers), ended=False)

    async def check() -> None:
        return

    async with watching(redis_url) as admin:
        before, streams = await clients(admin), LiveStreams(redis_url)
        followers = [
            streams.follow(new_id(), new_id(), Seen(b"first", ended=False), None, look, check) for _ in range(3)
        ]
        for _ in range(2):  # the present state, and what is seen once connected
            await asyncio.gather(*(anext(follower) for follower in followers))
        assert len(await clients(admin) - before) == 1
        for follower in followers:
            await follower.aclose()
        await streams.close()
        await until(only(admin, before))


async def clients(admin: Any) -> set[str]:
    """The ids of those who are connected to Redis. Numbers would not do: who has hung up before may still be there."""
    return {client["id"] for client in await admin.client_list()}


def only(admin: Any, known: set[str]) -> Callable[[], Awaitable[bool]]:
    """Whether nobody but these is connected."""

    async def holds() -> bool:
        return await clients(admin) <= known

    return holds


async def test_a_follower_who_leaves_is_forgotten(acme: World, redis_url: str) -> None:
    execution_id = await started(acme)
    tenant = (await acme.fetch("SELECT tenant_id FROM executions"))[0]["tenant_id"]
    channel = f"t:{tenant}:executions"
    async with watching(redis_url) as admin, gateway(acme, redis_url) as served:
        async with served.following(execution_id) as events:
            await anext(events)
            await until(lambda: has_readers(admin, channel, 1))
        await until(lambda: has_readers(admin, channel, 0))


async def has_readers(admin: Any, channel: str, number: int) -> bool:
    return dict(await admin.pubsub_numsub(channel)) == {channel.encode(): number}


async def test_a_gateway_that_stops_ends_its_streams(acme: World) -> None:
    execution_id = await started(acme)
    async with gateway(acme) as served, served.following(execution_id) as events:
        assert (await anext(events))["status"] == "pending"
        await served.streams.close()
        assert await statuses(events) == []


async def test_another_tenant_s_execution_is_not_there(acme: World) -> None:
    execution_id = await started(acme)
    answers: list[httpx.Response] = [
        await acme.call("GET", f"/executions/{which}/stream", slug=slug)
        for which, slug in ((execution_id, "other"), (str(new_id()), "acme"))
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json()["detail"] == answers[1].json()["detail"]


async def test_a_stream_needs_a_credential(acme: World) -> None:
    answer = await acme.client.get(f"/api/v1/executions/{await started(acme)}/stream")
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
