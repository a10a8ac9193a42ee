"""Readable addresses of webhooks: `/webhooks/{tenant}/{slug}`, one trigger's in a tenant, changeable, and in no way
of the addresses by id and token.
"""

from typing import Any

import httpx
import pytest

from libs.common.domain.trigger_validation import trigger_config_faults
from services.webhooks.app import WebhooksService
from tests.integration.conftest import World
from tests.integration.gateway.definitions import webhook, workflow
from tests.integration.webhooks.conftest import BODY, JSON, outcomes, signed

OPEN = {"auth": {"type": "none"}}


def hook(key: str = "hook", **config: Any) -> dict[str, Any]:
    return {"key": key, "type": "webhook", "config": {**OPEN, **config}}


async def address(world: World, workflow_id: str) -> tuple[str, str | None]:
    shown = (await world.call("GET", f"/workflows/{workflow_id}/webhook-url", role="viewer")).json()
    assert shown["webhook_url"].startswith("https://hooks.example.com/webhooks/")
    return shown["webhook_url"].removeprefix("https://hooks.example.com"), shown["slug"]


async def paths_of_faults(world: World, definition: dict[str, Any]) -> list[str]:
    answer = await world.call("POST", "/workflows", definition)
    assert answer.status_code == 422, answer.text
    return [fault["path"] for fault in answer.json()["errors"]]


async def test_a_trigger_is_called_by_its_slug_and_still_by_its_id(acme: World, ingress: httpx.AsyncClient) -> None:
    made = await acme.made(workflow(triggers=[hook(slug="github-push")]))
    trigger = made["triggers"][0]
    assert await address(acme, made["id"]) == ("/webhooks/acme/github-push", "github-push")
    assert trigger["url"] == "https://hooks.example.com/webhooks/acme/github-push"
    for path in ("/webhooks/acme/github-push", f"/webhooks/acme/github-push/{trigger['token']}",
                 f"/webhooks/{trigger['id']}", f"/webhooks/{trigger['id']}/{trigger['token']}"):  # fmt: skip
        assert (await ingress.post(path, content=BODY, headers=JSON)).status_code == 202
    wrong = await ingress.post("/webhooks/acme/github-push/wrong", content=BODY, headers=JSON)
    assert wrong.status_code == 401
    assert [one[0] for one in await outcomes(acme)] == ["accepted"] * 4 + ["bad_token"]


@pytest.mark.parametrize(
    "path", ["/webhooks/acme/other", "/webhooks/other/pay", "/webhooks/acme", "/webhooks/acme/pay/token/more",
             "/webhooks/acme/PAY", "/webhooks/acme/pay%00", "/webhooks/acme//", "/webhooks/ACME/pay"],
)  # fmt: skip
async def test_what_is_no_such_address(acme: World, ingress: httpx.AsyncClient, path: str) -> None:
    await acme.made(workflow(triggers=[hook(slug="pay")]))
    assert (await ingress.post(path, content=BODY, headers=JSON)).status_code == 404
    assert await acme.count("webhook_logs") == 0


async def test_credentials_methods_and_options_are_those_of_the_trigger(
    acme: World, ingress: httpx.AsyncClient
) -> None:
    made = await acme.made(workflow(triggers=[{**webhook(type="hmac"), "config": {"auth": {"type": "hmac"},
                           "slug": "signed", "methods": ["POST", "PUT"], "origins": ["*"]}}]))  # fmt: skip
    path, _ = await address(acme, made["id"])
    assert path == "/webhooks/acme/signed"
    assert (await ingress.post(path, content=BODY, headers=signed(made["triggers"][0]))).status_code == 202
    assert (await ingress.post(path, content=BODY, headers=JSON)).status_code == 401
    head = await ingress.head(path)
    assert (head.status_code, head.headers["allow"], head.content) == (405, "POST, PUT", b"")
    asked = {"Origin": "https://shop.example.com", "Access-Control-Request-Method": "PUT"}
    options = await ingress.options(path, headers=asked)
    assert (options.status_code, options.headers["allow"]) == (204, "POST, PUT, OPTIONS")
    assert options.headers["access-control-allow-methods"] == "POST, PUT, OPTIONS"


