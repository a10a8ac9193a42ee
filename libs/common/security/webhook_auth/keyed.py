"""HMAC with a shared secret over the raw body: as a trigger describes it, and as GitHub, Shopify, Slack, Zoom and
Linear document theirs.

The vendors differ in header, encoding and what is signed with the body, which is all in an `HmacSpec`; Linear has its
time in the body, Slack and Zoom ask to be answered when an address is entered.
"""

import hmac
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

from libs.common.security.signatures import HmacSpec, verify_hmac
from libs.common.security.webhook_auth.scheme import (
    TIMESTAMP,
    Challenge,
    SignedCall,
    Verdict,
    is_near,
    json_challenge,
    parse_object,
)

Answering: TypeAlias = Callable[[dict[str, Any], bytes], Challenge | None]
"""From a call that has passed, and the secret that it was signed with, to what its sender wants to hear."""

_LIKELY_CHALLENGE_BYTES = 4096
"""A challenge is short: larger bodies are not parsed for one."""
_LAST_TIME = 10**15


class KeyedScheme(msgspec.Struct, frozen=True):
    """`spec`: header, algorithm, secrets; `answering` finds a challenge in a body that holds `mark`."""

    spec: HmacSpec
    answering: Answering | None = None
    mark: bytes = b""

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """Check signature and time, then look for a challenge."""
        verdict = verify_hmac(body, call.headers, self.spec, now)
        if self.answering is None or verdict.secret_index is None:
            return verdict
        if len(body) > _LIKELY_CHALLENGE_BYTES or self.mark not in body:
            return verdict
        challenge = self.answering(parse_object(body), self.spec.secrets[verdict.secret_index])
        return verdict if challenge is None else msgspec.structs.replace(verdict, challenge=challenge)


class LinearScheme(msgspec.Struct, frozen=True):
    """`Linear-Signature`: hex over the raw body, whose `webhookTimestamp` (milliseconds) must be near now."""

    spec: HmacSpec
    tolerance_seconds: float

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """Check the signature, and only then read the time from the body."""
        verdict = verify_hmac(body, call.headers, self.spec, now)
        if verdict.failed_check is not None:
            return verdict
        sent: object = parse_object(body).get("webhookTimestamp", 0)
        near = isinstance(sent, int) and 0 < sent < _LAST_TIME and is_near(sent / 1000, now, self.tolerance_seconds)
        return verdict if near else Verdict(TIMESTAMP)


def github(secrets: Sequence[bytes]) -> KeyedScheme:
    """`X-Hub-Signature-256: sha256=<hex>` (GitHub, "Validating webhook deliveries"); the old SHA-1 one is ignored."""
    return KeyedScheme(HmacSpec(tuple(secrets), "x-hub-signature-256", prefix="sha256="))


def shopify(secrets: Sequence[bytes]) -> KeyedScheme:
    """`X-Shopify-Hmac-SHA256: <base64>` (Shopify, "Verify webhook deliveries")."""
    return KeyedScheme(HmacSpec(tuple(secrets), "x-shopify-hmac-sha256", encoding="base64"))


def slack(secrets: Sequence[bytes], tolerance_seconds: float) -> KeyedScheme:
    """`X-Slack-Signature: v0=<hex>` over `v0:{timestamp}:{body}` (Slack, "Verifying requests from Slack")."""
    spec = HmacSpec(
        tuple(secrets), "x-slack-signature", prefix="v0=", timestamp_header="x-slack-request-timestamp",
        signed_content="v0:{timestamp}:{body}", tolerance_seconds=tolerance_seconds,
    )  # fmt: skip
    return KeyedScheme(spec, _answer_slack, b"url_verification")


def zoom(secrets: Sequence[bytes], tolerance_seconds: float) -> KeyedScheme:
    """`x-zm-signature: v0=<hex>` over `v0:{timestamp}:{body}` (Zoom, "Using webhooks")."""
    spec = HmacSpec(
        tuple(secrets), "x-zm-signature", prefix="v0=", timestamp_header="x-zm-request-timestamp",
        signed_content="v0:{timestamp}:{body}", tolerance_seconds=tolerance_seconds,
    )  # fmt: skip
    return KeyedScheme(spec, _answer_zoom, b"endpoint.url_validation")


def linear(secrets: Sequence[bytes], tolerance_seconds: float) -> LinearScheme:
    """Linear, "Webhooks: securing"."""
    return LinearScheme(HmacSpec(tuple(secrets), "linear-signature"), tolerance_seconds)


def _answer_slack(value: dict[str, Any], _: bytes) -> Challenge | None:
    challenge: object = value.get("challenge")
    asked = value.get("type") == "url_verification" and isinstance(challenge, str)
    return json_challenge({"challenge": challenge}) if asked else None


def _answer_zoom(value: dict[str, Any], secret: bytes) -> Challenge | None:
    payload: object = value.get("payload")
    if value.get("event") != "endpoint.url_validation" or not isinstance(payload, dict):
        return None
    token: object = msgspec.convert(payload, dict[str, Any]).get("plainToken")
    if not isinstance(token, str):
        return None
    return json_challenge({"plainToken": token, "encryptedToken": hmac.digest(secret, token.encode(), "sha256").hex()})
