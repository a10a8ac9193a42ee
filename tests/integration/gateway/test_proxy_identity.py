"""Identity by the word of a trusted proxy: off by default, and from its network only."""

from ipaddress import ip_network
from typing import Any

import pytest

from libs.common.settings import Networks
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow
from tests.integration.gateway.test_access import slug_of

TRUSTED = {"identity_proxies": Networks([ip_network("10.1.0.0/16"), ip_network("fd00::/8")])}
WORD = {"X-Tenant-ID": "acme", "X-Signalbox-Tenant": "acme", "X-Signalbox-User": "ann", "X-Signalbox-Role": "editor"}
PATH = "/api/v1/workflows"


@pytest.mark.parametrize("peer", ["10.1.2.3", "fd00::7", "::ffff:10.1.2.3"])
async def test_a_trusted_proxy_says_who_it_is(acme: World, peer: str) -> None:
    async with acme.with_settings(peer=peer, **TRUSTED) as client:
        made = await client.post(PATH, json=workflow(), headers={**WORD, "X-User-ID": "somebody"})
        assert made.status_code == 201
        by = {"X-Signalbox-Role": "viewer"}
        assert (await client.post(PATH, json=workflow("B"), headers={**WORD, **by})).status_code == 403
    (row,) = await acme.fetch("SELECT created_by FROM workflow_versions")
    assert row["created_by"] == "ann"
    (noted,) = await acme.fetch("SELECT actor, credential FROM audit_log WHERE kind = 'workflow.created'")
    assert tuple(noted) == ("ann", "proxy")


@pytest.mark.parametrize("peer", ["10.2.0.1", "127.0.0.1", "::1", "nonsense", ""])
async def test_nobody_else_is_believed(acme: World, peer: str) -> None:
    async with acme.with_settings(peer=peer, **TRUSTED) as client:
        answer = await client.get(PATH, headers={**WORD, "X-Forwarded-For": "10.1.2.3"})
    assert (answer.status_code, slug_of(answer)) == (401, "unauthenticated")


async def test_it_is_off_by_default(acme: World) -> None:
    for peer in ("127.0.0.1", "10.1.2.3"):
        async with acme.with_settings(peer=peer) as client:
            assert (await client.get(PATH, headers=WORD)).status_code == 401


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"X-Tenant-ID": "other"}, 403), ({"X-Signalbox-Tenant": "nobody", "X-Tenant-ID": "nobody"}, 403),
        ({"X-Signalbox-Role": "admin"}, 403), ({"X-Signalbox-Role": None}, 403), ({"X-Signalbox-User": None}, 403),
        ({"X-Signalbox-User": " "}, 403), ({"X-Tenant-ID": None}, 400), ({"X-Signalbox-Tenant": None}, 401),
        ({"Authorization": "Bearer sbk_wrong"}, 401),
    ],
)  # fmt: skip
async def test_its_word_must_be_complete(acme: World, more: dict[str, Any], status: int) -> None:
    headers = {name: value for name, value in {**WORD, **more}.items() if value is not None}
    async with acme.with_settings(peer="10.1.2.3", **TRUSTED) as client:
        assert (await client.get(PATH, headers=headers)).status_code == status


async def test_it_is_no_way_to_the_platform_s_calls(acme: World) -> None:
    async with acme.with_settings(peer="10.1.2.3", **TRUSTED) as client:
        assert (await client.get("/api/v1/admin/tenants", headers=WORD)).status_code == 401
