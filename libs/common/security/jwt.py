"""JSON Web Tokens (RFC 7519) in the compact form of RFC 7515: taken apart, and checked by a key of ours.

A token chooses nothing: which algorithms count is for who checks it, and a key is of one kind, so a public key never
serves as a shared secret. `none` is no algorithm. Anything critical (`crit`) is refused. Nothing of the payload is
read before the signature is right.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from libs.common.domain.faults import is_array
from libs.common.security.signatures import decode_digest
from libs.common.security.webhook_auth.scheme import parse_object

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

Check: TypeAlias = Callable[[bytes, bytes], bool]
"""Whether a signature is one of a content."""

_HASHES = {"256": "sha256", "384": "sha384", "512": "sha512"}
_MOST_CHARACTERS = 16_384
_LAST_TIME = 1e12
_CURVES = {"ES256": ("secp256r1", 32), "ES384": ("secp384r1", 48), "ES512": ("secp521r1", 66)}


class Token(msgspec.Struct, frozen=True):
    """A token taken apart, not checked. `key_id`: which key its sender says it is signed with."""

    algorithm: str
    key_id: str | None
    content: bytes
    signature: bytes
    payload: bytes

    def claims(self) -> dict[str, Any]:
        """What it says; to be believed only after its signature is checked."""
        return parse_object(self.payload)

    def __repr__(self) -> str:
        return f"Token({self.algorithm})"


class Expected(msgspec.Struct, frozen=True):
    """What the claims must say; None: anything. Times are right within the leeway."""

    issuer: str | None
    audience: str | None
    leeway_seconds: float


def read_token(text: str) -> Token | None:
    """The token; None for what is none, or asks for what we do not understand."""
    parts = text.split(".") if len(text) <= _MOST_CHARACTERS and text.isascii() else []
    decoded = [decode_digest(part, "base64url") for part in parts if "=" not in part]
    if len(parts) != 3 or len(decoded) != 3 or any(part is None for part in decoded):
        return None
    head, payload, signature = (part or b"" for part in decoded)
    described = parse_object(head)
    algorithm: object = described.get("alg")
    key_id: object = described.get("kid")
    if not isinstance(algorithm, str) or "crit" in described or not isinstance(key_id, str | None):
        return None
    return Token(algorithm, key_id, text.rpartition(".")[0].encode(), signature, payload)


def failed_claim(claims: dict[str, Any], expected: Expected, now: float) -> Literal["time", "party"] | None:
    """What is wrong with the claims: the time (`exp`, which must be there, `nbf`, `iat`), or who made it for whom."""
    until, since = _time(claims.get("exp")), _time(claims.get("nbf", 0))
    made, leeway = _time(claims.get("iat", 0)), expected.leeway_seconds
    if until is None or since is None or made is None:
        return "time"
    if now >= until + leeway or max(since, made) > now + leeway:
        return "time"
    audience: object = claims.get("aud")
    named = audience if is_array(audience) else [audience]
    right = expected.issuer in (None, claims.get("iss")) and (expected.audience is None or expected.audience in named)
    return None if right else "party"


def secret_check(algorithm: str, secret: bytes) -> Check | None:
    """A check by a shared secret; None for an algorithm that has none."""
    digest = _HASHES.get(algorithm[2:]) if algorithm.startswith("HS") else None
    if digest is None:
        return None
    return lambda signature, content: hmac.compare_digest(signature, hmac.digest(secret, content, digest))


def key_check(algorithm: str, key: PublicKeyTypes) -> Check | None:
    """A check by a public key; None for a key of another kind than the algorithm's."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - only users pay for it

    verify = _verifier(algorithm, key)
    if verify is None:
        return None

    def check(signature: bytes, content: bytes) -> bool:
        try:
            verify(signature, content)
        except (InvalidSignature, ValueError):
            return False
        return True

    return check


def _verifier(algorithm: str, key: PublicKeyTypes) -> Callable[[bytes, bytes], None] | None:
    """What raises for a wrong signature (RFC 7518, 3.3 to 3.5; RFC 8037, 3.1); None for a key of another kind."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils  # noqa: PLC0415

    made = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}.get(algorithm[2:])
    if made is not None and isinstance(key, rsa.RSAPublicKey):
        paddings = {"RS": padding.PKCS1v15(), "PS": padding.PSS(padding.MGF1(made), made.digest_size)}
        padded = paddings.get(algorithm[:2])
        return padded and (lambda signature, content: key.verify(signature, content, padded, made))
    if algorithm == "EdDSA" and isinstance(key, ed25519.Ed25519PublicKey):
        return key.verify
    curve, size = _CURVES.get(algorithm, ("", 0))
    if made is None or not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != curve:
        return None

    def verify(signature: bytes, content: bytes) -> None:
        if len(signature) != 2 * size:
            raise ValueError("not a signature of this curve")
        halves = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
        key.verify(utils.encode_dss_signature(*halves), content, ec.ECDSA(made))

    return verify


def _time(value: object) -> float | None:
    """A NumericDate (RFC 7519, 2)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _LAST_TIME else None
