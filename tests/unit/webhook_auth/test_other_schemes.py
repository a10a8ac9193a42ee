"""Tokens, name and password, Ed25519 as a trigger describes it, and client certificates from a trusted proxy."""

import base64
import hashlib
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.webhook_auth import MtlsAuth
from libs.common.security.webhook_auth.making import Surroundings, make_scheme
from services.webhooks.call import Call
from tests.senders import KEY, OTHER_KEY, b64, public_bytes
from tests.unit.webhook_auth.calls import NOW, verdict

TOKENS = ("new-token", "old-token")


def basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (basic("me", "new-token"), (None, 0)), (basic("me", "old-token"), (None, 1)),
        (basic("me", "other"), ("bad_token", None)), (basic("you", "new-token"), ("bad_token", None)),
        (basic("me", ""), ("bad_token", None)), (basic("", ""), ("bad_token", None)),
        ({"authorization": "Basic §"}, ("bad_token", None)), ({"authorization": "Basic"}, ("missing_token", None)),
        ({"authorization": "Bearer new-token"}, ("missing_token", None)), ({}, ("missing_token", None)),
    ],
)  # fmt: skip
def test_name_and_password(headers: dict[str, str], expected: Any) -> None:
    found = verdict({"type": "basic", "username": "me"}, TOKENS, headers, b"")
    assert (found.failed_check, found.secret_index) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("k=new-token", (None, 0)),
        ("a=1&k=old-token&b=2", (None, 1)),
        ("k=new%2Dtoken", (None, 0)),
        ("k=other", ("bad_token", None)),
        ("K=new-token", ("missing_token", None)),
        ("", ("missing_token", None)),
        ("k=new-token&k=other", ("missing_token", None)),
        ("k=", ("missing_token", None)),
    ],
)
def test_an_api_key_in_the_address(query: str, expected: Any) -> None:
    url = f"https://hooks.example.com/webhooks/x?{query}"
    found = verdict({"type": "api_key", "query": "k"}, TOKENS, {"x-api-key": "new-token"}, b"", url=url)
    assert (found.failed_check, found.secret_index) == expected


KEYS = {"hex": public_bytes(KEY).hex(), "base64": b64(public_bytes(KEY)),
        "PEM": KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()}  # fmt: skip


@pytest.mark.parametrize("form", sorted(KEYS))
def test_ed25519_as_a_trigger_describes_it(form: str) -> None:
    auth = {
        "type": "ed25519", "public_keys": [public_bytes(OTHER_KEY).hex(), KEYS[form]], "header": "X-Sig",
        "encoding": "base64", "prefix": "ed=", "timestamp_header": "X-Ts", "id_header": "X-Id",
    }  # fmt: skip
    stamp, body = str(int(NOW.timestamp())), b"\x00body"
    signature = KEY.sign(b"7." + stamp.encode() + b"." + body)
    headers = {"x-sig": "ed=" + b64(signature), "x-ts": stamp, "x-id": "7"}
    assert verdict(auth, [], headers, body).failed_check is None
    assert verdict(auth, [], headers, body, NOW + timedelta(seconds=301)).failed_check == "timestamp"
    for wrong in ({"x-id": "8"}, {"x-sig": b64(signature)}, {"x-sig": "ed=" + signature.hex()}, {"x-sig": ""}):
        assert verdict(auth, [], headers | wrong, body).failed_check == "signature"
    assert verdict(auth, [], headers | {"x-ts": "x"}, body).failed_check == "timestamp"
    only_other = {**auth, "public_keys": [public_bytes(OTHER_KEY).hex()]}
    assert verdict(only_other, [], headers, body).failed_check == "signature"


CERTIFICATE_KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name(
    [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme, Inc"), x509.NameAttribute(NameOID.COMMON_NAME, "partner")]
)
DER = (
    x509.CertificateBuilder().subject_name(NAME).issuer_name(NAME).public_key(CERTIFICATE_KEY.public_key())
    .serial_number(1).not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=1))
    .sign(CERTIFICATE_KEY, hashes.SHA256()).public_bytes(Encoding.DER)
)  # fmt: skip
PASSED_ON = f":{b64(DER)}:"
SUBJECT = r"CN=partner,O=Acme\, Inc"
SPKI = CERTIFICATE_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def certified(value: str, peer: str = "10.1.2.3", days: int = 0, **auth: Any) -> str | None:
    """What a trigger that trusts proxies in 10.0.0.0/8 says of a call with this header."""
    trusting = Surroundings(trusted_proxies=(ip_network("10.0.0.0/8"),))
    asked = {"type": "mtls", **(auth or {"subjects": [SUBJECT]})}
    scheme = make_scheme(msgspec.convert(asked, MtlsAuth), (), trusting)
    call = Call("POST", "/webhooks/x", "", {"client-cert": value}, "203.0.113.9", peer=peer)
    return scheme.verify(call, b"", NOW + timedelta(days=days)).failed_check


def test_a_certificate_from_the_trusted_proxy_passes() -> None:
    assert certified(PASSED_ON) is None
    assert certified(SUBJECT) is None
    assert certified(PASSED_ON, peer="::ffff:10.1.2.3") is None
    assert certified(PASSED_ON, spki_sha256=[hashlib.sha256(SPKI).hexdigest()]) is None


@pytest.mark.parametrize("peer", ["203.0.113.9", "11.0.0.1", "", "testclient", "::1"])
def test_nobody_else_is_believed(peer: str) -> None:
    assert certified(PASSED_ON, peer=peer) == "certificate"
    assert certified(SUBJECT, peer=peer) == "certificate"


def test_another_certificate_does_not_pass() -> None:
    assert certified(PASSED_ON, subjects=["CN=other"]) == "certificate"
    assert certified(PASSED_ON, spki_sha256=["0" * 64]) == "certificate"
    assert certified(PASSED_ON, days=2) == "certificate"
    assert certified(PASSED_ON, days=-2) == "certificate"
    for value in ("", ":", "::", ":AAAA:", PASSED_ON + ", " + PASSED_ON, PASSED_ON[:-1], "CN=partner", SUBJECT + " x"):
        assert certified(value) == "certificate"


@given(position=st.integers(0, len(DER) - 1), bit=st.integers(0, 7), noise=st.binary(max_size=50))
def test_a_damaged_certificate_raises_nothing(position: int, bit: int, noise: bytes) -> None:
    damaged = DER[:position] + bytes([DER[position] ^ (1 << bit)]) + DER[position + 1 :]
    assert certified(f":{b64(damaged)}:", subjects=["CN=other"]) == "certificate"
    assert certified(f":{b64(noise)}:") == "certificate"
