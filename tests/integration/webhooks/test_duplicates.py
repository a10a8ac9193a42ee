"""A delivery that is sent again starts nothing again: it gets the first answer, whoever takes it and whenever."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from libs.common.accept import Acceptor
from libs.common.bus.memory import MemoryBus
from libs.common.db.deliveries import forget_old_deliveries
from libs.common.db.pool import Database
from libs.common.parts import Parts
from services.webhooks.app import WebhooksService
from tests.integration.conftest import World
from tests.integration.webhooks.conftest import BODY, JSON, made_trigger, outcomes

OPEN = {"auth": {"type": "none"}}


async def path_of(world: World, **config: Any) -> str:
    return f"/webhooks/{(await made_trigger(world, config={**OPEN, **config}))['id']}"


async def test_a_name_in_a_header_or_by_expression_counts_once(acme: World, ingress: httpx.AsyncClient) -> None:
    key = "{{ webhook.body.id }}-{{ webhook.headers['x-part'] }}"
    by_header, by_key = await path_of(acme), await path_of(acme, dedupe_key=key)
    cases: list[tuple[str, dict[str, str], dict[str, Any]]] = [
        (by_header, {"Idempotency-Key": "one"}, {"a": 1}),
        (by_key, {"X-Part": "1"}, {"id": 7}),
    ]
    for path, headers, body in cases:
        before = await acme.count("executions")
        first, again = [await ingress.post(path, json=body, headers=headers) for _ in range(2)]
        other = await ingress.post(path, json={"id": 8}, headers={**headers, "Idempotency-Key": "two"})
        assert again.json() == first.json()
        assert again.headers["location"] == first.headers["location"]
        assert [one.headers.get("idempotent-replayed") for one in (first, again, other)] == [None, "true", None]
        assert other.json()["execution_id"] != first.json()["execution_id"]
        assert await acme.count("executions") == before + 2
    assert [outcome for outcome, *_ in await outcomes(acme)] == ["accepted", "duplicate", "accepted"] * 2


async def test_what_names_nothing_is_never_a_duplicate(acme: World, ingress: httpx.AsyncClient) -> None:
    plain, keyed = await path_of(acme), await path_of(acme, dedupe_key="{{ webhook.body.id }}")
    for path in (plain, keyed):
        for _ in range(2):
            assert (await ingress.post(path, content=BODY, headers=JSON)).status_code == 202
    assert [outcome for outcome, *_ in await outcomes(acme)] == ["accepted"] * 4
    assert await acme.count("webhook_deliveries") == 0


async def test_a_name_of_one_trigger_says_nothing_at_another(acme: World, ingress: httpx.AsyncClient) -> None:
    for path in (await path_of(acme), await path_of(acme)):
        await ingress.post(path, content=BODY, headers={**JSON, "Idempotency-Key": "one"})
    assert await acme.count("executions") == 2


async def test_a_duplicate_gets_its_answer_even_if_it_would_be_refused_now(
    acme: World, ingress: httpx.AsyncClient
) -> None:
    """A duplicate is found before its body is judged."""
    path = await path_of(acme)
    headers = {**JSON, "Idempotency-Key": "one"}
    first = await ingress.post(path, content=BODY, headers=headers)
    broken = await ingress.post(path, content=b"{", headers=headers)
    fresh = await ingress.post(path, content=b"{", headers={**headers, "Idempotency-Key": "two"})
    assert (broken.status_code, broken.json()) == (202, first.json())
    assert fresh.status_code == 400


async def test_one_refused_first_is_no_duplicate_later(acme: World, ingress: httpx.AsyncClient) -> None:
    path, headers = await path_of(acme), {**JSON, "Idempotency-Key": "one"}
    assert (await ingress.post(path, content=b"{", headers=headers)).status_code == 400
    assert (await ingress.post(path, content=BODY, headers=headers)).json()["execution_id"] is not None


@pytest.mark.parametrize("names", [1, 5])
async def test_many_at_the_same_time_on_two_processes_start_one_each(
    acme: World, database_dsn: str, names: int
) -> None:
    """Two services with pools and doors of their own."""
    path, bus = await path_of(acme), MemoryBus()
    await bus.connect()
    own = acme.service_parts()
    second = Database(database_dsn, size=4, name="second")
    await second.open()
    parts = [own, Parts(own.settings, own.clock, second, bus, own.vault, Acceptor(second, bus))]
    clients = [
        httpx.AsyncClient(transport=httpx.ASGITransport(WebhooksService(one).app), base_url="http://hooks.test")  # pyright: ignore[reportArgumentType]
        for one in parts
    ]
    calls = [
        clients[number % 2].post(path, json={"n": number}, headers={"Idempotency-Key": f"name-{number % names}"})
        for number in range(60)
    ]
    answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} == {202}
    by_name = {answer.request.headers["idempotency-key"]: answer.json()["execution_id"] for answer in answers}
    assert {(a.request.headers["idempotency-key"], a.json()["execution_id"]) for a in answers} == set(by_name.items())
    rows = await acme.fetch("SELECT id, input FROM executions")
    assert {str(row["id"]) for row in rows} == set(by_name.values())
    assert {f"name-{json.loads(row['input'])['body']['n'] % names}" for row in rows} == set(by_name)
    assert sorted(outcome for outcome, *_ in await outcomes(acme)) == ["accepted"] * names + ["duplicate"] * (
        60 - names
    )
    for client in clients:
        await client.aclose()
    await parts[1].close()


async def test_a_name_is_free_again_after_seven_days(acme: World, ingress: httpx.AsyncClient) -> None:
    path, headers = await path_of(acme), {**JSON, "Idempotency-Key": "one"}
    first = await ingress.post(path, content=BODY, headers=headers)
    for days, same in ((6, True), (8, False)):
        await acme.fetch("UPDATE webhook_deliveries SET created_at = now() - make_interval(days => $1)", days)
        async with acme.parts.database.connection() as connection:
            await forget_old_deliveries(connection)
        again = await ingress.post(path, content=BODY, headers=headers)
        assert (days, again.json() == first.json()) == (days, same)
