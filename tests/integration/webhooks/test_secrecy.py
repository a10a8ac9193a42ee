"""What opens a trigger stands nowhere after a call: not in its log row, not in its execution, not in a log line."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.integration.conftest import World
from tests.integration.webhooks.conftest import BODY, JSON, made_trigger, signed

CREDENTIAL = "credential-0123456789"
NO_AUTH = {"auth": {"type": "none"}}
_STORED = "SELECT row_to_json(w)::text FROM webhook_logs w UNION ALL SELECT row_to_json(e)::text FROM executions e"


async def stored(world: World) -> str:
    return "\n".join([row["row_to_json"] for row in await world.fetch(_STORED)])


@pytest.mark.parametrize(
    ("auth", "header", "text"),
    [
        ({"type": "bearer", "token": CREDENTIAL}, "Authorization", "Bearer {}"),
        ({"type": "api_key", "token": CREDENTIAL}, "X-API-Key", "{}"),
        ({"type": "api_key", "token": CREDENTIAL, "header": "X-Partner"}, "X-Partner", "{}"),
    ],
)
async def test_a_credential_in_a_header_is_kept_nowhere(
    acme: World, ingress: httpx.AsyncClient, logged: Callable[[], str], auth: dict[str, str], header: str, text: str
) -> None:
    trigger = await made_trigger(acme, config={"auth": auth})
    near_miss = CREDENTIAL + "0"
    given = (CREDENTIAL, near_miss)
    answers = [
        await ingress.post(f"/webhooks/{trigger['id']}", content=BODY, headers={**JSON, header: text.format(one)})
        for one in given
    ]
    assert [answer.status_code for answer in answers] == [202, 401]
    rows, lines = await stored(acme), logged()
    assert f'"{header.lower()}":"***"' in rows.replace(" ", "")
    assert '"check":"bad_token"' in lines
    assert CREDENTIAL not in rows + lines + "".join(answer.text for answer in answers)


@pytest.mark.parametrize("way", ["path", "header", "bearer"])
async def test_the_token_of_the_address_opens_and_is_kept_nowhere(
    acme: World, ingress: httpx.AsyncClient, logged: Callable[[], str], way: str
) -> None:
    trigger = await made_trigger(acme)
    token = trigger["token"]
    answers: list[httpx.Response] = []
    for one in (token, token + "x"):
        headers = {"header": {"X-Webhook-Token": one}, "bearer": {"Authorization": f"Bearer {one}"}}.get(way, {})
        path = f"/webhooks/{trigger['id']}" + (f"/{one}" if way == "path" else "")
        answers.append(await ingress.post(path, content=BODY, headers={**JSON, **headers}))
    assert [answer.status_code for answer in answers] == [202, 401]
    rows, lines = await stored(acme), logged()
    assert trigger["id"] in rows
    assert trigger["id"] in lines
    assert token not in rows + lines + "".join(answer.text for answer in answers)


async def test_the_secret_of_signatures_is_kept_nowhere(
    acme: World, ingress: httpx.AsyncClient, logged: Callable[[], str]
) -> None:
    trigger = await made_trigger(acme, config={"auth": {"type": "hmac"}})
    path = f"/webhooks/{trigger['id']}"
    assert (await ingress.post(path, content=BODY, headers=signed(trigger))).status_code == 202
    assert (await ingress.post(path, content=BODY + b" ", headers=signed(trigger))).status_code == 401
    rows, lines = await stored(acme), logged()
    assert signed(trigger)["X-Signature-256"] in rows  # opens nothing, explains a refusal
    assert trigger["secret"] not in rows + lines


async def test_telling_headers_and_parameters_are_masked_and_others_kept(
    acme: World, ingress: httpx.AsyncClient, logged: Callable[[], str]
) -> None:
    trigger = await made_trigger(acme, config=NO_AUTH)
    query = f"page=2&token={CREDENTIAL}&api%5Fkey={CREDENTIAL}&Client_Secret={CREDENTIAL}&flag&x="
    names = ("Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "X-Gitlab-Token", "X-Partner-Secret")
    headers: dict[str, str] = {**JSON, "X-Plain": "kept", **dict.fromkeys(names, CREDENTIAL)}
    answer = await ingress.post(f"/webhooks/{trigger['id']}?{query}", content=BODY, headers=headers)
    assert answer.status_code == 202
    (log,) = await acme.fetch("SELECT headers, query FROM webhook_logs")
    (run,) = await acme.fetch("SELECT input FROM executions")
    brought: dict[str, Any] = json.loads(run["input"])
    assert json.loads(log["headers"])["x-plain"] == brought["headers"]["x-plain"] == "kept"
    assert log["query"] == "page=2&token=***&api%5Fkey=***&Client_Secret=***&flag&x="
    masked = dict.fromkeys(("token", "api_key", "Client_Secret"), "***")
    assert brought["query"] == {"page": "2", "flag": "", "x": "", **masked}
    assert CREDENTIAL not in await stored(acme) + logged()
