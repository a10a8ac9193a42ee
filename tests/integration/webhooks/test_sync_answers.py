"""Callers who wait: what the workflow says, over the live feed or without it, and what those get for whom it takes too
long.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from libs.common.embedded.valkey import EmbeddedValkey
from libs.common.settings import Secret
from services.executor.app import ExecutorService
from services.webhooks.app import WebhooksService
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow
from tests.integration.webhooks.conftest import BODY, JSON
from tests.waiting import until

NEVER = {"key": "pause", "type": "wait", "config": {"seconds": 3600}}
FAILING = {"key": "bad", "type": "fail", "config": {"message": "no"}}


def respond(**config: Any) -> dict[str, Any]:
    return {"key": "say", "type": "respond", "config": config}


@pytest.fixture(params=["live", "polling"])
async def waited(acme: World, request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of the service, with an executor that runs; with and without the live feed."""
    url = Secret(redis_url if request.param == "live" else "")
    executor = ExecutorService(acme.service_parts(redis_url=url))
    await executor.start()
    service = WebhooksService(acme.service_parts(redis_url=url))
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)  # pyright: ignore[reportArgumentType]
    async with httpx.AsyncClient(transport=transport, base_url="http://hooks.test", timeout=30) as client:
        yield client
    await service.stop()
    await executor.stop()


async def path_of(
    world: World, actions: list[dict[str, Any]], more: dict[str, Any] | None = None, **response: Any
) -> str:
    """The address of a webhook that waits for such a workflow."""
    config = {"auth": {"type": "none"}, "response": {"mode": "sync", **response}}
    name = f"Waited {len(await world.fetch('SELECT FROM workflows'))}"
    made = await world.made(
        workflow(name, triggers=[{"key": "h", "type": "webhook", "config": config}], actions=actions, **(more or {}))
    )
    return f"/webhooks/{made['triggers'][0]['id']}"


async def test_the_caller_gets_what_respond_says(acme: World, waited: httpx.AsyncClient) -> None:
    said = respond(status=201, headers={"X-Made": "yes", "Content-Length": "9"}, body={"sum": "{{ input.amount }}"})
    answer = await waited.post(await path_of(acme, [said]), content=BODY, headers=JSON)
    assert (answer.status_code, answer.headers["x-made"], answer.json()) == (201, "yes", {"sum": 7})
    assert answer.headers["content-security-policy"] == "sandbox"
    (run,) = await acme.fetch("SELECT id, status FROM executions")
    assert (answer.headers["location"], run["status"]) == (f"/api/v1/executions/{run['id']}", "completed")

    async def is_on_record() -> bool:
        (row,) = await acme.fetch("SELECT status, answer, execution_id FROM webhook_logs")
        return row["status"] == 201 and json.loads(row["answer"])["headers"]["x-made"] == "yes"

    await until(is_on_record)


async def test_without_respond_it_is_the_output_of_the_workflow(acme: World, waited: httpx.AsyncClient) -> None:
    output = {"output": {"got": "{{ input.amount }}"}}
    as_json, as_text = [
        await waited.post(await path_of(acme, [], output, format=form), content=BODY, headers=JSON)
        for form in ("json", "text")
    ]
    assert (as_json.status_code, as_json.json()) == (200, {"got": 7})
    assert (as_text.text, as_text.headers["content-type"]) == ('{"got":7}', "text/plain; charset=utf-8")
    text = await waited.post(await path_of(acme, [respond(body="plain")], format="text"), content=BODY, headers=JSON)
    assert text.text == "plain"


async def test_a_workflow_that_fails_or_takes_too_long_is_named(acme: World, waited: httpx.AsyncClient) -> None:
    failed = await waited.post(await path_of(acme, [FAILING]), content=BODY, headers=JSON)
    assert (failed.status_code, failed.json()["type"]) == (502, "urn:signalbox:problem:execution-failed")
    slow = await waited.post(await path_of(acme, [NEVER], timeout_seconds=0.2), content=BODY, headers=JSON)
    assert (slow.status_code, slow.json()["type"]) == (504, "urn:signalbox:problem:still-running")
    for answer in (failed, slow):
        found = await acme.call("GET", f"/executions/{answer.json()['execution_id']}")
        assert found.json()["status"] == ("failed" if answer is failed else "waiting")


async def test_many_who_wait_each_get_their_own_answer(acme: World, waited: httpx.AsyncClient) -> None:
    path = await path_of(acme, [respond(body="{{ input.n }}")])
    answers = await asyncio.gather(*[waited.post(path, json={"n": n}) for n in range(40)])
    assert [answer.json() for answer in answers] == list(range(40))


async def test_who_sends_it_again_waits_for_the_first(acme: World, waited: httpx.AsyncClient) -> None:
    path = await path_of(acme, [respond(body="{{ execution.id }}")])
    headers = {**JSON, "Idempotency-Key": "once"}
    answers = await asyncio.gather(*[waited.post(path, content=BODY, headers=headers) for _ in range(5)])
    assert len({answer.text for answer in answers}) == 1
    assert sorted(answer.headers.get("idempotent-replayed", "") for answer in answers) == ["", *["true"] * 4]


async def test_a_live_feed_that_dies_only_makes_callers_wait_a_little_longer(acme: World, tmp_path: Any) -> None:
    server = EmbeddedValkey(tmp_path)
    url = Secret(await server.start())
    executor, service = (
        ExecutorService(acme.service_parts(redis_url=url)),
        WebhooksService(acme.service_parts(redis_url=url)),
    )
    await executor.start()
    path = await path_of(acme, [respond(body="{{ input.n }}")])
    transport = httpx.ASGITransport(service.app)  # pyright: ignore[reportArgumentType]
    async with httpx.AsyncClient(transport=transport, base_url="http://hooks.test", timeout=30) as client:
        assert (await client.post(path, json={"n": 1})).json() == 1
        await server.stop()
        assert [(await client.post(path, json={"n": n})).json() for n in (2, 3)] == [2, 3]
    await service.stop()
    await executor.stop()
