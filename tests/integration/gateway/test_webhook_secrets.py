"""Secrets of webhooks over the API: made when left out, shown once, rotated, listed without their values."""

from typing import Any

import httpx
import pytest

from libs.common.clock import new_id
from libs.common.domain.webhook_auth import AUTH_TYPES, secret_field
from tests.integration.conftest import World
from tests.integration.gateway.definitions import hourly, webhook, workflow
from tests.senders import KEY, public_bytes

REQUIRED: dict[str, dict[str, Any]] = {
    "basic": {"username": "me"}, "mtls": {"subjects": ["CN=partner"]},
    "ed25519": {"public_key": public_bytes(KEY).hex()}, "discord": {"public_key": public_bytes(KEY).hex()},
}  # fmt: skip
WITH_SECRET = sorted(kind for kind in AUTH_TYPES if secret_field({"type": kind}) is not None)


async def hook(world: World, **auth: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A stored workflow and its one webhook trigger."""
    made = await world.made(workflow(triggers=[webhook(**auth)]))
    return made, made["triggers"][0]


async def rotate(world: World, trigger: dict[str, Any], body: Any = None, **more: str) -> httpx.Response:
    return await world.call("POST", f"/triggers/{trigger['id']}/rotate-secret", body or {}, **more)


async def secrets_of(world: World, trigger: dict[str, Any], **more: str) -> httpx.Response:
    return await world.call("GET", f"/triggers/{trigger['id']}/secrets", **more)


@pytest.mark.parametrize("kind", sorted(AUTH_TYPES))
async def test_a_secret_left_out_is_made_and_shown_once(acme: World, kind: str) -> None:
    made, trigger = await hook(acme, type=kind, **REQUIRED.get(kind, {}))
    assert (trigger["secret"] is not None) is (kind in WITH_SECRET)
    if kind not in WITH_SECRET:
        assert (await secrets_of(acme, trigger)).status_code == 409
        assert (await rotate(acme, trigger)).status_code == 409
        return
    new = (await rotate(acme, trigger)).json()["secret"]
    assert len({trigger["secret"], new}) == 2
    paths = (
        f"/workflows/{made['id']}", "/workflows", f"/workflows/{made['id']}/versions/1",
        f"/workflows/{made['id']}/triggers", f"/workflows/{made['id']}/webhook-url",
        f"/triggers/{trigger['id']}/secrets",
    )  # fmt: skip
    for path in paths:
        answer = await acme.call("GET", path)
        assert answer.status_code == 200
        assert trigger["secret"] not in answer.text
        assert new not in answer.text
    field = secret_field({"type": kind})
    shown = (await acme.call("GET", f"/workflows/{made['id']}")).json()
    assert shown["triggers"][0]["config"]["auth"][field] == "***"
    rows = await acme.fetch(
        "SELECT row_to_json(t)::text FROM triggers t UNION ALL SELECT definition::text FROM workflow_versions"
        " UNION ALL SELECT row_to_json(s)::text FROM webhook_secrets s"
    )
    assert not any(secret in row[0] for row in rows for secret in (new, trigger["secret"]))


async def test_what_is_sent_back_keeps_both_secrets_and_another_ends_them(acme: World) -> None:
    made, trigger = await hook(acme, type="github")
    await rotate(acme, trigger)
    before = (await secrets_of(acme, trigger)).json()["items"]
    shown = (await acme.call("GET", f"/workflows/{made['id']}")).json()
    assert (await acme.call("PUT", f"/workflows/{made['id']}", shown)).status_code == 200
    assert (await secrets_of(acme, trigger)).json()["items"] == before
    assert [item["valid_until"] is None for item in before] == [True, False]
    shown["triggers"][0]["config"]["auth"]["secret"] = "from-the-integrator"
    assert (await acme.call("PUT", f"/workflows/{made['id']}", shown)).status_code == 200
    (only,) = (await secrets_of(acme, trigger)).json()["items"]
    assert (only["prefix"], only["valid_until"], only["last_used_at"]) == ("from", None, None)
    shown["triggers"][0]["config"]["auth"] = {"type": "none"}
    assert (await acme.call("PUT", f"/workflows/{made['id']}", shown)).status_code == 200
    assert await acme.count("webhook_secrets") == 0
    assert (await secrets_of(acme, trigger)).status_code == 409


async def test_secrets_go_with_their_workflow(acme: World) -> None:
    made, _ = await hook(acme, type="github")
    assert await acme.count("webhook_secrets") == 1
    assert (await acme.call("DELETE", f"/workflows/{made['id']}")).status_code == 204
    assert await acme.count("webhook_secrets") == 0


async def test_a_rotation_makes_no_version(acme: World) -> None:
    made, trigger = await hook(acme, type="github")
    assert (await rotate(acme, trigger, {"grace_seconds": 60})).status_code == 200
    assert (await acme.call("GET", f"/workflows/{made['id']}")).json()["version"] == 1


@pytest.mark.parametrize(
    ("kind", "body", "paths"),
    [
        ("github", {"grace_seconds": -1}, ["grace_seconds"]), ("github", {"grace_seconds": "1h"}, ["grace_seconds"]),
        ("github", {"grace_seconds": 10**9, "more": 1}, ["grace_seconds", "more"]),
        ("github", {"secret": "short"}, ["secret"]), ("github", {"secret": ""}, ["secret"]),
        ("standard_webhooks", {"secret": "whsec_no-base64-at-all!"}, ["secret"]),
    ],
)  # fmt: skip
async def test_a_bad_rotation_changes_nothing(acme: World, kind: str, body: Any, paths: list[str]) -> None:
    _, trigger = await hook(acme, type=kind)
    before = await acme.fetch("SELECT * FROM webhook_secrets"), await acme.fetch("SELECT * FROM triggers")
    answer = await rotate(acme, trigger, body)
    assert answer.status_code == 422
    assert sorted(error["path"] for error in answer.json()["errors"]) == paths
    assert (await acme.fetch("SELECT * FROM webhook_secrets"), await acme.fetch("SELECT * FROM triggers")) == before


async def test_who_may(acme: World) -> None:
    _, trigger = await hook(acme, type="github")
    assert (await rotate(acme, trigger, role="viewer")).status_code == 403
    assert (await secrets_of(acme, trigger, role="viewer")).status_code == 200
    assert (await rotate(acme, trigger, slug="other")).status_code == 404
    assert (await secrets_of(acme, trigger, slug="other")).status_code == 404
    assert (await rotate(acme, {"id": new_id()})).status_code == 404
    assert len((await secrets_of(acme, trigger)).json()["items"]) == 1


async def test_what_is_no_webhook_has_no_secret(acme: World) -> None:
    made = await acme.made(workflow(triggers=[hourly(), webhook()]))
    for trigger in made["triggers"]:
        assert (await rotate(acme, trigger)).status_code == 409


@pytest.mark.parametrize("kind", sorted(AUTH_TYPES))
async def test_the_address_comes_with_instructions(acme: World, kind: str) -> None:
    made, trigger = await hook(acme, type=kind, **REQUIRED.get(kind, {}))
    answer = (await acme.call("GET", f"/workflows/{made['id']}/webhook-url", role="viewer")).json()
    assert answer["webhook_url"] == trigger["url"]
    assert answer["instructions"].startswith("Send an HTTP POST to the address")
    assert "{" not in answer["instructions"]
    first = await acme.made(workflow("Without", triggers=[webhook()]))
    plain = (await acme.call("GET", f"/workflows/{first['id']}/webhook-url")).json()["instructions"]
    assert plain != answer["instructions"]
    assert "X-Webhook-Token" in plain


async def test_instructions_name_what_was_chosen(acme: World) -> None:
    async def told(**auth: Any) -> str:
        made = await acme.made(workflow(f"Told {new_id()}", triggers=[webhook(**auth)]))
        return (await acme.call("GET", f"/workflows/{made['id']}/webhook-url")).json()["instructions"]

    assert "header X-Key" in await told(type="api_key", header="X-Key")
    assert "parameter k" in await told(type="api_key", query="k")
    assert "X-Sig" in await told(type="hmac", header="X-Sig")
    assert "Signing token" in await told(type="gitlab", signed=True)
    assert "HS512" in await told(type="jwt", algorithm="HS512")


@pytest.mark.parametrize(
    ("response", "says"),
    [
        ({}, "answered 202"),
        ({"format": "json"}, "answered 202"),
        ({"mode": "sync"}, "the workflow's respond"),
        ({"status": 204}, "as the trigger says"),
    ],
)
async def test_instructions_say_what_is_answered(acme: World, response: dict[str, Any], says: str) -> None:
    trigger = webhook()
    trigger["config"]["response"] = response
    made = await acme.made(workflow(triggers=[trigger]))
    told = (await acme.call("GET", f"/workflows/{made['id']}/webhook-url")).json()["instructions"]
    assert says in told
