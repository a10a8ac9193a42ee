"""Signatures over webhook calls: generic HMAC, checked over the raw bytes in constant time.

Which algorithm counts is the trigger's choice, never the caller's. Several secrets may be valid at once (rotation).
"""

import base64
import binascii
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

import msgspec

from libs.common.domain.webhook_auth import Algorithm, Encoding
from libs.common.security.webhook_auth.scheme import (
    MAX_CANDIDATES,
    SIGNATURE,
    TIMESTAMP,
    Verdict,
    is_near,
    read_timestamp,
)

_TO_BASE64 = str.maketrans("-_", "+/")


class SignedContent(Protocol):
    """Of what a signature is made besides the body, and how old it may be. Header names are lower-case."""

    @property
    def timestamp_header(self) -> str | None: ...
    @property
    def id_header(self) -> str | None: ...
    @property
    def signed_content(self) -> str: ...
    @property
    def tolerance_seconds(self) -> float: ...


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


def verify_hmac(raw_body: bytes, headers: Mapping[str, str], spec: HmacSpec, now: datetime) -> Verdict:
    """Check the signature of a call. `headers` by lower-case name; `now` is compared with the timestamp header, if
    any.
    """
    offered = offered_signatures(headers, spec.header, spec.prefix, spec.encoding)
    content = signed_content(raw_body, headers, spec)
    if not offered:
        return Verdict(SIGNATURE)
    if content is None:
        return Verdict(TIMESTAMP)
    for index, secret in enumerate(spec.secrets):
        expected = hmac.digest(secret, content, spec.algorithm)
        if any(hmac.compare_digest(digest, expected) for digest in offered):
            return Verdict(None, index) if is_fresh(headers, spec, now) else Verdict(TIMESTAMP)
    return Verdict(SIGNATURE)


def sign_hmac(spec: HmacSpec, raw_body: bytes, *, timestamp: str = "", message_id: str = "") -> dict[str, str]:
    """The headers that a sender adds, signed with the first secret."""
    headers: dict[str, str] = {}
    if spec.timestamp_header is not None:
        headers[spec.timestamp_header] = timestamp
    if spec.id_header is not None:
        headers[spec.id_header] = message_id
    digest = hmac.digest(spec.secrets[0], _filled(raw_body, headers, spec), spec.algorithm)
    return {**headers, spec.header: spec.prefix + _encode(digest, spec.encoding)}


def is_fresh(headers: Mapping[str, str], spec: SignedContent, now: datetime) -> bool:
    """Whether the timestamp, if the call must have one, is near enough."""
    if spec.timestamp_header is None:
        return True
    sent = read_timestamp(headers.get(spec.timestamp_header, ""))
    return sent is not None and is_near(sent, now, spec.tolerance_seconds)


def offered_signatures(headers: Mapping[str, str], header: str, prefix: str, encoding: Encoding) -> list[bytes]:
    """The signatures in a header: one, or several separated by commas or spaces, whichever the prefix lacks."""
    given = headers.get(header, "")
    for separator in ", ":
        if separator not in prefix:
            given = given.replace(separator, "\n")
    texts = [text for part in given.split("\n") if (text := part.strip(" ,"))][:MAX_CANDIDATES]
    digests = [decode_digest(text[len(prefix) :], encoding) for text in texts if text.startswith(prefix)]
    return [digest for digest in digests if digest is not None]


def signed_content(raw_body: bytes, headers: Mapping[str, str], spec: SignedContent) -> bytes | None:
    """The bytes that were signed; None when the timestamp among them is missing or is none."""
    if spec.timestamp_header is not None and read_timestamp(headers.get(spec.timestamp_header, "")) is None:
        return None
    return _filled(raw_body, headers, spec)


def _filled(raw_body: bytes, headers: Mapping[str, str], spec: SignedContent) -> bytes:
    if spec.signed_content == "{body}":
        return raw_body
    head, body, tail = spec.signed_content.partition("{body}")
    return _fill(head, headers, spec) + (raw_body if body else b"") + _fill(tail, headers, spec)


def _fill(text: str, headers: Mapping[str, str], spec: SignedContent) -> bytes:
    timestamp = headers.get(spec.timestamp_header, "") if spec.timestamp_header else ""
    identifier = headers.get(spec.id_header, "") if spec.id_header else ""
    return text.replace("{timestamp}", timestamp).replace("{id}", identifier).encode("utf-8", "replace")


def decode_digest(text: str, encoding: Encoding) -> bytes | None:
    """A signature as bytes; None for text that is not strictly in that encoding: one value has one spelling, but for
    the case of hex and the padding of base64url.
    """
    try:
        if encoding == "hex":
            return bytes.fromhex(text) if text.isalnum() else None
        if encoding == "base64url":
            text = text.rstrip("=").translate(_TO_BASE64) if not set("+/") & set(text) else "?"
            text += "=" * (-len(text) % 4)
        decoded = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        return None
    return decoded if base64.b64encode(decoded).decode() == text else None


def _encode(digest: bytes, encoding: Encoding) -> str:
    if encoding == "hex":
        return digest.hex()
    if encoding == "base64":
        return base64.b64encode(digest).decode()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
