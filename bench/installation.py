"""A whole installation on private servers: PostgreSQL, Valkey, RabbitMQ and the four services as four processes."""

import hashlib
import hmac
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from libs.common.embedded.postgres import EmbeddedPostgres
from libs.common.embedded.valkey import EmbeddedValkey
from libs.common.security.encryption import new_master_key
from tests.servers import RabbitMQ, ServiceProcess

SERVICES = ("gateway", "webhooks", "scheduler", "executor")
PLATFORM_KEY = "bench-platform-key"
BODY = b'{"customer":{"id":"c-1","name":"Ada"},"amount":12050,"items":[1,2,3]}'

WORKFLOW: dict[str, Any] = {
    "name": "bench",
    "triggers": [
        {
            "key": "hook",
            "type": "webhook",
            "config": {"auth": {"type": "hmac"}},
            "conditions": [{"field": "webhook.body.amount", "operator": "greater_than", "value": 0}],
        }
    ],
    "actions": [
        {
            "key": "set",
            "type": "set_variables",
            "config": {"values": {"who": "{{ webhook.body.customer.id }}", "sum": "{{ webhook.body.amount * 2 }}"}},
        },
        {"key": "big", "type": "log", "if": "{{ vars.sum > 100 }}", "config": {"message": "{{ vars.who }} paid"}},
        {"key": "end", "type": "log", "config": {"message": "{{ vars.sum }}"}},
    ],
}


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook trigger to post to."""

    url: str
    headers: Mapping[str, str]
    secret: str


@dataclass(frozen=True, slots=True)
class Installation:
    """What a measurement needs of the running system."""

    dsn: str
    amqp_url: str
    services: Mapping[str, ServiceProcess]


@asynccontextmanager
async def servers(folder: Path) -> AsyncGenerator[dict[str, str]]:
    """PostgreSQL, Valkey and RabbitMQ of our own; yields the settings that name them."""
    async with AsyncExitStack() as stack:
        (folder / "data").mkdir()
        postgres, valkey = EmbeddedPostgres(folder / "data"), EmbeddedValkey(folder / "data")
        rabbitmq = RabbitMQ(folder / "rabbitmq")
        stack.push_async_callback(postgres.stop)
        dsn = await postgres.start()
        stack.push_async_callback(valkey.stop)
        redis_url = await valkey.start()
        stack.push_async_callback(rabbitmq.close)
        await rabbitmq.start()
        yield {
            "SIGNALBOX_DATABASE_URL": dsn,
            "SIGNALBOX_REDIS_URL": redis_url,
            "SIGNALBOX_BUS_URL": rabbitmq.url,
            "SIGNALBOX_PLATFORM_KEY": PLATFORM_KEY,
            "SIGNALBOX_MASTER_KEYS": new_master_key(),
            "SIGNALBOX_LOG_LEVEL": "warning",
        }


@asynccontextmanager
async def installation(folder: Path, environment: Mapping[str, str]) -> AsyncGenerator[Installation]:
    """The four services, ready, on the servers of `environment`."""
    services = {name: ServiceProcess(name, environment, folder) for name in SERVICES}
    async with AsyncExitStack() as stack:
        for service in services.values():
            stack.push_async_callback(service.stop)
            service.launch()
        for service in services.values():
            await service.ready()
        yield Installation(environment["SIGNALBOX_DATABASE_URL"], environment["SIGNALBOX_BUS_URL"], services)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant of the installation."""

    gateway: str
    webhooks: str
    headers: Mapping[str, str]

    async def store(self, workflow: Mapping[str, Any]) -> Any:
        """The workflow as it is stored."""
        async with aiohttp.ClientSession() as session:
            return await _post(session, f"{self.gateway}/workflows", workflow, self.headers)

    async def hook(self, workflow: Mapping[str, Any]) -> Hook:
        """Stores a workflow whose first trigger is a webhook; that one, with the headers that authenticate `BODY`."""
        trigger = (await self.store(workflow))["triggers"][0]
        signature = hmac.new(trigger["secret"].encode(), BODY, hashlib.sha256).hexdigest()
        headers = {"X-Signature-256": signature, "Content-Type": "application/json"}
        return Hook(f"{self.webhooks}/webhooks/{trigger['id']}", headers, trigger["secret"])


async def make_tenant(services: Mapping[str, ServiceProcess], slug: str = "bench") -> Tenant:
    """The tenant of a measurement, with an owner's key."""
    gateway = services["gateway"].url + "/api/v1"
    async with aiohttp.ClientSession() as session:
        platform = {"Authorization": f"Bearer {PLATFORM_KEY}"}
        tenant = await _post(session, f"{gateway}/admin/tenants", {"slug": slug, "name": slug}, platform)
        keys = f"{gateway}/admin/tenants/{tenant['id']}/api-keys"
        key = await _post(session, keys, {"name": "bench", "role": "owner"}, platform)
    headers = {"Authorization": f"Bearer {key['key']}", "X-Tenant-ID": tenant["id"]}
    return Tenant(gateway, services["webhooks"].url, headers)


async def _post(session: aiohttp.ClientSession, url: str, body: Any, headers: Mapping[str, str]) -> Any:
    async with session.post(url, json=body, headers=headers) as response:
        answer = await response.json(content_type=None)
        if response.status >= 300:
            raise RuntimeError(f"{url} → {response.status}: {answer}")
        return answer
