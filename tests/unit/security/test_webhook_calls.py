"""A webhook call before it is believed: its head and body within bounds, and each way of saying who is calling."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from libs.common.clock import new_id
from libs.common.domain.trigger import WebhookConfig
from libs.common.domain.webhook_auth import ApiKeyAuth, BearerAuth, HmacAuth, NoAuth, WebhookAuth
from libs.common.errors import MalformedInput, TooLarge
from libs.common.security.signatures import HmacSpec, sign_hmac
from libs.common.security.trigger_secrets import TriggerSecret
from services.webhooks.call import Call, Receive, read_body, read_call
from services.webhooks.checks import authenticate, make_credentials

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADDRESS, TOKEN = "token-of-the-address", "token-of-the-auth"


def scope(*headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    return {"method": "POST", "path": "/webhooks/x", "query_string": b"", "headers": list(headers), **more}


def receiving(*parts: bytes, then_leave: bool = False) -> tuple[Receive, list[bytes]]:
    """What the server hands over, and the parts that nobody has asked for yet."""
    left = list(parts)

    async def receive() -> dict[str, Any]:
        if not left:
            return {"type": "http.disconnect"}
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left) or then_leave}

    return receive, left


def call(**headers: str) -> Call:
    return Call("POST", "/webhooks/x", "", {name.replace("_", "-"): value for name, value in headers.items()}, "")


def test_repeated_headers_are_joined_and_names_are_lower_case() -> None:
    read = read_call(scope((b"X-A", b"1"), (b"x-b", b"caf\xe9"), (b"x-a", b"2")), 1000)
    assert read.headers == {"x-a": "1, 2", "x-b": "caf\xe9"}
    assert (read.header("x-a"), read.header("x-c"), read.ip) == ("1, 2", "", "")


def test_the_head_is_bounded_exactly() -> None:
    headers = ((b"x-a", b"y" * 40), (b"x-b", b"y" * 54))
    assert read_call(scope(*headers, client=("192.0.2.1", 5)), 100).ip == "192.0.2.1"
    with pytest.raises(MalformedInput, match="larger than 99 bytes"):
        read_call(scope(*headers), 99)


@pytest.mark.parametrize(
    "parts", [[b"x" * 10], [b"x" * 4, b"x" * 6], [b"", b"x" * 10], [b"x" * 5, b"", b"x" * 5, b""], [b"x"] * 10]
)
async def test_a_body_is_put_together_up_to_its_bound(parts: Sequence[bytes]) -> None:
    receive, _ = receiving(*parts)
    assert await read_body(call(), receive, 10) == b"x" * 10
    receive, _ = receiving(*parts)
    with pytest.raises(TooLarge):
        await read_body(call(), receive, 9)


async def test_what_is_too_large_is_not_waited_for() -> None:
    receive, left = receiving(*[b"x" * 4] * 100)
    with pytest.raises(TooLarge):
        await read_body(call(), receive, 10)
    assert len(left) == 97
    with pytest.raises(TooLarge):
        await read_body(call(content_length="11"), receive, 10)
    assert len(left) == 97


@pytest.mark.parametrize("length", ["9" * 30, "9" * 10_000, "0011"])
async def test_a_length_beyond_all_numbers_is_too_large(length: str) -> None:
    receive, left = receiving(b"x")
    with pytest.raises(TooLarge):
        await read_body(call(content_length=length), receive, 10)
    assert left == [b"x"]


@pytest.mark.parametrize("length", ["\xb2", "1, 1", "-1", "0x5", "", "1e9", "00000000000000000005"])
async def test_a_length_that_is_no_number_is_not_believed(length: str) -> None:
    receive, _ = receiving(b"hello")
    assert await read_body(call(content_length=length), receive, 10) == b"hello"


@pytest.mark.parametrize("parts", [[], [b"half"]])
async def test_a_caller_who_leaves_sent_no_body(parts: Sequence[bytes]) -> None:
    receive, _ = receiving(*parts, then_leave=True)
    with pytest.raises(MalformedInput, match="closed"):
        await read_body(call(), receive, 10)


def judged(auth: WebhookAuth | None, given: Call, path_token: str | None = None, body: bytes = b"body") -> str | None:
    config = WebhookConfig(auth=auth)
    credentials = make_credentials(config, ADDRESS, (TriggerSecret(new_id(), TOKEN),))
    return authenticate(config, credentials, given, path_token, body, NOW).failed_check


@pytest.mark.parametrize(
    ("auth", "given", "path_token", "failed"),
    [
        (None, call(), ADDRESS, None), (None, call(x_webhook_token=ADDRESS), None, None),
        (None, call(authorization=f"bearer {ADDRESS}"), None, None), (None, call(), None, "missing_token"),
        (None, call(), TOKEN, "bad_token"), (None, call(x_webhook_token=TOKEN), None, "bad_token"),
        (None, call(x_webhook_token=ADDRESS), TOKEN, "bad_token"),
        (None, call(x_webhook_token=f"{ADDRESS}, {ADDRESS}"), None, "bad_token"),
        (None, call(authorization=f"Basic {ADDRESS}"), None, "missing_token"),
        (NoAuth(), call(), None, None), (NoAuth(), call(), ADDRESS, None), (NoAuth(), call(), TOKEN, "bad_token"),
        (BearerAuth(), call(authorization=f"Bearer {TOKEN}"), None, None),
        (BearerAuth(), call(authorization=f"Bearer {TOKEN}"), "wrong", "bad_token"),
        (BearerAuth(), call(), ADDRESS, "missing_token"),
        (BearerAuth(), call(authorization=f"Bearer {ADDRESS}"), None, "bad_token"),
        (BearerAuth(), call(authorization=f"Bearer {TOKEN}x"), None, "bad_token"),
        (ApiKeyAuth(), call(x_api_key=TOKEN), None, None), (ApiKeyAuth(), call(x_api_key=""), None, "missing_token"),
        (ApiKeyAuth(), call(authorization=f"Bearer {TOKEN}"), None, "missing_token"),
        (ApiKeyAuth(header="X-Partner"), call(x_partner=TOKEN), None, None),
        (ApiKeyAuth(header="X-Partner"), call(x_api_key=TOKEN), None, "missing_token"),
        (HmacAuth(), call(), ADDRESS, "signature"),
        (HmacAuth(), call(x_signature_256=TOKEN), None, "signature"),
    ],
)  # fmt: skip
def test_who_is_calling(auth: WebhookAuth | None, given: Call, path_token: str | None, failed: str | None) -> None:
    assert judged(auth, given, path_token) == failed


@pytest.mark.parametrize("auth", [BearerAuth(), ApiKeyAuth()])
def test_a_trigger_without_a_token_lets_nobody_in(auth: WebhookAuth) -> None:
    config = WebhookConfig(auth=auth)
    given = call(authorization="Bearer x", x_api_key="x")
    verdict = authenticate(config, make_credentials(config, ""), given, None, b"", NOW)
    assert verdict.failed_check == "bad_token"


@pytest.mark.parametrize(
    "auth",
    [HmacAuth(), HmacAuth(algorithm="sha512", encoding="base64", prefix="HMAC "),
     HmacAuth(header="X-Sig", timestamp_header="X-Ts", signed_content="{timestamp}|{body}", tolerance_seconds=10)],
)  # fmt: skip
def test_a_signature_is_checked_as_the_trigger_says(auth: HmacAuth) -> None:
    spec = HmacSpec(
        (TOKEN.encode(),), auth.header.lower(), auth.algorithm, auth.encoding, auth.prefix,
        auth.timestamp_header and auth.timestamp_header.lower(), None, auth.content_template,
    )  # fmt: skip
    headers = sign_hmac(spec, b"body", timestamp=str(int(NOW.timestamp()) - 10))
    signed = Call("POST", "/", "", headers, "")
    assert judged(auth, signed) is None
    assert judged(auth, signed, ADDRESS) is None
    assert judged(auth, signed, "wrong") == "bad_token"
    assert judged(auth, signed, body=b"bodY") == "signature"
