"""Schemes that sign the address that was called: Twilio and HubSpot.

The address is the one that the sender was given, so it is put together from the installation's public address and
what the call asked for. Without a public address in the settings it is the call's own `Host`, by https or http.
"""

import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime
from urllib.parse import parse_qs, parse_qsl

import msgspec

from libs.common.security.signatures import decode_digest
from libs.common.security.webhook_auth.scheme import (
    SIGNATURE,
    TIMESTAMP,
    SignedCall,
    Verdict,
    is_near,
    read_timestamp,
)

_PORTS = {"https": 443, "http": 80}
_HUBSPOT_DECODED = {
    "%3A": ":", "%2F": "/", "%3F": "?", "%40": "@", "%21": "!", "%24": "$", "%27": "'", "%28": "(", "%29": ")",
    "%2A": "*", "%2C": ",", "%3B": ";",
}  # fmt: skip


class TwilioScheme(msgspec.Struct, frozen=True):
    """`X-Twilio-Signature`: base64 of HMAC-SHA1 over the address and the sorted parameters of a form.

    Of a parameter that comes twice each value counts once. Any other body is bound by `bodySHA256` in the address; a
    body that nothing binds does not pass (Twilio, "Webhooks security").
    """

    secrets: tuple[bytes, ...]
    public_url: str

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """Any form of the address, with and without its port, by any secret."""
        digest = decode_digest(call.headers.get("x-twilio-signature", ""), "base64")
        parameters = _signed_parameters(call, body)
        if digest is None or parameters is None:
            return Verdict(SIGNATURE)
        for url in called_addresses(call, self.public_url):
            for variant in _with_and_without_port(url):
                content = (variant + parameters).encode("utf-8", "surrogatepass")
                for index, secret in enumerate(self.secrets):
                    if hmac.compare_digest(digest, hmac.digest(secret, content, "sha1")):
                        return Verdict(None, index)
        return Verdict(SIGNATURE)

    def __repr__(self) -> str:
        return "TwilioScheme(***)"


class HubSpotScheme(msgspec.Struct, frozen=True):
    """`X-HubSpot-Signature-v3`: base64 of HMAC-SHA256 over method, address, body and `X-HubSpot-Request-Timestamp`
    (milliseconds). In the address some characters are decoded (HubSpot, "Validating requests").
    """

    secrets: tuple[bytes, ...]
    public_url: str
    tolerance_seconds: float

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """Any form of the address by any secret; then the time."""
        text = call.headers.get("x-hubspot-request-timestamp", "")
        digest = decode_digest(call.headers.get("x-hubspot-signature-v3", ""), "base64")
        sent = read_timestamp(text, most_digits=15)
        if not digest:
            return Verdict(SIGNATURE)
        if sent is None:
            return Verdict(TIMESTAMP)
        for url in called_addresses(call, self.public_url):
            head = (call.method + _hubspot_decoded(url)).encode("utf-8", "surrogatepass")
            for index, secret in enumerate(self.secrets):
                if hmac.compare_digest(digest, hmac.digest(secret, head + body + text.encode(), "sha256")):
                    near = is_near(sent / 1000, now, self.tolerance_seconds)
                    return Verdict(None, index) if near else Verdict(TIMESTAMP)
        return Verdict(SIGNATURE)

    def __repr__(self) -> str:
        return "HubSpotScheme(***)"


def called_addresses(call: SignedCall, public_url: str) -> list[str]:
    """The addresses that the sender may have called."""
    tail = call.raw_path + (f"?{call.query}" if call.query else "")
    if public_url:
        return [public_url.rstrip("/") + tail]
    host = call.headers.get("host", "")
    return [f"https://{host}{tail}", f"http://{host}{tail}"]


def _with_and_without_port(url: str) -> Iterable[str]:
    """Twilio signs some calls with the port and some without, whatever was entered."""
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    yield url
    has_port = place.rpartition(":")[2].isdigit()
    other = place.rpartition(":")[0] if has_port else f"{place}:{_PORTS.get(scheme, 443)}"
    yield f"{scheme}://{other}{slash}{path}"


def _signed_parameters(call: SignedCall, body: bytes) -> str | None:
    """What is signed behind the address; None when the body is not bound by the signature."""
    if not body:
        return ""
    bound = parse_qs(call.query).get("bodySHA256", [""])[0]
    if bound:
        digest = decode_digest(bound, "hex")
        matches = digest is not None and hmac.compare_digest(digest, hashlib.sha256(body).digest())
        return "" if matches else None
    if call.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return None
    try:
        values = set(parse_qsl(body.decode(), keep_blank_values=True, errors="strict"))
    except ValueError:
        return None
    return "".join(name + value for name, value in sorted(values))


def _hubspot_decoded(url: str) -> str:
    for encoded, plain in _HUBSPOT_DECODED.items():
        url = url.replace(encoded, plain).replace(encoded.lower(), plain)
    return url
