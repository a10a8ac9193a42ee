"""Changing the secret of a webhook while its sender goes on: both are valid for a while, the old one ends by itself,
and it shows who still uses it.
"""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from libs.common.clock import new_id
from libs.common.db.pool import Database
from services.webhooks.app import WebhooksService
from services.webhooks.secret_uses import SecretUses, UsedSecret
from tests.integration.conftest import World
from tests.integration.webhooks.conftest import made_trigger
from tests.senders import OTHER_SECRET, SECRET, SENDERS, Sending
from tests.waiting import until

KEYED = sorted(name for name, sender in SENDERS.items() if sender.secret is not None)


async def trigger_of(world: World, name: str, secret: str | None = SECRET) -> dict[str, Any]:
    return await made_trigger(world, config={"auth": SENDERS[name].auth_with(secret)})


async def rotated(world: World, trigger: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = await world.call("POST", f"/triggers/{trigger['id']}/rotate-secret", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def listed(world: World, trigger: dict[str, Any]) -> list[dict[str, Any]]:
    return (await world.call("GET", f"/triggers/{trigger['id']}/secrets")).json()["items"]


async def status(world: World, ingress: httpx.AsyncClient, name: str, trigger: dict[str, Any], secret: str) -> int:
    """What the vendor gets for a call signed with a secret."""
    sender, now = SENDERS[name], world.clock.now()
    body, path = sender.body(now), f"/webhooks/{trigger['id']}"
    signed = sender.sign(Sending(f"https://hooks.example.com{path}", body, now, id=str(new_id())), secret)
    headers = {"Content-Type": sender.content_type, **signed}
    return (await ingress.post(path, content=body, headers=headers)).status_code


@pytest.mark.parametrize("name", KEYED)
async def test_the_old_secret_is_valid_within_the_grace_and_not_after(
    acme: World, ingress: httpx.AsyncClient, name: str
) -> None:
    trigger = await trigger_of(acme, name)
    new = await rotated(acme, trigger, grace_seconds=100)
    until_then = datetime.fromisoformat(new["previous_valid_until"])
    assert abs(until_then - acme.clock.now() - timedelta(seconds=100)) < timedelta(seconds=5)
    within = [await status(acme, ingress, name, trigger, secret) for secret in (new["secret"], SECRET, OTHER_SECRET)]
    acme.clock.move(101)
    after = [await status(acme, ingress, name, trigger, secret) for secret in (new["secret"], SECRET, OTHER_SECRET)]
    assert (within, after) == ([202, 202, 401], [202, 401, 401])


async def test_a_cached_trigger_lets_the_old_secret_die_in_time(acme: World) -> None:
    service = WebhooksService(acme.service_parts(cache_seconds=60.0))
    transport = httpx.ASGITransport(service.app)  # pyright: ignore[reportArgumentType]
    trigger = await trigger_of(acme, "github")
    await rotated(acme, trigger, grace_seconds=100)
    async with httpx.AsyncClient(transport=transport, base_url="http://hooks.test") as client:
        assert await status(acme, client, "github", trigger, SECRET) == 202
        acme.clock.move(101)
        assert await status(acme, client, "github", trigger, SECRET) == 401


async def test_no_more_than_two_are_valid(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = await trigger_of(acme, "stripe")
    second = (await rotated(acme, trigger, grace_seconds=1000))["secret"]
    third = (await rotated(acme, trigger, grace_seconds=1000, secret="whsec_from_stripe"))["secret"]
    assert third == "whsec_from_stripe"
    assert [await status(acme, ingress, "stripe", trigger, one) for one in (SECRET, second, third)] == [401, 202, 202]
    assert [item["prefix"] for item in await listed(acme, trigger)] == ["whse", second[:10]]
    assert (await rotated(acme, trigger, grace_seconds=0))["previous_valid_until"] is None
    assert [await status(acme, ingress, "stripe", trigger, one) for one in (SECRET, second, third)] == [401, 401, 401]
    assert len(await listed(acme, trigger)) == 1


async def test_it_shows_when_each_was_last_used(
    acme: World, service: WebhooksService, ingress: httpx.AsyncClient
) -> None:
    trigger = await trigger_of(acme, "github")
    new = (await rotated(acme, trigger, grace_seconds=100))["secret"]
    assert [item["last_used_at"] for item in await listed(acme, trigger)] == [None, None]
    await service.start()
    assert await status(acme, ingress, "github", trigger, OTHER_SECRET) == 401
    assert await status(acme, ingress, "github", trigger, SECRET) == 202
    await service.stop()
    used = await listed(acme, trigger)
    assert [item["last_used_at"] is None for item in used] == [True, False]
    assert [item["valid_until"] is None for item in used] == [True, False]
    assert [set(item) for item in used] == [{"id", "prefix", "created_at", "valid_until", "last_used_at"}] * 2
    first = used[1]["last_used_at"]
    acme.clock.move(50)
    await service.start()
    for secret in (new, SECRET):
        assert await status(acme, ingress, "github", trigger, secret) == 202
    await service.stop()
    used = await listed(acme, trigger)
    assert datetime.fromisoformat(used[1]["last_used_at"]) - datetime.fromisoformat(first) >= timedelta(seconds=50)
    assert used[0]["last_used_at"] is not None
    acme.clock.move(51)
    assert [item["id"] for item in await listed(acme, trigger)] == [used[0]["id"]]


async def test_calls_write_nothing_of_their_own(acme: World, ingress: httpx.AsyncClient) -> None:
    trigger = await trigger_of(acme, "github")
    before = await acme.fetch("SELECT xmin::text, * FROM webhook_secrets")
    for _ in range(5):
        assert await status(acme, ingress, "github", trigger, SECRET) == 202
    assert await acme.fetch("SELECT xmin::text, * FROM webhook_secrets") == before


async def test_uses_are_written_by_and_by_and_kept_while_the_database_is_away(acme: World, database_dsn: str) -> None:
    trigger, now = await trigger_of(acme, "github"), acme.clock.now()
    (row,) = await acme.fetch("SELECT tenant_id, trigger_id, id FROM webhook_secrets")
    secret = UsedSecret(*row.values())
    database = Database(database_dsn, size=3, name="uses")
    uses = SecretUses(database, every_seconds=0.01)
    uses.note(secret, now)
    await uses.write()  # there is no connection yet
    assert (await listed(acme, trigger))[0]["last_used_at"] is None
    await database.open()
    uses.start()

    async def is_written() -> bool:
        return (await listed(acme, trigger))[0]["last_used_at"] is not None

    await until(is_written)
    uses.note(secret, now - timedelta(hours=1))
    await uses.stop()
    assert datetime.fromisoformat((await listed(acme, trigger))[0]["last_used_at"]) == now
    await database.close()
