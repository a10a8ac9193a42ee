"""Generic HMAC over the raw bytes: what was signed passes, and nothing else."""

import base64
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
"""With the key `key` the digests of this text stand in many places (Wikipedia, "HMAC", examples)."""

STANDARD = HmacSpec(
    secrets=(base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),), header="webhook-signature",
    encoding="base64", prefix="v1,", timestamp_header="webhook-timestamp", id_header="webhook-id",
    signed_content="{id}.{timestamp}.{body}",
)  # fmt: skip
"""Standard Webhooks, with the secret of its examples."""


def failed(body: bytes, headers: dict[str, str], spec: HmacSpec, now: datetime = NOW) -> str | None:
    return verify_hmac(body, headers, spec, now).failed_check


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [
        ("sha1", "de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9"),
        ("sha256", "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"),
        (
            "sha384",
            "d7f4727e2c0b39ae0f1e40cc96f60242d5b7801841cea6fc592c5d3e1ae50700582a96cf35e1e554995fe4e03381c237",
        ),
        (
            "sha512",
            "b42af09057bac1e2d41708e48a902e09b5ff7f12ab428a4fe86653c73dd248fb82f948a549f7b791a5b41915ee4d1ec3935357e4e2"
            "317250d0372afa2ebeeb3a",
        ),
    ],
)
def test_published_digests(algorithm: str, digest: str) -> None:
    spec = msgspec.structs.replace(SPEC, algorithm=algorithm)
    assert failed(FOX, {"x-signature-256": digest}, spec) is None
    assert failed(FOX, {"x-signature-256": digest.upper()}, spec) is None
    assert failed(FOX + b".", {"x-signature-256": digest}, spec) == "signature"


def test_rfc_4231_case_2() -> None:
    spec = HmacSpec(secrets=(b"Jefe",), encoding="base64")
    headers = {"x-signature-256": "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="}
    assert failed(b"what do ya want for nothing?", headers, spec) is None


def test_as_github_signs() -> None:
    spec = HmacSpec(secrets=(b"It's a Secret to Everybody",), header="x-hub-signature-256", prefix="sha256=")
    digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert failed(b"Hello, World!", {"x-hub-signature-256": f"sha256={digest}"}, spec) is None
    assert failed(b"Hello, World!", {"x-hub-signature-256": f"sha1={digest}"}, spec) == "signature"
    assert failed(b"Hello, World!", {"x-hub-signature-256": digest}, spec) == "signature"


def test_as_slack_signs() -> None:
    spec = HmacSpec(
        secrets=(b"8f742231b10e8888abcd99yyyzzz85a5",), header="x-slack-signature", prefix="v0=",
        timestamp_header="x-slack-request-timestamp", signed_content="v0:{timestamp}:{body}",
    )  # fmt: skip
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name="
        b"foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F"
        b"hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015."
        b"47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = {
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }
    assert failed(body, headers, spec, datetime.fromtimestamp(1531420618, UTC)) is None


@pytest.mark.parametrize(
    "signature",
    [
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        "v1a,bm9uc2Vuc2U= v1,bm9uc2Vuc2U= v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        "v1,bm9uc2Vuc2U=, v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ],
    ids=["one", "list", "repeated header"],
)
def test_as_standard_webhooks_sign(signature: str) -> None:
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": signature,
    }
    then = datetime.fromtimestamp(1614265330, UTC)
    assert failed(b'{"test": 2432232314}', headers, STANDARD, then) is None
    assert failed(b'{"test": 2432232314}', {**headers, "webhook-id": "msg_other"}, STANDARD, then) == "signature"


