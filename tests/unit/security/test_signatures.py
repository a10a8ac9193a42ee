"""Generic HMAC over the raw bytes: what was signed passes, and nothing else."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.security.signatures import HmacSpec, sign_hmac, verify_hmac

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
SPEC = HmacSpec(secrets=(b"key",))
STAMPED = HmacSpec(
    secrets=(b"key",), header="x-sig", prefix="v0=", timestamp_header="x-ts", signed_content="v0:{timestamp}:{body}"
)

FOX = b"The quick brown fox jumps over the lazy dog"
"""With the key `key` the digests of this text stand in RFC-style vectors everywhere (Wikipedia, "HMAC", examples)."""


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [
        ("sha1", "de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9"),
        ("sha256", "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"),
        (
            "sha512",
            "b42af09057bac1e2d41708e48a902e09b5ff7f12ab428a4fe86653c73dd248fb82f948a549f7b791a5b41915ee4d1ec3935357e4e2"
            "317250d0372afa2ebeeb3a",
        ),
    ],
)
def test_published_digests(algorithm: str, digest: str) -> None:
    spec = msgspec.structs.replace(SPEC, algorithm=algorithm)
    assert verify_hmac(FOX, {"x-signature-256": digest}, spec, NOW).failed_check is None
    assert verify_hmac(FOX, {"x-signature-256": digest.upper()}, spec, NOW).failed_check is None
    assert verify_hmac(FOX + b".", {"x-signature-256": digest}, spec, NOW).failed_check == "bad_signature"


@given(
    st.binary(max_size=300), st.sampled_from(["sha1", "sha256", "sha384", "sha512"]),
    st.sampled_from(["hex", "base64", "base64url"]), st.sampled_from(["", "sha256=", "v1,"]),
)  # fmt: skip
def test_what_is_signed_passes_and_nothing_near_it_does(
    body: bytes, algorithm: str, encoding: str, prefix: str
) -> None:
    prefix = prefix.replace(",", "=")
    spec = msgspec.structs.replace(SPEC, algorithm=algorithm, encoding=encoding, prefix=prefix)
    headers = sign_hmac(spec, body)
    assert verify_hmac(body, headers, spec, NOW).failed_check is None
    other = msgspec.structs.replace(spec, secrets=(b"kez",))
    assert verify_hmac(body, headers, other, NOW).failed_check == "bad_signature"
    assert verify_hmac(body + b"\0", headers, spec, NOW).failed_check == "bad_signature"


def test_any_of_several_secrets_and_any_of_several_signatures_will_do() -> None:
    rotated = msgspec.structs.replace(SPEC, secrets=(b"new", b"key"))
    good = sign_hmac(SPEC, b"body")["x-signature-256"]
    assert verify_hmac(b"body", {"x-signature-256": f"{'0' * 64}, {good}"}, rotated, NOW).secret_index == 1


@pytest.mark.parametrize(
    ("header", "failed"),
    [("", "missing_signature"), ("zz", "bad_signature"), ("é" * 64, "bad_signature"), ("0" * 63, "bad_signature")],
)
def test_a_header_that_is_no_signature_is_refused(header: str, failed: str) -> None:
    assert verify_hmac(b"body", {"x-signature-256": header}, SPEC, NOW).failed_check == failed


@pytest.mark.parametrize(
    ("seconds", "failed"),
    [(0, None), (-299, None), (299, None), (-301, "timestamp_out_of_tolerance"), (301, "timestamp_out_of_tolerance")],
)
def test_the_timestamp_must_be_near(seconds: int, failed: str | None) -> None:
    headers = sign_hmac(STAMPED, b"body", timestamp=STAMP)
    assert verify_hmac(b"body", headers, STAMPED, NOW + timedelta(seconds=seconds)).failed_check == failed


@pytest.mark.parametrize("stamp", ["", "soon", "-5", "1" * 13, "١٢٣"])
def test_a_timestamp_that_is_none_is_refused(stamp: str) -> None:
    headers = {**sign_hmac(STAMPED, b"body", timestamp=STAMP), "x-ts": stamp}
    assert verify_hmac(b"body", headers, STAMPED, NOW).failed_check == "timestamp_missing"


def test_the_timestamp_is_signed_with_the_body() -> None:
    headers = sign_hmac(STAMPED, b"body", timestamp=STAMP)
    moved = {**headers, "x-ts": str(int(STAMP) + 1)}
    assert verify_hmac(b"body", moved, STAMPED, NOW).failed_check == "bad_signature"
