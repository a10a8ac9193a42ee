"""Shared texts: no check at all, a bearer token, an API key in a header or the address, name and password, and the
token that GitLab sends.

Each of several valid ones will do (rotation). What a caller presents is compared as a whole, in constant time.
"""

import base64
import binascii
from datetime import datetime
from urllib.parse import parse_qsl

import msgspec

from libs.common.security.webhook_auth.scheme import PASSED, SignedCall, Verdict, compare


class OpenScheme(msgspec.Struct, frozen=True):
    """Everybody may call."""

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """Always passes."""
        return PASSED


class BearerScheme(msgspec.Struct, frozen=True):
    """`Authorization: Bearer <token>` (RFC 6750)."""

    tokens: tuple[str, ...]

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """Compare the token."""
        return compare(bearer_token(call), self.tokens)

    def __repr__(self) -> str:
        return "BearerScheme(***)"


class HeaderScheme(msgspec.Struct, frozen=True):
    """The token as the whole value of a header (lower-case name)."""

    tokens: tuple[str, ...]
    header: str

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """Compare the header."""
        return compare(call.headers.get(self.header, ""), self.tokens)

    def __repr__(self) -> str:
        return f"HeaderScheme({self.header})"


class QueryScheme(msgspec.Struct, frozen=True):
    """The token as a parameter of the address. One that stands there twice is none."""

    tokens: tuple[str, ...]
    parameter: str

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """Compare the parameter."""
        values = [value for name, value in parse_qsl(call.query, keep_blank_values=True) if name == self.parameter]
        return compare(values[0] if len(values) == 1 else "", self.tokens)

    def __repr__(self) -> str:
        return f"QueryScheme({self.parameter})"


class BasicScheme(msgspec.Struct, frozen=True):
    """`Authorization: Basic <base64 of name:password>` (RFC 7617, in UTF-8)."""

    username: str
    passwords: tuple[str, ...]

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """Compare name and password together, so that a wrong name costs the same."""
        scheme, _, encoded = call.headers.get("authorization", "").partition(" ")
        presented = _decoded(encoded.strip()) if scheme.lower() == "basic" else ""
        return compare(presented, [f"{self.username}:{password}" for password in self.passwords])

    def __repr__(self) -> str:
        return "BasicScheme(***)"


def bearer_token(call: SignedCall) -> str:
    """The token of an `Authorization: Bearer …` header; empty if there is none."""
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _decoded(text: str) -> str:
    """What stands in a Basic header; something that matches nothing when it can't be read."""
    if not text:
        return ""
    try:
        return base64.b64decode(text.encode("latin-1"), validate=True).decode()
    except (binascii.Error, ValueError):
        return "\0"
