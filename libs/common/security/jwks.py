"""Sets of public keys as identity providers publish them (RFC 7517).

A key that we cannot use (of another kind, weak, for encryption) is left out, and so is a shared secret (`oct`): what
is published signs nothing. A set that is none is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from libs.common.security.jwt import Check, key_check
from libs.common.security.signatures import decode_digest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

MOST_KEYS = 100
_LEAST_RSA_BITS = 2048
_MOST_RSA_BITS = 8192


class PublishedKey(msgspec.Struct, frozen=True):
    """One key. `id`: its `kid`; `algorithm`: the only one it is for, if it says so."""

    id: str | None
    algorithm: str | None
    key: PublicKeyTypes

    def check(self, algorithm: str) -> Check | None:
        """A check of signatures by this algorithm; None when the key is not for it."""
        return key_check(algorithm, self.key) if self.algorithm in (None, algorithm) else None


class _Key(msgspec.Struct, frozen=True):
    kty: str
    kid: str | None = None
    alg: str | None = None
    use: str | None = None
    crv: str = ""
    n: str = ""
    e: str = ""
    x: str = ""
    y: str = ""


class _Set(msgspec.Struct, frozen=True):
    keys: list[msgspec.Raw]


def read_jwks(document: bytes) -> list[PublishedKey]:
    """The usable keys of a set. Raises `ValueError` when it is none, or has none."""
    try:
        entries = msgspec.json.decode(document, type=_Set).keys
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError("it is no JSON Web Key Set") from None
    read = [_read(bytes(entry)) for entry in entries[:MOST_KEYS]]
    keys = [key for key in read if key is not None]
    if not keys:
        raise ValueError("it has no key that can check a signature")
    return keys


def _read(document: bytes) -> PublishedKey | None:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - only users pay for it

    try:
        given = msgspec.json.decode(document, type=_Key)
        make = _MAKERS.get(given.kty)
        key = make(given) if make is not None and given.use in (None, "sig") else None
    except (msgspec.MsgspecError, ValueError, UnsupportedAlgorithm):
        return None
    return None if key is None else PublishedKey(given.kid, given.alg, key)


def _rsa(given: _Key) -> PublicKeyTypes | None:
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 - as above

    modulus, exponent = _number(given.n), _number(given.e)
    if not _LEAST_RSA_BITS <= modulus.bit_length() <= _MOST_RSA_BITS or exponent.bit_length() > 32:
        return None
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _curve(given: _Key) -> PublicKeyTypes | None:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - as above

    curve = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}.get(given.crv)
    return curve and ec.EllipticCurvePublicNumbers(_number(given.x), _number(given.y), curve).public_key()


def _edwards(given: _Key) -> PublicKeyTypes | None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - as above

    return Ed25519PublicKey.from_public_bytes(_bytes(given.x)) if given.crv == "Ed25519" else None


_MAKERS: Mapping[str, Callable[[Any], PublicKeyTypes | None]] = {"RSA": _rsa, "EC": _curve, "OKP": _edwards}


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text))


def _bytes(text: str) -> bytes:
    decoded = decode_digest(text, "base64url")
    if not decoded:
        raise ValueError("not base64url")
    return decoded
