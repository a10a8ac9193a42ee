"""Stripe: `Stripe-Signature: t=<seconds>,v1=<hex>[,v1=<hex>]` over `{t}.{body}`, the key being the whole `whsec_…`.

After a roll Stripe signs with both secrets, hence several `v1`; `v0` is of test mode only and is ignored (Stripe,
"Verify webhook signatures manually").
"""

import hmac
from datetime import datetime

import msgspec

from libs.common.security.signatures import decode_digest
from libs.common.security.webhook_auth.scheme import (
    MAX_CANDIDATES,
    SIGNATURE,
    TIMESTAMP,
    SignedCall,
    Verdict,
    is_near,
    read_timestamp,
)


class StripeScheme(msgspec.Struct, frozen=True):
    """Stripe's own scheme."""

    secrets: tuple[bytes, ...]
    tolerance_seconds: float

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """Any `v1` by any secret; then the time."""
        given = call.headers.get("stripe-signature", "")
        if not given:
            return Verdict(SIGNATURE)
        items = [item.strip().partition("=") for item in given.split(",")]
        text = next((value for name, _, value in items if name == "t"), "")
        sent = read_timestamp(text)
        if sent is None:
            return Verdict(TIMESTAMP)
        offered = [decode_digest(value, "hex") for name, _, value in items if name == "v1"][:MAX_CANDIDATES]
        for index, secret in enumerate(self.secrets):
            expected = hmac.digest(secret, text.encode() + b"." + body, "sha256")
            if any(hmac.compare_digest(digest, expected) for digest in offered if digest is not None):
                return Verdict(None, index) if is_near(sent, now, self.tolerance_seconds) else Verdict(TIMESTAMP)
        return Verdict(SIGNATURE)

    def __repr__(self) -> str:
        return "StripeScheme(***)"
