"""The socket of a tenant: what happens to its executions, filtered, nothing twice, nothing of others; Redis or not."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from libs.common.cache.protocol import LiveEvent
from libs.common.cache.redis import RedisLiveFeed
from services.gateway import tenant_feed
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow
from tests.integration.gateway.following import gateway
from tests.integration.gateway.sockets import Client, Runs, connected
from tests.servers import free_port


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_feed, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(tenant_feed, "_LONGEST_LOOK_SECONDS", 0.05)


@pytest.mark.parametrize("redis_url", ["", f"redis://127.0.0.1:{free_port()}"], ids=["none", "away"])
async def test_every_new_state_is_told_once(acme: World, redis_url: str) -> None:
    runs = Runs(acme)
    before = await runs.begin()
    async with gateway(acme, redis_url) as served, connected(served) as client:
        await client.subscribe()
        one = await runs.begin()
        assert await client.next_event() == (one, "pending")
        await runs.become("completed", one)
        assert await client.next_event() == (one, "completed")
        await runs.become("failed", before)
        assert await client.next_event() == (before, "failed")


async def test_what_redis_tells_is_looked_at_at_once(
    acme: World, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_feed, "_LOOK_SECONDS", 600.0)
    runs, feed = Runs(acme), RedisLiveFeed(redis_url)
    execution_id = await runs.begin()
    (row,) = await acme.fetch("SELECT tenant_id, workflow_id FROM executions")
    async with gateway(acme, redis_url) as served, connected(served) as client:
        await client.subscribe()
        await client.subscribe()  # by now the feed has begun to listen
        await runs.become("completed", execution_id)
        event = LiveEvent(row["tenant_id"], UUID(execution_id), row["workflow_id"], "completed", acme.clock.now())
        while not client.told:
            await feed.publish([event])
            client.told.append(await client.next_event())
    await feed.close()
    assert client.told == [(execution_id, "completed")]


async def test_an_event_has_the_state_without_the_values(acme: World) -> None:
    runs = Runs(acme)
    async with gateway(acme) as served, connected(served) as client:
        await client.subscribe()
        execution_id = await runs.begin()
        assert await client.next_event() == (execution_id, "pending")
        await runs.become("completed", execution_id)
        event = await client.hear()
    shown = (await acme.call("GET", f"/executions/{execution_id}")).json()
    assert event.keys() == {"type", "id", "execution"}
    assert event["execution"] == {name: shown[name] for name in event["execution"]}
    left_out = {"input", "output", "error", "actions", "actor", "trace_id", "waiting_for"}
    assert shown.keys() - event["execution"].keys() == left_out


async def filters(acme: World) -> dict[str, Any]:
    other = (await acme.made(workflow("Another")))["id"]
    runs = Runs(acme)
    return {"other": other, "runs": runs, "one": await runs.begin(), "two": await runs.begin()}


async def test_filters(acme: World) -> None:
    made = await filters(acme)
    runs, one, two = made["runs"], made["one"], made["two"]
    async with (
        gateway(acme) as served, connected(served) as by_workflow, connected(served) as by_id,
        connected(served) as by_status,
    ):  # fmt: skip
        await by_workflow.subscribe(workflow_id=made["other"])
        await by_id.subscribe(execution_id=two)
        assert (await by_status.subscribe(statuses=["failed", "cancelled"]))["filter"]["statuses"][0] == "failed"
        third = await runs.begin(made["other"])
        await runs.become("completed", one)
        await runs.become("failed", two)
        assert await by_workflow.next_event() == (third, "pending")
        assert await by_id.next_event() == (two, "failed")
        assert await by_status.next_event() == (two, "failed")
        await by_status.subscribe(execution_id=third)  # the last one counts
        await runs.become("completed", third)
        assert await by_status.next_event() == (third, "completed")


async def test_another_tenant_s_executions_are_not_told(acme: World) -> None:
    ours, theirs = Runs(acme), Runs(acme, "other")
    foreign = await theirs.begin()
    async with gateway(acme) as served, connected(served) as client, connected(served, slug="other") as other:
        await client.subscribe(execution_id=foreign)
        await client.subscribe()
        await other.subscribe()
        await theirs.become("completed", foreign)
        assert await other.next_event() == (foreign, "completed")
        one = await ours.begin()
        assert await client.next_event() == (one, "pending")


async def test_what_cannot_be_understood_is_answered_with_every_fault(acme: World) -> None:
    async with gateway(acme) as served, connected(served) as client:
        await client.say(subscribe={"workflow_id": "x", "statuses": ["done"], "color": 1}, last_event_id=7, what=1)
        answer = await client.hear()
        assert answer["type"] == "error"
        assert {fault["path"] for fault in answer["errors"]} == {
            "subscribe.workflow_id", "subscribe.statuses[0]", "subscribe.color", "last_event_id", "what",
        }  # fmt: skip
        for text in ("", "[]", "{", '{"subscribe": 1}', '{"subscribe": {}, "last_event_id": "AAAA"}'):
            await client.socket.send_str(text)
            assert (await client.hear())["type"] == "error"
        await client.subscribe()  # it goes on


async def test_an_address_for_sockets_is_no_page(acme: World) -> None:
    answer = await acme.call("GET", "/executions/ws")
    assert answer.status_code in (404, 405)
    assert answer.headers["content-type"] == "application/problem+json"


async def missed_by(client: Client, number: int) -> list[tuple[str, str]]:
    return [await client.next_event() for _ in range(number)]


async def test_whoever_comes_back_is_told_what_was_missed_and_nothing_again(acme: World) -> None:
    runs = Runs(acme)
    known, changed, waits, untouched = [await runs.begin() for _ in range(4)]
    async with gateway(acme) as served, connected(served) as client:
        await client.subscribe()
        await runs.become("completed", known)
        assert await client.next_event() == (known, "completed")
    await runs.become("failed", changed)
    await runs.become("waiting", waits)
    new = await runs.begin()
    async with gateway(acme) as another, connected(another) as client_again:  # its memory is empty
        assert (await client_again.subscribe(client.last_id))["id"] == client.last_id
        missed = [(changed, "failed"), (waits, "waiting"), (new, "pending")]
        assert sorted(await missed_by(client_again, 3)) == sorted(missed)
        await runs.become("completed", untouched)
        assert await client_again.next_event() == (untouched, "completed")


async def test_each_of_many_missed_events_can_be_the_last(acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_feed, "_SETTLED", timedelta(0))
    runs = Runs(acme)
    ids = [await runs.begin() for _ in range(120)]
    async with gateway(acme) as served:
        async with connected(served) as client:
            start = (await client.subscribe())["id"]
        for first in range(0, 120, 40):  # forty at the same time
            await runs.become("completed", *ids[first : first + 40])
        told: list[tuple[str, str]] = []
        while len(told) < 120:
            async with connected(served) as again:
                await again.subscribe(start)
                told += await missed_by(again, 30)
                start = again.last_id
    assert sorted(told) == sorted((one, "completed") for one in ids)


async def test_each_event_of_one_look_can_be_the_last(acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was seen together is told one by one: the id of the first does not stand for the others."""
    monkeypatch.setattr(tenant_feed, "_SETTLED", timedelta(0))
    monkeypatch.setattr(tenant_feed, "_LOOK_SECONDS", 0.5)
    monkeypatch.setattr(tenant_feed, "_LONGEST_LOOK_SECONDS", 0.5)
    runs = Runs(acme)
    ids = [await runs.begin() for _ in range(3)]
    async with gateway(acme) as served:
        async with connected(served) as client:
            await client.subscribe()
            await runs.become("completed", *ids)
            told = [await client.next_event()]
        while len(told) < 3:
            async with connected(served) as again:
                await again.subscribe(client.last_id)
                told.append(await again.next_event())
                client = again
    assert sorted(told) == sorted((one, "completed") for one in ids)


async def test_after_too_much_a_follower_is_told_to_look_by_itself(
    acme: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_feed, "_MOST_MISSED", 3)
    runs = Runs(acme)
    async with gateway(acme) as served, connected(served) as client:
        start = (await client.subscribe())["id"]
        ids = [await runs.begin() for _ in range(5)]
        await missed_by(client, 5)
        for bound in ("_MOST_MISSED", "_LONGEST_SPAN"):
            monkeypatch.setattr(tenant_feed, bound, 3)
            await client.subscribe(start)
            assert (await client.hear())["type"] == "reset"
            monkeypatch.setattr(tenant_feed, bound, 1000)
        await runs.become("completed", ids[0])
        assert await client.next_event() == (ids[0], "completed")
