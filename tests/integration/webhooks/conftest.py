"""The webhook service as an application over the parts of a `World`, and what its tests send and look at."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.webhooks.app import WebhooksService
from tests.integration.conftest import World
from tests.integration.gateway.definitions import webhook, workflow

BODY = b'{"amount": 7, "note": "caf\xc3\xa9"}'
JSON = {"Content-Type": "application/json"}
MAX_BODY_BYTES, MAX_HEADER_BYTES = 2048, 4096


@pytest.fixture
def service(acme: World) -> WebhooksService:
    """The service, which remembers no trigger and takes small bodies only."""
    small = acme.service_parts(cache_seconds=0.0, max_body_bytes=MAX_BODY_BYTES, max_header_bytes=MAX_HEADER_BYTES)
    return WebhooksService(small)


@pytest.fixture
async def ingress(service: WebhooksService) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of the service."""
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)  # pyright: ignore[reportArgumentType]
    async with httpx.AsyncClient(transport=transport, base_url="http://hooks.test") as client:
        yield client


async def made_trigger(world: World, **more: Any) -> dict[str, Any]:
    """A stored webhook trigger, with its token or secret and its `workflow_id`."""
    made = await world.made(workflow(f"Called {uuid4()}", triggers=[{**webhook(), **more}]))
    return {**made["triggers"][0], "workflow_id": made["id"]}


async def open_trigger(world: World, **more: Any) -> dict[str, Any]:
    """A stored webhook trigger that anybody may call."""
    return await made_trigger(world, config={"auth": {"type": "none"}}, **more)


def signed(trigger: dict[str, Any], body: bytes = BODY) -> dict[str, str]:
    """The headers of a call that is signed as the trigger asks by default."""
    digest = hmac.new(trigger["secret"].encode(), body, hashlib.sha256).hexdigest()
    return {**JSON, "X-Signature-256": digest}


async def outcomes(world: World) -> list[tuple[str, int, bool]]:
    """Of every call on record, oldest first: outcome, status, and whether there is an execution."""
    rows = await world.fetch("SELECT outcome, status, execution_id FROM webhook_logs ORDER BY id")
    return [(row["outcome"], row["status"], row["execution_id"] is not None) for row in rows]
