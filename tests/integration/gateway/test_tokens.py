"""Tokens of an identity provider instead of API keys: which count, for whom, as whom."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.common.errors import OperatorError
from libs.common.settings import Secret, load_settings
from services.gateway.token_identity import token_rules
from tests.integration.conftest import ADMIN, World
from tests.integration.gateway.definitions import workflow
from tests.integration.gateway.test_access import slug_of
from tests.tokens import ALGORITHMS, AUDIENCE, ISSUER, SECRET, jwks, pem, signed

NAMES: dict[str, Any] = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """Secrets and published keys."""
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks())
    return {**NAMES, "jwt_secrets": Secret(f"another secret of more than 32 bytes,{SECRET}"), "jwt_jwks": str(path)}


def claims(world: World, **more: Any) -> dict[str, Any]:
    """What a good token says, with `more`; None leaves a claim out."""
    good = {"iss": ISSUER, "aud": AUDIENCE, "exp": int(world.clock.now().timestamp()) + 60, "sub": "ann",
            "tenant": "acme", "role": "editor"}  # fmt: skip
    return {name: value for name, value in {**good, **more}.items() if value is not None}


async def asked(client: httpx.AsyncClient, token: str, tenant: str | None = "acme") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}", **({} if tenant is None else {"X-Tenant-ID": tenant})}
    return await client.get("/api/v1/workflows", headers=headers)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_each_algorithm_lets_in(acme: World, settings: dict[str, Any], algorithm: str) -> None:
    async with acme.with_settings(**settings) as client:
        token = signed(claims(acme), algorithm)
        assert (await asked(client, token)).status_code == 200
        assert (await asked(client, signed(claims(acme), algorithm, kid=None))).status_code == 200
        assert (await asked(client, token[:-2])).status_code == 401
        assert (await asked(client, acme.keys["acme", "owner"])).status_code == 200  # keys go on


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, 200), ({"exp": -40}, 401), ({"exp": None}, 401), ({"nbf": 40}, 401), ({"nbf": 20}, 200),
        ({"iat": 40}, 401), ({"iss": "https://other"}, 401), ({"iss": None}, 401), ({"aud": "other"}, 401),
        ({"aud": ["other", AUDIENCE]}, 200), ({"aud": None}, 401), ({"tenant": None}, 403), ({"tenant": "nobody"}, 403),
        ({"tenant": "other"}, 403), ({"tenant": 7}, 403), ({"tenant": []}, 403), ({"tenant": ["other", "ACME"]}, 200),
        ({"role": None}, 403), ({"role": "admin"}, 403), ({"role": ["admin", "viewer"]}, 200), ({"role": {}}, 403),
    ],
)  # fmt: skip
async def test_claims_count(acme: World, settings: dict[str, Any], more: dict[str, Any], status: int) -> None:
    now = int(acme.clock.now().timestamp())
    times = {name: now + value for name, value in more.items() if name in ("exp", "nbf", "iat") and value is not None}
    async with acme.with_settings(**settings) as client:
        answer = await asked(client, signed(claims(acme, **{**more, **times})))
    assert answer.status_code == status
    if status != 200:
        assert slug_of(answer) == {401: "unauthenticated", 403: "forbidden"}[status]


async def test_a_token_chooses_nothing(acme: World, settings: dict[str, Any]) -> None:
    good = claims(acme)
    head, body, _ = signed(good).split(".")
    forged = [
        signed(good, "HS256", secret=pem("rsa")), signed(good, "HS256", secret=pem("rsa"), kid="rsa"),
        signed(good, "HS256", secret=jwks()), signed(good, "RS256", alg="none"), f"{head}.{body}.", "a.b.c", "x",
        signed(good, "RS256", alg="HS256"), signed(good, "RS256", kid="p256"), signed(good, "RS256", kid="unknown"),
        signed(good, "RS256", crit=["exp"]), signed(good, "HS256", secret=b"wrong" * 10),
    ]  # fmt: skip
    async with acme.with_settings(**settings) as client:
        assert [(await asked(client, token)).status_code for token in forged] == [401] * len(forged)
        assert (await asked(client, signed(good), None)).status_code == 400
    async with acme.with_settings(**settings, jwt_algorithms="ES256") as client:
        assert (await asked(client, signed(good))).status_code == 401
        assert (await asked(client, signed(good, "ES256"))).status_code == 200
    async with acme.with_settings(**NAMES, jwt_secrets=Secret(SECRET)) as client:  # no published keys at all
        assert (await asked(client, signed(good))).status_code == 401
        assert (await asked(client, signed(good, "HS384"))).status_code == 200
    assert (await asked(acme.client, signed(good))).status_code == 401  # tokens are off


async def test_the_tenant_is_chosen_among_those_of_the_token(acme: World, settings: dict[str, Any]) -> None:
    rows = {row["slug"]: str(row["tenant_id"]) for row in await acme.fetch("SELECT slug, tenant_id FROM tenants")}
    token = signed(claims(acme, tenant=None, org={"ids": [rows["acme"].upper(), "other"]}, **{"a.b": "viewer"}))
    paths = {"jwt_tenant_claim": "org.ids", "jwt_role_claim": "a.b"}
    async with acme.with_settings(**settings, **paths) as client:
        for tenant in ("acme", rows["acme"], "other", rows["other"]):
            assert (await asked(client, token, tenant)).status_code == 200
        for tenant in ("nobody", "00000000-0000-7000-8000-000000000000", "x" * 200, "ac\x01me"):
            assert (await asked(client, token, tenant)).status_code == 403


async def test_who_acts_is_the_token_s_user_and_not_what_a_header_says(acme: World, settings: dict[str, Any]) -> None:
    async with acme.with_settings(**settings) as client:
        headers = {"X-Tenant-ID": "acme", "X-User-ID": "somebody"}
        for token, actor in ((signed(claims(acme)), "ann"), (signed(claims(acme, sub=None)), "somebody")):
            headers["Authorization"] = f"Bearer {token}"
            made = await client.post("/api/v1/workflows", json=workflow(f"of {actor}"), headers=headers)
            assert made.status_code == 201
    rows = await acme.fetch("SELECT created_by FROM workflow_versions ORDER BY created_at")
    assert [row["created_by"] for row in rows] == ["ann", "somebody"]
    noted = await acme.fetch("SELECT actor, credential FROM audit_log WHERE kind = 'workflow.created' ORDER BY id")
    assert [tuple(row) for row in noted] == [("ann", "token"), ("somebody", "token")]


async def test_roles_and_suspension_hold_for_tokens(acme: World, settings: dict[str, Any]) -> None:
    async with acme.with_settings(**settings) as client:
        for role, status in (("viewer", 403), ("editor", 201)):
            headers = {"X-Tenant-ID": "acme", "Authorization": f"Bearer {signed(claims(acme, role=role))}"}
            made = await client.post("/api/v1/workflows", json=workflow(role), headers=headers)
            assert made.status_code == status
        (row,) = await acme.fetch("SELECT tenant_id FROM tenants WHERE slug = 'acme'")
        await client.post(f"/api/v1/admin/tenants/{row['tenant_id']}/suspend", headers=ADMIN)
        acme.clock.move(1.1)
        assert slug_of(await asked(client, signed(claims(acme)))) == "tenant-suspended"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"jwt_secrets": Secret("short")}, "JWT_SECRETS"), ({"jwt_issuer": ""}, "JWT_ISSUER"),
        ({"jwt_audience": ""}, "JWT_AUDIENCE"), ({"jwt_algorithms": "none"}, "JWT_ALGORITHMS"),
        ({"jwt_algorithms": "RS256"}, "JWT_ALGORITHMS"),
    ],
)  # fmt: skip
def test_settings_that_would_open_the_door_are_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(OperatorError, match=named):
        token_rules(load_settings({}, **{**NAMES, "jwt_secrets": Secret(SECRET), **wrong}))


@pytest.mark.parametrize(
    ("address", "is_good"),
    [
        ("https://id.example.com/keys", True), ("/etc/keys.json", True), ("http://127.0.0.1:9/keys", True),
        ("http://id.example.com/keys", False), ("http://127.0.0.1.example.com/", False), ("ftp://x/", False),
        ("HTTP://id.example.com", False),
    ],
)  # fmt: skip
def test_keys_come_from_a_file_or_over_tls(address: str, is_good: bool) -> None:
    environment = {"SIGNALBOX_JWT_JWKS": address}
    if is_good:
        assert load_settings(environment).jwt_jwks == address
        return
    with pytest.raises(OperatorError, match="SIGNALBOX_JWT_JWKS"):
        load_settings(environment)
