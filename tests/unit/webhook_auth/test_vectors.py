"""Vendors' own published examples."""

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from libs.common.security.jwt import Expected
from libs.common.security.webhook_auth.jwt import JwtScheme, secret_checks
from tests.senders import b64, public_bytes
from tests.unit.webhook_auth.calls import call_of, scheme_of, verdict

TWILIO = {"type": "twilio"}
TWILIO_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
TWILIO_FORM = b"CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309"
FORM: dict[str, Any] = {"content_type": "application/x-www-form-urlencoded; charset=utf-8"}
SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name="
    b"foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F"
    b"hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015."
    b"47445629121.803a0bc887a14d10d2c447fce8b6703c"
)


def twilio(url: str, form: bytes, signature: str, token: str = "12345", **more: Any) -> bool:
    scheme = scheme_of(TWILIO, token, public_url="/".join(url.split("/")[:3]))
    return scheme.verify(call_of({"x-twilio-signature": signature}, url, **more), form, NOW).failed_check is None


NOW = datetime(2026, 11, 21, tzinfo=UTC)


def test_github_validating_webhook_deliveries() -> None:
    headers = {
        "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        "x-hub-signature": "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59",
    }
    secret = "It's a Secret to Everybody"
    assert verdict({"type": "github"}, [secret], headers, b"Hello, World!").failed_check is None
    del headers["x-hub-signature-256"]
    assert verdict({"type": "github"}, [secret], headers, b"Hello, World!").failed_check == "signature"


def test_slack_verifying_requests() -> None:
    headers = {
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }
    then, secret = datetime.fromtimestamp(1531420618, UTC), "8f742231b10e8888abcd99yyyzzz85a5"
    assert verdict({"type": "slack"}, [secret], headers, SLACK_BODY, then).failed_check is None
    assert verdict({"type": "slack"}, [secret], headers, SLACK_BODY).failed_check == "timestamp"


@pytest.mark.parametrize("family", ["webhook", "svix"])
def test_standard_webhooks_v1(family: str) -> None:
    headers = {
        f"{family}-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        f"{family}-timestamp": "1614265330",
        f"{family}-signature": "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= v1a,bm9uc2Vuc2U= "
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    then, secret = datetime.fromtimestamp(1614265330, UTC), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    assert verdict({"type": "standard_webhooks"}, [secret], headers, body, then).failed_check is None
    assert verdict({"type": "gitlab", "signed": True}, [secret], headers, body, then).failed_check is None
    mixed = {**headers, f"{family}-id": "msg_other"}
    assert verdict({"type": "standard_webhooks"}, [secret], mixed, body, then).failed_check == "signature"


def test_standard_webhooks_v1a() -> None:
    seed = base64.b64decode("VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=")
    key = "whpk_" + b64(public_bytes(Ed25519PrivateKey.from_private_bytes(seed)))
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5"
        "WqyeFiL8Ag==",
    }
    auth, then = {"type": "standard_webhooks", "public_key": key}, datetime.fromtimestamp(1614265330, UTC)
    assert verdict(auth, [], headers, b'{"test": 2432232314}', then).failed_check is None
    assert verdict(auth, [], headers, b'{"test": 2432232315}', then).failed_check == "signature"


def test_stripe_as_its_library_signs() -> None:
    """The payload of stripe-python's tests/test_webhook.py."""
    body = (
        b'{\n  "id": "evt_test_webhook",\n  "object": "event",\n'
        b'  "data": { "object": { "id": "rdr_123", "object": "terminal.reader" } }\n}'
    )
    headers = {"stripe-signature": "t=12345,v1=07b1ede164afb7b5de91267ffa656f568c65d6e0783ce0ac55ee094643578eda"}
    then = datetime.fromtimestamp(12345, UTC)
    assert verdict({"type": "stripe"}, ["whsec_test_secret"], headers, body, then).failed_check is None


@pytest.mark.parametrize(
    ("url", "form", "signature"),
    [
        (TWILIO_URL, TWILIO_FORM, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        (TWILIO_URL.replace(".com", ".com:1234"), TWILIO_FORM, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        (TWILIO_URL, TWILIO_FORM, "kvajT1Ptam85bY51eRf/AJRuM3w="),
        (TWILIO_URL.replace("https", "http"), TWILIO_FORM, "0ZXoZLH/DfblKGATFgpif+LLRf4="),
        (TWILIO_URL.replace("https", "http").replace(".com", ".com:1234"), TWILIO_FORM, "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
        (TWILIO_URL, b"Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234", "IK+Dwps556ElfBT0I3Rgjkr1wJU="),
    ],
    ids=["plain", "without the port", "with 443", "with 80", "with its port", "duplicates"],
)
def test_twilio_request_validator(url: str, form: bytes, signature: str) -> None:
    """twilio-python, tests/unit/test_request_validator.py."""
    assert twilio(url, form, signature, **FORM)
    assert not twilio(url, form, signature, token="12346", **FORM)
    assert not twilio(url, form + b"&More=1", signature, **FORM)


def test_twilio_binds_a_body_that_is_no_form() -> None:
    body = b'{"property": "value", "boolean": true}'
    url = TWILIO_URL + "&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
    assert hashlib.sha256(body).hexdigest() in url
    assert twilio(url, body, "a9nBmqA0ju/hNViExpshrM61xv4=")
    assert not twilio(url, body + b" ", "a9nBmqA0ju/hNViExpshrM61xv4=")


def test_rfc_7515_a_1() -> None:
    """The token of RFC 7515, appendix A.1 (HS256), whose key is binary, as the one secret that may be so."""
    key = base64.urlsafe_b64decode(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow=="
    )
    token = (
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
        "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    )
    scheme = JwtScheme("HS256", secret_checks("HS256", [key]), True, Expected("joe", None, 0), "authorization")
    call = call_of({"authorization": f"Bearer {token}"})
    assert scheme.verify(call, b"", datetime.fromtimestamp(1300819379, UTC)).failed_check is None
    assert scheme.verify(call, b"", datetime.fromtimestamp(1300819380, UTC)).failed_check == "timestamp"


def test_rfc_8032_test_3() -> None:
    """RFC 8032, section 7.1, TEST 3."""
    auth = {"type": "ed25519", "public_key": "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"}
    signature = (
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )
    assert verdict(auth, [], {"x-signature-ed25519": signature}, bytes.fromhex("af82")).failed_check is None
    assert verdict(auth, [], {"x-signature-ed25519": signature}, bytes.fromhex("af83")).failed_check == "signature"
