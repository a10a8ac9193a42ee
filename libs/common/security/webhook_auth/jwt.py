"""JSON Web Tokens (RFC 7519) in the compact form of RFC 7515, by one algorithm that the trigger names.

The token's own header chooses nothing: another `alg` (`none` among them) and anything critical (`crit`) is refused. A
token says who calls and until when, and nothing of the body.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from libs.common.domain.faults import is_array
from libs.common.domain.webhook_auth import JwtAlgorithm
from libs.common.security.signatures import decode_digest
from libs.common.security.webhook_auth.scheme import (
    BAD_TOKEN,
    MISSING_TOKEN,
    SIGNATURE,
    TIMESTAMP,
    SignedCall,
    Verdict,
    parse_object,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

Check: TypeAlias = Callable[[bytes, bytes], bool]
"""Whether a signature is one of a content."""

_HASHES = {"256": "sha256", "384": "sha384", "512": "sha512"}
_MOST_CHARACTERS = 16_384
_LAST_TIME = 1e12
_CURVES = {"ES256": ("secp256r1", 32), "ES384": ("secp384r1", 48), "ES512": ("secp521r1", 66)}


class JwtScheme(msgspec.Struct, frozen=True):
    """`checks`: one for each secret or key, in their order; `secrets`: whether they are secrets."""

    algorithm: JwtAlgorithm
    checks: tuple[Check, ...]
    secrets: bool
    issuer: str | None
    audience: str | None
    leeway_seconds: float
    header: str

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """The signature, then the times, then issuer and audience."""
        token = self._token(call)
        if not token:
            return Verdict(MISSING_TOKEN)
        head, payload, signature = _split(token)
        described = parse_object(head)
        if signature is None or described.get("alg") != self.algorithm or "crit" in described:
            return Verdict(SIGNATURE)
        content = token.rpartition(".")[0].encode()
        index = next((index for index, check in enumerate(self.checks) if check(signature, content)), None)
        if index is None:
            return Verdict(SIGNATURE)
        failed = self._failed_claim(parse_object(payload), now.timestamp())
        return Verdict(failed) if failed else Verdict(None, index if self.secrets else None)

    def _token(self, call: SignedCall) -> str:
        value = call.headers.get(self.header, "")
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            return token.strip()
        return "" if self.header == "authorization" else value.strip()

    def _failed_claim(self, claims: dict[str, Any], now: float) -> str | None:
        until, since = _time(claims.get("exp")), _time(claims.get("nbf", 0))
        made = _time(claims.get("iat", 0))
        if until is None or since is None or made is None:
            return TIMESTAMP
        if now >= until + self.leeway_seconds or max(since, made) > now + self.leeway_seconds:
            return TIMESTAMP
        audience: object = claims.get("aud")
        named = audience if is_array(audience) else [audience]
        right = self.issuer in (None, claims.get("iss")) and (self.audience is None or self.audience in named)
        return None if right else BAD_TOKEN

    def __repr__(self) -> str:
        return f"JwtScheme({self.algorithm})"


def secret_checks(algorithm: JwtAlgorithm, secrets: Iterable[bytes]) -> tuple[Check, ...]:
    """Checks by shared secrets, for the algorithms `HS…`."""
    digest = _HASHES[algorithm[2:]]

    def check_by(secret: bytes) -> Check:
        return lambda signature, content: hmac.compare_digest(signature, hmac.digest(secret, content, digest))

    return tuple(check_by(secret) for secret in secrets)


def key_checks(algorithm: JwtAlgorithm, keys: Sequence[str]) -> tuple[Check, ...]:
    """Checks by public keys in PEM; one of another kind than the algorithm's is left out."""
    checks = [_key_check(algorithm, pem) for pem in keys]
    return tuple(check for check in checks if check is not None)


def _key_check(algorithm: JwtAlgorithm, pem: str) -> Check | None:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415 - only users pay for it
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        verify = _verifier(algorithm, load_pem_public_key(pem.strip().encode()))
    except (ValueError, UnsupportedAlgorithm):
        return None
    if verify is None:
        return None

    def check(signature: bytes, content: bytes) -> bool:
        try:
            verify(signature, content)
        except (InvalidSignature, ValueError):
            return False
        return True

    return check


def _verifier(algorithm: JwtAlgorithm, key: PublicKeyTypes) -> Callable[[bytes, bytes], None] | None:
    """What raises for a wrong signature (RFC 7518, 3.3 and 3.4; RFC 8037, 3.1); None for a key of another kind."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils  # noqa: PLC0415

    made = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}.get(algorithm[2:])
    if made is not None and algorithm.startswith("RS") and isinstance(key, rsa.RSAPublicKey):
        return lambda signature, content: key.verify(signature, content, padding.PKCS1v15(), made)
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


def _split(token: str) -> tuple[bytes, bytes, bytes | None]:
    """Header, payload and signature; no signature when the token is not of three parts in base64url."""
    parts = token.split(".") if len(token) <= _MOST_CHARACTERS and token.isascii() else []
    decoded = [decode_digest(part, "base64url") for part in parts if "=" not in part]
    if len(parts) != 3 or len(decoded) != 3 or any(part is None for part in decoded):
        return b"", b"", None
    head, payload, signature = decoded
    return head or b"", payload or b"", signature


def _time(value: object) -> float | None:
    """A NumericDate (RFC 7519, 2)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _LAST_TIME else None
