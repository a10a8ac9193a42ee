"""Ed25519 (RFC 8032) by public keys: as a trigger describes it, and as Discord documents it.

The keys are no secret: they stand in the definition, several while one takes the place of another. Discord sends wrong
signatures on purpose and removes an address that lets one pass.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from libs.common.domain.webhook_auth import Encoding
from libs.common.security.signatures import is_fresh, offered_signatures, signed_content
from libs.common.security.webhook_auth.scheme import (
    SIGNATURE,
    TIMESTAMP,
    Challenge,
    SignedCall,
    Verdict,
    json_challenge,
    parse_object,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Keys: TypeAlias = "tuple[Ed25519PublicKey, ...]"
_INTERACTION_PING, _EVENT_PING = 1, 0
_LIKELY_PING_BYTES = 16_384
"""A ping names its user and entitlements and is still short: larger bodies are not parsed for one."""


class Ed25519Spec(msgspec.Struct, frozen=True):
    """How calls are signed; as `HmacSpec`."""

    header: str
    encoding: Encoding = "hex"
    prefix: str = ""
    timestamp_header: str | None = None
    id_header: str | None = None
    signed_content: str = "{body}"
    tolerance_seconds: float = 300


class Ed25519Scheme(msgspec.Struct, frozen=True):
    """A signature in a header by any of the keys."""

    keys: Keys
    spec: Ed25519Spec

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """Check the signature, then the time."""
        spec = self.spec
        offered = offered_signatures(call.headers, spec.header, spec.prefix, spec.encoding)
        content = signed_content(body, call.headers, spec)
        if not offered:
            return Verdict(SIGNATURE)
        if content is None:
            return Verdict(TIMESTAMP)
        if not verify_any(self.keys, offered, content):
            return Verdict(SIGNATURE)
        return Verdict() if is_fresh(call.headers, spec, now) else Verdict(TIMESTAMP)


class DiscordScheme(msgspec.Struct, frozen=True):
    """`X-Signature-Ed25519` (hex) over `{X-Signature-Timestamp}{body}`; a PING is answered, that of interactions by
    `{"type": 1}`, that of webhook events by 204 (Discord, "Preparing for interactions", "Webhook events").
    """

    signed: Ed25519Scheme

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """Check signature and time, then look for a PING."""
        verdict = self.signed.verify(call, body, now)
        if verdict.failed_check is not None or len(body) > _LIKELY_PING_BYTES:
            return verdict
        return Verdict(challenge=_answer_ping(parse_object(body)))


def discord(keys: Keys, tolerance_seconds: float) -> DiscordScheme:
    """Discord's scheme with the application's public keys."""
    spec = Ed25519Spec(
        "x-signature-ed25519", timestamp_header="x-signature-timestamp", signed_content="{timestamp}{body}",
        tolerance_seconds=tolerance_seconds,
    )  # fmt: skip
    return DiscordScheme(Ed25519Scheme(keys, spec))


def _answer_ping(value: dict[str, Any]) -> Challenge | None:
    """Interactions and webhook events number their types apart; of these, what is no PING has an `event`."""
    kind: object = value.get("type")
    if isinstance(kind, bool) or not isinstance(kind, int) or "event" in value:
        return None
    if kind == _INTERACTION_PING:
        return json_challenge({"type": _INTERACTION_PING})
    return Challenge(204, "application/json", b"") if kind == _EVENT_PING else None


def verify_any(keys: Keys, signatures: Sequence[bytes], content: bytes) -> bool:
    """Whether any of the signatures is one of the content by any of the keys."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - only users of public keys pay for it

    for key in keys:
        for signature in signatures:
            try:
                key.verify(signature, content)
            except InvalidSignature:
                continue
            return True
    return False


def load_keys(texts: Iterable[str], prefix: str = "") -> Keys:
    """Keys from hex, base64 (after `prefix`) or PEM; one that is none (no trigger with it is accepted) is left out."""
    return tuple(key for text in texts if (key := _load(text, prefix)) is not None)


def _load(text: str, prefix: str) -> Ed25519PublicKey | None:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        if "BEGIN PUBLIC KEY" in text:
            key = load_pem_public_key(text.strip().encode())
            return key if isinstance(key, Ed25519PublicKey) else None
        raw = text.removeprefix(prefix)
        is_hex = not prefix and re.fullmatch("[0-9a-fA-F]{64}", raw)
        padded = raw.rstrip("=") + "=" * (-len(raw.rstrip("=")) % 4)
        key_bytes = bytes.fromhex(raw) if is_hex else base64.b64decode(padded, validate=True)
        return Ed25519PublicKey.from_public_bytes(key_bytes)
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        return None
