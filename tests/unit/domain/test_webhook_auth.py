"""The `auth` of a webhook trigger: what is taken, and every fault by its path without the secret."""

import base64
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from libs.common.domain.trigger import WebhookConfig
from libs.common.domain.webhook_auth import AUTH_TYPES, credential_header, credential_parameter, secret_field
from libs.common.domain.webhook_auth_validation import auth_faults
from tests.senders import KEY, SENDERS, b64, public_bytes


def pem(key: Any) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


RSA, P256, P384 = (
    pem(key)
    for key in (
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
    )
)
HEX, ED_PEM, WHPK = public_bytes(KEY).hex(), pem(KEY), "whpk_" + b64(public_bytes(KEY))
STANDARD = "whsec_" + b64(bytes(24))
GOOD: list[dict[str, Any]] = [
    {"type": "none"}, {"type": "bearer"}, {"type": "bearer", "token": "12345678"}, {"type": "api_key"},
    {"type": "api_key", "header": "X-Key"}, {"type": "api_key", "query": "key"}, {"type": "basic", "username": "me"},
    {"type": "hmac", "algorithm": "sha384", "encoding": "base64url", "id_header": "X-Id"},
    {"type": "hmac", "signed_content": "v0:{timestamp}:{id}:{body}", "timestamp_header": "X-T", "id_header": "X-Id"},
    {"type": "jwt"}, {"type": "jwt", "algorithm": "RS256", "public_key": RSA, "issuer": "me", "audience": "you"},
    {"type": "jwt", "algorithm": "ES256", "public_keys": [P256]},
    {"type": "jwt", "algorithm": "ES384", "public_key": P384},
    {"type": "jwt", "algorithm": "EdDSA", "public_key": ED_PEM}, {"type": "ed25519", "public_key": HEX},
    {"type": "ed25519", "public_keys": [ED_PEM, b64(public_bytes(KEY))]}, {"type": "mtls", "subjects": ["CN=partner"]},
    {"type": "mtls", "spki_sha256": ["0" * 64], "header": "X-Cert"}, {"type": "standard_webhooks", "secret": STANDARD},
    {"type": "standard_webhooks", "public_key": WHPK}, {"type": "gitlab", "signed": True, "secret": STANDARD},
    *[{**sender.auth} for sender in SENDERS.values()],
    *[sender.auth_with(sender.secret) for sender in SENDERS.values()],
]  # fmt: skip


@pytest.mark.parametrize("auth", GOOD)
def test_what_is_right_is_taken_and_is_its_own_type(auth: dict[str, Any]) -> None:
    assert auth_faults(auth, "auth") == []
    typed = msgspec.convert({"auth": auth}, WebhookConfig).auth
    assert type(typed) is AUTH_TYPES[auth["type"]]


def test_every_type_is_among_them() -> None:
    assert {auth["type"] for auth in GOOD} == set(AUTH_TYPES)


@pytest.mark.parametrize(
    ("auth", "paths"),
    [
        ("none", ["auth"]), ({}, ["auth.type"]), ({"type": "magic"}, ["auth.type"]), ({"type": 5}, ["auth.type"]),
        ({"type": "none", "secret": "long-enough"}, ["auth.secret"]),
        ({"type": "bearer", "token": "short"}, ["auth.token"]), ({"type": "basic"}, ["auth.username"]),
        ({"type": "basic", "username": "a:b", "password": "short"}, ["auth.username", "auth.password"]),
        ({"type": "api_key", "header": "a b", "query": "a b"}, ["auth.header", "auth.query"]),
        ({"type": "hmac", "algorithm": "md5", "encoding": "utf-8"}, ["auth.algorithm", "auth.encoding"]),
        ({"type": "hmac", "signed_content": "{timestamp}.{id}"}, ["auth.signed_content"] * 3),
        ({"type": "hmac", "tolerance_seconds": 0}, ["auth.tolerance_seconds"]),
        ({"type": "jwt", "algorithm": "none"}, ["auth.algorithm"]),
        ({"type": "jwt", "algorithm": "RS256"}, ["auth.public_key"]),
        ({"type": "jwt", "algorithm": "RS256", "public_key": P256}, ["auth.public_key"]),
        ({"type": "jwt", "algorithm": "ES256", "public_keys": [P256, P384]}, ["auth.public_keys[1]"]),
        ({"type": "jwt", "algorithm": "ES256", "public_key": P256, "secret": "long-enough"}, ["auth.secret"]),
        ({"type": "jwt", "public_key": RSA}, ["auth.public_key"]),
        ({"type": "ed25519"}, ["auth.public_key"]), ({"type": "ed25519", "public_key": "00"}, ["auth.public_key"]),
        ({"type": "ed25519", "public_key": RSA}, ["auth.public_key"]), ({"type": "discord"}, ["auth.public_key"]),
        ({"type": "mtls"}, ["auth"]), ({"type": "mtls", "spki_sha256": ["AB"]}, ["auth.spki_sha256[0]"]),
        ({"type": "standard_webhooks", "secret": "whsec_short"}, ["auth.secret"]),
        ({"type": "standard_webhooks", "public_key": HEX}, ["auth.public_key"]),
        ({"type": "standard_webhooks", "public_key": WHPK, "secret": STANDARD}, ["auth.secret"]),
        ({"type": "gitlab", "signed": True, "secret": "not base64!"}, ["auth.secret"]),
        ({"type": "github", "secret": 5, "extra": 1}, ["auth.extra", "auth.secret"]),
    ],
)  # fmt: skip
def test_every_fault_has_its_path(auth: Any, paths: list[str]) -> None:
    assert sorted(fault.path for fault in auth_faults(auth, "auth")) == sorted(paths)


@pytest.mark.parametrize("kind", sorted(AUTH_TYPES))
def test_no_fault_quotes_a_secret(kind: str) -> None:
    for field in ("secret", "token", "password"):
        for value in ("canary", "canary-" * 400, ["canary"], {"canary": 1}):
            assert "canary" not in str([fault.message for fault in auth_faults({"type": kind, field: value}, "auth")])


def test_which_field_holds_the_secret() -> None:
    fields = {kind: secret_field({"type": kind}) for kind in AUTH_TYPES}
    assert {kind for kind, field in fields.items() if field is None} == {"none", "ed25519", "mtls", "discord"}
    assert {field for kind, field in fields.items() if kind not in ("bearer", "api_key", "basic")} == {None, "secret"}
    assert (fields["bearer"], fields["api_key"], fields["basic"]) == ("token", "token", "password")
    assert secret_field({"type": "jwt", "algorithm": "RS256"}) is None
    assert secret_field({"type": "standard_webhooks", "public_key": WHPK}) is None
    assert secret_field({"type": []}) is None


def test_where_a_credential_stands_that_must_not_be_kept() -> None:
    def places(**auth: Any) -> tuple[str, str]:
        typed = msgspec.convert({"auth": auth}, WebhookConfig).auth
        return credential_header(typed), credential_parameter(typed)

    assert places(type="api_key", header="X-Key") == ("x-key", "")
    assert places(type="api_key", query="Key") == ("", "Key")
    assert places(type="jwt", header="X-Token") == ("x-token", "")
    assert places(type="github") == ("", "")
    assert (credential_header(None), credential_parameter(None)) == ("", "")


def test_base64_without_padding_is_read_too() -> None:
    bare = "whsec_" + base64.b64encode(bytes(25)).decode().rstrip("=")
    assert auth_faults({"type": "standard_webhooks", "secret": bare}, "auth") == []
