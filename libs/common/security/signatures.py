"""Signatures over webhook calls: generic HMAC, checked over the raw bytes in constant time.

Which algorithm counts is the trigger's choice, never the caller's. Several secrets may be valid at once (rotation).
"""

import base64
import binascii
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

_MAX_CANDIDATES = 10

Algorithm = Literal["sha1", "sha256", "sha384", "sha512"]
Encoding = Literal["hex", "base64", "base64url"]


class HmacSpec(msgspec.Struct, frozen=True):
    """How calls are signed. Header names are lower-case; `signed_content` may hold `{timestamp}`, `{id}` and
    `{body}`.
    """

    secrets: tuple[bytes, ...]
    header: str = "x-signature-256"
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""
    timestamp_header: str | None = None
    id_header: str | None = None
    signed_content: str = "{body}"
    tolerance_seconds: float = 300

    def __repr__(self) -> str:
        return f"HmacSpec({self.header}, {self.algorithm})"


class Verdict(msgspec.Struct, frozen=True):
    """What came of a check: the name of what failed, or None; and which secret matched."""

    failed_check: str | None
    secret_index: int | None = None


def verify_hmac(raw_body: bytes, headers: Mapping[str, str], spec: HmacSpec, now: datetime) -> Verdict:
    """Check the signature of a call. `headers` by lower-case name; `now` is compared with the timestamp header, if
    any.
    """
    given = headers.get(spec.header, "")
    if not given:
        return Verdict("missing_signature")
    stale = _failed_timestamp(headers, spec, now)
    if stale is not None:
        return Verdict(stale)
    candidates = _candidates(given, spec)
    content = _signed_content(raw_body, headers, spec)
    for index, secret in enumerate(spec.secrets):
        expected = hmac.digest(secret, content, spec.algorithm)
        if any(hmac.compare_digest(candidate, expected) for candidate in candidates):
            return Verdict(None, index)
    return Verdict("bad_signature")


def sign_hmac(spec: HmacSpec, raw_body: bytes, *, timestamp: str = "", message_id: str = "") -> dict[str, str]:
    """The headers that a sender adds, signed with the first secret."""
    headers: dict[str, str] = {}
    if spec.timestamp_header is not None:
        headers[spec.timestamp_header] = timestamp
    if spec.id_header is not None:
        headers[spec.id_header] = message_id
    digest = hmac.digest(spec.secrets[0], _signed_content(raw_body, headers, spec), spec.algorithm)
    return {**headers, spec.header: spec.prefix + _encode(digest, spec.encoding)}


def _failed_timestamp(headers: Mapping[str, str], spec: HmacSpec, now: datetime) -> str | None:
    if spec.timestamp_header is None:
        return None
    text = headers.get(spec.timestamp_header, "")
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        return "timestamp_missing"
    away = abs(now.timestamp() - int(text))
    return "timestamp_out_of_tolerance" if away > spec.tolerance_seconds else None


def _candidates(given: str, spec: HmacSpec) -> list[bytes]:
    """The digests that the header offers: one, or several separated by commas or spaces, whichever the prefix lacks."""
    for separator in ", ":
        if separator not in spec.prefix:
            given = given.replace(separator, "\n")
    texts = [text for part in given.split("\n") if (text := part.strip(" ,"))][:_MAX_CANDIDATES]
    digests = [_decode(text[len(spec.prefix) :], spec.encoding) for text in texts if text.startswith(spec.prefix)]
    return [digest for digest in digests if digest is not None]


def _signed_content(raw_body: bytes, headers: Mapping[str, str], spec: HmacSpec) -> bytes:
    if spec.signed_content == "{body}":
        return raw_body
    head, _, tail = spec.signed_content.partition("{body}")
    return (
        _fill(head, headers, spec) + (raw_body if "{body}" in spec.signed_content else b"") + _fill(tail, headers, spec)
    )


def _fill(text: str, headers: Mapping[str, str], spec: HmacSpec) -> bytes:
    timestamp = headers.get(spec.timestamp_header, "") if spec.timestamp_header else ""
    identifier = headers.get(spec.id_header, "") if spec.id_header else ""
    return text.replace("{timestamp}", timestamp).replace("{id}", identifier).encode("utf-8", "replace")


def _decode(text: str, encoding: Encoding) -> bytes | None:
    try:
        if encoding == "hex":
            return bytes.fromhex(text) if text.isalnum() else None
        padded = text + "=" * (-len(text) % 4) if encoding == "base64url" else text
        altchars = b"-_" if encoding == "base64url" else None
        return base64.b64decode(padded.encode("ascii"), altchars=altchars, validate=True)
    except (ValueError, binascii.Error):
        return None


def _encode(digest: bytes, encoding: Encoding) -> str:
    if encoding == "hex":
        return digest.hex()
    if encoding == "base64":
        return base64.b64encode(digest).decode()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
