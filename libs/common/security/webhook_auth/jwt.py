"""Calls that carry a JSON Web Token, by one algorithm that the trigger names.

The token's own header chooses nothing: another `alg` is refused. A token says who calls and until when, and nothing of
the body.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from libs.common.domain.webhook_auth import JwtAlgorithm
from libs.common.security.jwt import Check, Expected, failed_claim, key_check, read_token, secret_check
from libs.common.security.webhook_auth.scheme import (
    BAD_TOKEN,
    MISSING_TOKEN,
    SIGNATURE,
    TIMESTAMP,
    SignedCall,
    Verdict,
)

_FAILED = {"time": TIMESTAMP, "party": BAD_TOKEN}


class JwtScheme(msgspec.Struct, frozen=True):
    """`checks`: one for each secret or key, in their order; `secrets`: whether they are secrets."""

    algorithm: JwtAlgorithm
    checks: tuple[Check, ...]
    secrets: bool
    expected: Expected
    header: str

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """The signature, then the times, then issuer and audience."""
        text = self._token(call)
        if not text:
            return Verdict(MISSING_TOKEN)
        token = read_token(text)
        if token is None or token.algorithm != self.algorithm:
            return Verdict(SIGNATURE)
        checks = enumerate(self.checks)
        index = next((index for index, check in checks if check(token.signature, token.content)), None)
        if index is None:
            return Verdict(SIGNATURE)
        failed = failed_claim(token.claims(), self.expected, now.timestamp())
        return Verdict(_FAILED[failed]) if failed else Verdict(None, index if self.secrets else None)

    def _token(self, call: SignedCall) -> str:
        value = call.headers.get(self.header, "")
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            return token.strip()
        return "" if self.header == "authorization" else value.strip()

    def __repr__(self) -> str:
        return f"JwtScheme({self.algorithm})"


def secret_checks(algorithm: JwtAlgorithm, secrets: Iterable[bytes]) -> tuple[Check, ...]:
    """Checks by shared secrets, for the algorithms `HS…`."""
    checks = [secret_check(algorithm, secret) for secret in secrets]
    return tuple(check for check in checks if check is not None)


def key_checks(algorithm: JwtAlgorithm, keys: Sequence[str]) -> tuple[Check, ...]:
    """Checks by public keys in PEM; one of another kind than the algorithm's is left out."""
    checks = [_key_check(algorithm, pem) for pem in keys]
    return tuple(check for check in checks if check is not None)


def _key_check(algorithm: JwtAlgorithm, pem: str) -> Check | None:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - only users pay for it
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        return key_check(algorithm, load_pem_public_key(pem.strip().encode()))
    except (ValueError, UnsupportedAlgorithm):
        return None
