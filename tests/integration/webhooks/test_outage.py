"""A PostgreSQL that stops under the service: 503 for every call, nothing stored, and on it goes once it is back."""

import httpx
import pytest

from libs.common.db.migrate import migrate
from libs.common.embedded.postgres import EmbeddedPostgres
from services.webhooks.app import WebhooksService
from tests.integration.conftest import World
from tests.integration.webhooks.conftest import BODY, made_trigger, outcomes

UNKNOWN = "/webhooks/01910000-0000-7000-8000-000000000000"


@pytest.fixture
async def database_dsn(server: EmbeddedPostgres) -> str:
    """The world of these tests lives on that server."""
    dsn = await server.start()
    await migrate(dsn)
    return dsn


@pytest.mark.parametrize("cache_seconds", [0.0, 60.0])
async def test_while_the_server_is_away_every_call_gets_503_and_leaves_nothing(
    acme: World, server: EmbeddedPostgres, cache_seconds: float
) -> None:
    """A good call, a refused one and one to nowhere, of a trigger that is remembered or not."""
    trigger = await made_trigger(acme)
    good, refused = f"/webhooks/{trigger['id']}/{trigger['token']}", f"/webhooks/{trigger['id']}/wrong"
    service = WebhooksService(acme.service_parts(cache_seconds=cache_seconds))
    transport = httpx.ASGITransport(service.app)  # pyright: ignore[reportArgumentType]
    async with httpx.AsyncClient(transport=transport, base_url="http://hooks.test") as client:
        assert (await client.post(good, content=BODY)).status_code == 202
        await server.stop()
        away = [await client.post(path, content=BODY) for path in (good, refused, UNKNOWN)]
        assert await service.checks["database"]() is False
        await server.start()
        assert await service.checks["database"]() is True
        assert (await outcomes(acme), await acme.count("executions")) == ([("accepted", 202, True)], 1)
        back = [await client.post(path, content=BODY) for path in (good, refused, UNKNOWN)]
    assert [(answer.status_code, answer.json()["status"]) for answer in away] == [(503, 503)] * 3
    assert {answer.headers["content-type"] for answer in away} == {"application/problem+json"}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in away)
    assert [answer.status_code for answer in back] == [202, 401, 404]
    assert (await acme.count("webhook_logs"), await acme.count("executions")) == (3, 2)
