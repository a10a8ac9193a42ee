"""Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature: v1,<base64> v1a,<base64> …` over
`{id}.{timestamp}.{body}`; Svix calls the headers `svix-…`.

`v1` is HMAC-SHA256 by a secret (`whsec_` and the key in base64), `v1a` Ed25519 by a public key (`whpk_` and the key in
base64). A trigger has the one or the other, and looks at signatures of that kind only (Standard Webhooks, "Verifying
webhook authenticity").
"""

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from libs.common.security.signatures import decode_digest
from libs.common.security.webhook_auth.ed25519 import Keys, verify_any
from libs.common.security.webhook_auth.scheme import (
    MAX_CANDIDATES,
    SIGNATURE,
    TIMESTAMP,
    SignedCall,
    Verdict,
    is_near,
    read_timestamp,
)

SECRET_PREFIX = "whsec_"  # noqa: S105 - the visible mark of a secret, not one
KEY_PREFIX = "whpk_"


class _Signed(msgspec.Struct, frozen=True):
    """What stands in the headers of a call, and what was signed."""

    sent: int
    content: bytes
    signatures: Mapping[str, tuple[bytes, ...]]


class StandardScheme(msgspec.Struct, frozen=True):
    """`v1`, by shared secrets."""

    secrets: tuple[bytes, ...]
    tolerance_seconds: float

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """Any `v1` by any secret; then the time."""
        signed = _read(call.headers, body)
        if isinstance(signed, Verdict):
            return signed
        for index, secret in enumerate(self.secrets):
            expected = hmac.digest(secret, signed.content, "sha256")
            if any(hmac.compare_digest(digest, expected) for digest in signed.signatures["v1"]):
                near = is_near(signed.sent, now, self.tolerance_seconds)
                return Verdict(None, index) if near else Verdict(TIMESTAMP)
        return Verdict(SIGNATURE)

    def __repr__(self) -> str:
        return "StandardScheme(***)"


class StandardKeyScheme(msgspec.Struct, frozen=True):
    """`v1a`, by public keys."""

    keys: Keys
    tolerance_seconds: float

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """Any `v1a` by any key; then the time."""
        signed = _read(call.headers, body)
        if isinstance(signed, Verdict):
            return signed
        if not verify_any(self.keys, signed.signatures["v1a"], signed.content):
            return Verdict(SIGNATURE)
        return Verdict() if is_near(signed.sent, now, self.tolerance_seconds) else Verdict(TIMESTAMP)


def standard_secrets(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """The keys behind the texts; one that is none (no trigger with it is accepted) lets nobody in."""
    return tuple(key for text in secrets if (key := _key(text)))


def _key(text: str) -> bytes:
    encoded = text.removeprefix(SECRET_PREFIX).rstrip("=")
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _read(headers: Mapping[str, str], body: bytes) -> _Signed | Verdict:
    """The signed parts of a call, or what is missing. The two families of names do not mix."""
    family = "webhook" if "webhook-signature" in headers else "svix"
    given, identifier = headers.get(f"{family}-signature", ""), headers.get(f"{family}-id", "")
    text = headers.get(f"{family}-timestamp", "")
    if not given or not identifier:
        return Verdict(SIGNATURE)
    sent = read_timestamp(text)
    if sent is None:
        return Verdict(TIMESTAMP)
    # A repeated header is joined by a comma and a space.
    offered = [item.strip(" ,").partition(",") for item in given.split(" ")][:MAX_CANDIDATES]
    digests = [(version, decode_digest(encoded, "base64")) for version, _, encoded in offered]
    signatures = {
        wanted: tuple(digest for version, digest in digests if version == wanted and digest is not None)
        for wanted in ("v1", "v1a")
    }
    return _Signed(sent, f"{identifier}.{text}.".encode("utf-8", "surrogatepass") + body, signatures)
