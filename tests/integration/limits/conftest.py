"""Tenants with limits, over the gateway and the webhook service of a `World`."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.webhooks.app import WebhooksService
from tests.integration.conftest import ADMIN, World
from tests.integration.webhooks.conftest import open_trigger


async def limit(world: World, slug: str = "acme", plan: str | None = None, **quota: Any) -> dict[str, Any]:
    """The tenant has this plan and these limits of its own, at once."""
    tenant = (await world.fetch("SELECT tenant_id FROM tenants WHERE slug = $1", slug))[0]["tenant_id"]
    path = f"/api/v1/admin/tenants/{tenant}/limits"
    answer = await world.client.put(path, json={"plan": plan, "quota": quota}, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    world.clock.move(2.0)  # what was remembered is forgotten
    return answer.json()


def refusal(answer: httpx.Response) -> tuple[int, str, Any, Any]:
    """Status, and which limit: its name, its value, and how much of it is used."""
    shown = answer.json()["limit"]
    return answer.status_code, shown["name"], shown["value"], shown["used"]


@pytest.fixture
async def hooks(acme: World) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of the webhook service, which remembers no trigger."""
    service = WebhooksService(acme.service_parts(cache_seconds=0.0))
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)  # pyright: ignore[reportArgumentType]
    async with httpx.AsyncClient(transport=transport, base_url="http://hooks.test") as client:
        yield client
    await service.stop()


@pytest.fixture
async def address(acme: World) -> str:
    """Of a webhook of `acme` that anybody may call."""
    return f"/webhooks/{(await open_trigger(acme))['id']}"