@given(
    st.binary(max_size=300), st.sampled_from(["sha1", "sha256", "sha384", "sha512"]),
    st.sampled_from(["hex", "base64", "base64url"]), st.sampled_from(["", "sha256=", "v1,", "HMAC-SHA256 ", "a b, c "]),
)  # fmt: skip
def test_what_is_signed_passes_and_nothing_near_it_does(
    body: bytes, algorithm: str, encoding: str, prefix: str
) -> None:
    spec = msgspec.structs.replace(SPEC, algorithm=algorithm, encoding=encoding, prefix=prefix)
    headers = sign_hmac(spec, body)
    assert failed(body, headers, spec) is None
    other = msgspec.structs.replace(spec, secrets=(b"kez",))
    assert failed(body, headers, other) == "signature"
    assert failed(body + b"\0", headers, spec) == "signature"
    assert failed(body[:-1] if body else b" ", headers, spec) == "signature"


def test_any_of_several_secrets_and_any_of_several_signatures_will_do() -> None:
    rotated = msgspec.structs.replace(SPEC, secrets=(b"new", b"key"))
    good = sign_hmac(SPEC, b"body")["x-signature-256"]
    for given_header in (good, f"{'0' * 64}, {good}", f"{'0' * 64} {good}", f" ,{good}, "):
        assert verify_hmac(b"body", {"x-signature-256": given_header}, rotated, NOW).secret_index == 1
    assert verify_hmac(b"body", sign_hmac(rotated, b"body"), rotated, NOW).secret_index == 0


def test_only_so_many_signatures_are_tried() -> None:
    good = sign_hmac(SPEC, b"body")["x-signature-256"]
    assert failed(b"body", {"x-signature-256": " ".join(["0" * 64] * 9 + [good])}, SPEC) is None
    assert failed(b"body", {"x-signature-256": " ".join(["0" * 64] * 10 + [good])}, SPEC) == "signature"


@pytest.mark.parametrize("header", ["zz", "é" * 64, "0" * 63, "0" * 64, " ", ",", "x" * 100_000, "\ud800", "00 " * 32])
@pytest.mark.parametrize("encoding", ["hex", "base64", "base64url"])
def test_a_header_that_is_no_signature_is_refused(header: str, encoding: str) -> None:
    spec = msgspec.structs.replace(SPEC, encoding=encoding)
    assert failed(b"body", {"x-signature-256": header}, spec) == "signature"


@pytest.mark.parametrize("headers", [{}, {"x-signature-256": ""}, {"x-signature": "0" * 64}])
def test_a_call_without_the_header_is_refused(headers: dict[str, str]) -> None:
    assert failed(b"body", headers, SPEC) == "signature"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, None), (-300, None), (300, None), (-301, "timestamp"), (301, "timestamp")],
)
def test_the_timestamp_must_be_near(seconds: int, expected: str | None) -> None:
    headers = sign_hmac(STAMPED, b"body", timestamp=STAMP)
    assert failed(b"body", headers, STAMPED, NOW + timedelta(seconds=seconds)) == expected


@pytest.mark.parametrize("stamp", ["", "soon", "-5", "1e9", "1.5", "0x10", " 5", "1" * 13, "١٢٣", "²"])
def test_a_timestamp_that_is_none_is_refused(stamp: str) -> None:
    headers = {**sign_hmac(STAMPED, b"body", timestamp=STAMP), "x-ts": stamp}
    assert failed(b"body", headers, STAMPED) == "timestamp"


def test_the_timestamp_is_signed_with_the_body() -> None:
    headers = sign_hmac(STAMPED, b"body", timestamp=STAMP)
    moved = {**headers, "x-ts": str(int(STAMP) + 1)}
    assert failed(b"body", moved, STAMPED) == "signature"


@given(st.binary(max_size=60))
def test_a_body_that_names_the_parts_is_only_a_body(body: bytes) -> None:
    for trick in (b"{body}", b"{timestamp}", b"v0:{timestamp}:{body}" + body):
        headers = sign_hmac(STAMPED, trick, timestamp=STAMP)
        assert failed(trick, headers, STAMPED) is None
        assert failed(trick.replace(b"{timestamp}", STAMP.encode()) + b".", headers, STAMPED) == "signature"
