"""A canary of every kind of secret is planted in a running installation, which is then used, also wrongly. Afterwards
none of them stands in any log, metric, table, answer, trace or queue, but where it is meant to.
"""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.e2e.elsewhere import found_elsewhere
from tests.e2e.installation import SERVICES, Installation, Tenant, installation
from tests.e2e.receiver import Receiver, receiver
from tests.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("canaries")]

MAIL, TENANT, HOOK, PLATFORM, OTLP = [
    f"canary-{kind}-{secrets.token_hex(12)}" for kind in ("mail", "own", "hook", "pk", "otlp")
]
JWT = f"eyJhbGciOiJIUzI1NiJ9.{secrets.token_hex(16)}.{secrets.token_hex(16)}"
_TABLES = """
SELECT c.relname AS name FROM pg_class c
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traces() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory, traces: Receiver) -> AsyncIterator[Installation]:
    settings = {
        "SIGNALBOX_OTLP_ENDPOINT": traces.url,
        "SIGNALBOX_OTLP_HEADERS": f"X-Receiver-Key={OTLP}",
        "SIGNALBOX_LOG_LEVEL": "debug",
        "SIGNALBOX_SMTP_URL": f"smtp+plain://me:{MAIL}@127.0.0.1:1",
        "SIGNALBOX_MAIL_FROM": "a@example.com",
    }
    async with installation(tmp_path_factory.mktemp("canaries"), **settings) as made:
        yield made


def leaky(echo: str) -> dict[str, Any]:
    """A workflow that uses its secret everywhere, and fails with it."""
    return {
        "name": "Leaky",
        "triggers": [{"key": "in", "type": "webhook", "config": {"auth": {"type": "bearer", "token": HOOK}}}],
        "actions": [
            {"key": "call", "type": "http_request", "on_error": "continue",
             "config": {"url": f"{echo}/x?token={{{{ secrets.OWN }}}}", "method": "POST",
                        "headers": {"X-Any": "{{ secrets.OWN }}"}, "body": {"any": "{{ secrets.OWN }}"}}},
            {"key": "mail", "type": "send_email", "on_error": "continue", "retry": {"max_attempts": 1},
             "config": {"to": "b@example.com", "subject": "x", "text": "{{ secrets.OWN }}"}},
            {"key": "bad", "type": "http_request", "on_error": "continue",
             "config": {"url": "http://me:{{ secrets.OWN }}@127.0.0.1:1/", "method": "GET"}},
            {"key": "host", "type": "http_request", "on_error": "continue", "retry": {"max_attempts": 1},
             "config": {"url": "http://{{ secrets.OWN }}.invalid:1/", "method": "GET"}},
        ],
    }  # fmt: skip


async def use(running: Installation, tenant: Tenant) -> list[str]:
    """Everything that touches a secret, rightly and wrongly; returns what was answered."""
    answers: list[str] = []

    async def say(method: str, path: str, body: Any = None, **headers: str) -> Any:
        _, answer = await tenant.call(method, path, body, **headers)
        answers.append(str(answer))
        return answer

    await say("PUT", "/secrets/OWN", {"value": TENANT})
    made = await say("POST", "/workflows", leaky(running.echo.url))
    await say("PUT", f"/workflows/{made['id']}", {**leaky(running.echo.url), "description": "again"})
    url = f"{running.services['webhooks'].url}/webhooks/{made['triggers'][0]['id']}"
    async with aiohttp.ClientSession() as session:
        for token in (HOOK, HOOK + "x"):
            async with session.post(url, json={"a": 1}, headers={"Authorization": f"Bearer {token}"}) as response:
                answers.append(await response.text())
    run = await say("POST", f"/workflows/{made['id']}/execute", {"input": {}})
    await tenant.ended(run["execution_id"])
    for path in (f"/executions/{run['execution_id']}", f"/executions/{run['execution_id']}/logs", "/secrets", "/audit",
                 f"/triggers/{made['triggers'][0]['id']}/webhook-logs", "/workflows", "/api-keys"):  # fmt: skip
        await say("GET", path)
    for wrong in (f"Bearer {JWT}", f"Bearer {PLATFORM}", tenant.headers["Authorization"] + "x", f"Basic {PLATFORM}"):
        await say("GET", "/workflows", Authorization=wrong)
        await say("GET", "/admin/tenants", Authorization=wrong)
    await say("PUT", "/secrets/OWN", {"valeu": TENANT})
    await say("POST", "/workflows", {**leaky(running.echo.url), "actions": [{"type": "none"}]})
    return answers


async def places(running: Installation, answers: list[str], traces: Receiver) -> dict[str, str]:
    """Everything that somebody may read, by where it is."""
    texts = {"answers": "\n".join(answers), "traces": traces.raw.decode("latin-1")}
    for name in SERVICES:
        texts[f"log of {name}"] = running.services[name].log.read_text()
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{running.services[name].url}/metrics") as response:
                texts[f"metrics of {name}"] = await response.text()
            async with session.get(f"{running.services[name].url}/readyz") as response:
                texts[f"health of {name}"] = await response.text()
    for row in await running.fetch(_TABLES):
        rows = await running.fetch(f"SELECT t::text AS text FROM {row['name']} t")
        texts[f"table {row['name']}"] = "\n".join(one["text"] for one in rows)
    return texts


async def test_no_secret_stands_where_it_can_be_read(running: Installation, traces: Receiver) -> None:
    async with running.tenant("acme") as tenant:
        answers = await use(running, tenant)

        async def are_told() -> bool:
            return all({name, "run"} <= {one.name for one in traces.spans} for name in ("http_request host", "GET"))

        await until(are_told)
        texts = await places(running, answers, traces)
        key = tenant.headers["Authorization"].removeprefix("Bearer ")
    assert any(TENANT in str(body) for body in running.echo.bodies), "the secret was never used: nothing is shown"
    assert "b@example.com" in texts["table action_executions"], "what is no secret is not found: nothing is shown"
    assert "webhook" in texts["log of webhooks"]
    assert "***.invalid" in texts["traces"], "no address is told: nothing is shown"
    assert traces.headers["X-Receiver-Key"] == OTLP
    database = running.dsn.split("://")[1].split("@")[0].partition(":")[2]
    master = running.environment["SIGNALBOX_MASTER_KEYS"].partition(":")[2]
    canaries = {
        "tenant's secret": TENANT, "webhook's secret": HOOK, "mail password": MAIL, "wrong platform key": PLATFORM,
        "receiver's key": OTLP,
        "token": JWT, "API key": key, "platform key": running.environment_secret, "master key": master,
        "database password": database,
    }  # fmt: skip
    assert all(len(canary) >= 8 for canary in canaries.values()), {name: len(one) for name, one in canaries.items()}
    found = [
        f"{name} in {where}"
        for where, text in texts.items()
        for name, canary in canaries.items()
        if canary in text and (name, where) != ("webhook's secret", "answers")  # shown once, when it is stored
    ]
    assert found == []
    assert len(texts) > 30
    redis_url = running.environment["SIGNALBOX_REDIS_URL"]
    assert await found_elsewhere(running.rabbitmq.data, redis_url, canaries.values()) == set()