async def test_without_auth_the_token_stays_in_the_address(acme: World, ingress: httpx.AsyncClient) -> None:
    made = await acme.made(workflow(triggers=[{"key": "h", "type": "webhook", "config": {"slug": "plain"}}]))
    path, _ = await address(acme, made["id"])
    assert path == f"/webhooks/acme/plain/{made['triggers'][0]['token']}"
    assert (await ingress.post(path, content=BODY, headers=JSON)).status_code == 202
    assert (await ingress.post("/webhooks/acme/plain", content=BODY, headers=JSON)).status_code == 401


async def test_one_slug_one_trigger_in_a_tenant(acme: World) -> None:
    await acme.made(workflow("First", triggers=[hook(slug="pay")]))
    assert await paths_of_faults(acme, workflow("Second", triggers=[hook(slug="ok"), hook("b", slug="pay")])) == [
        "triggers[1].config.slug"
    ]
    both = workflow("Second", triggers=[hook(slug="twice"), hook("b", slug="twice")])
    assert await paths_of_faults(acme, both) == ["triggers[1].config.slug"]
    await acme.made(workflow("Theirs", triggers=[hook(slug="pay")]), slug="other")
    assert (await acme.count("workflows"), await acme.count("workflow_versions")) == (2, 2)


async def test_a_slug_can_be_changed_given_away_and_taken_again(acme: World, ingress: httpx.AsyncClient) -> None:
    made = await acme.made(workflow("First", triggers=[hook("a", slug="one"), hook("b", slug="two")]))
    swapped = [hook("a", slug="two"), hook("b", slug="one"), hook("c", slug="three")]
    changed = await acme.call("PATCH", f"/workflows/{made['id']}", {"triggers": swapped})
    assert [trigger["url"].rpartition("/")[2] for trigger in changed.json()["triggers"]] == ["two", "one", "three"]
    await ingress.post("/webhooks/acme/one", content=BODY, headers=JSON)
    (call,) = await acme.fetch("SELECT trigger_id FROM webhook_logs")
    assert str(call["trigger_id"]) == made["triggers"][1]["id"]
    assert (await acme.call("PATCH", f"/workflows/{made['id']}", {"triggers": [hook("a")]})).status_code == 200
    assert (await ingress.post("/webhooks/acme/one", content=BODY, headers=JSON)).status_code == 404
    second = await acme.made(workflow("Second", triggers=[hook(slug="one")]))
    assert (await acme.call("DELETE", f"/workflows/{second['id']}")).status_code == 204
    await acme.made(workflow("Third", triggers=[hook(slug="one")]))
    assert (await ingress.post("/webhooks/acme/one", content=BODY, headers=JSON)).status_code == 202


@pytest.mark.parametrize("slug", ["", "A", "-a", "a-", "a/b", "a b", "ü", "a\n", "a" * 65, 3])
def test_what_is_no_slug(slug: Any) -> None:
    faults = trigger_config_faults("webhook", {"slug": slug}, "config")
    assert [fault.path for fault in faults] == ["config.slug"]


@pytest.mark.parametrize("tenant", ["webhooks", "api"])
async def test_a_tenant_may_be_called_like_a_part_of_the_address(
    world: World, ingress: httpx.AsyncClient, tenant: str
) -> None:
    await world.tenant(tenant)
    await world.made(workflow(triggers=[hook(slug="webhooks"), hook("b", slug="webhooks-b")]), slug=tenant)
    for slug in ("webhooks", "webhooks-b"):
        assert (await ingress.post(f"/webhooks/{tenant}/{slug}", content=BODY, headers=JSON)).status_code == 202


async def test_a_remembered_address_costs_no_query(acme: World) -> None:
    await acme.made(workflow(triggers=[hook(slug="pay")]))
    service = WebhooksService(acme.service_parts(cache_seconds=60.0))
    transport = httpx.ASGITransport(service.app)  # pyright: ignore[reportArgumentType]
    async with httpx.AsyncClient(transport=transport, base_url="http://hooks.test") as client:
        assert (await client.post("/webhooks/acme/pay", content=BODY, headers=JSON)).status_code == 202
        await acme.fetch("UPDATE triggers SET slug = NULL")
        assert (await client.post("/webhooks/acme/pay", content=BODY, headers=JSON)).status_code == 202
