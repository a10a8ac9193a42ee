"""An identity provider for tests: its keys, as it publishes them, and tokens that it signs."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = "a shared secret of more than 32 bytes"
ISSUER, AUDIENCE = "https://id.example.com", "signalbox"
ALGORITHMS = (
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
KEYS: dict[str, Any] = {
    "rsa": rsa.generate_private_key(65537, 2048), "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()), "p521": ec.generate_private_key(ec.SECP521R1()),
    "ed": ed25519.Ed25519PrivateKey.generate(),
}  # fmt: skip
_OF = {"R": "rsa", "P": "rsa", "ES256": "p256", "ES384": "p384", "ES512": "p521", "EdDSA": "ed"}
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_SIZES = {"p256": 32, "p384": 48, "p521": 66}


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def key_name(algorithm: str) -> str:
    """Which key signs by the algorithm; nothing for a shared secret."""
    return _OF.get(algorithm, _OF.get(algorithm[0], ""))


def pem(name: str) -> bytes:
    return KEYS[name].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwk(name: str, **more: Any) -> dict[str, Any]:
    """The public half of a key, as it is published; `kid` is its name."""
    key = KEYS[name].public_key()
    if name == "ed":
        raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"kty": "OKP", "crv": "Ed25519", "kid": name, "x": encoded(raw), **more}
    numbers = key.public_numbers()
    if name == "rsa":
        size = (numbers.n.bit_length() + 7) // 8
        return {"kty": "RSA", "kid": name, "n": encoded(numbers.n.to_bytes(size)), "e": "AQAB", **more}
    size, curve = _SIZES[name], f"P-{name[1:]}"
    x, y = encoded(numbers.x.to_bytes(size)), encoded(numbers.y.to_bytes(size))
    return {"kty": "EC", "crv": curve, "kid": name, "x": x, "y": y, **more}


def jwks(names: Iterable[str] = tuple(KEYS)) -> bytes:
    return json.dumps({"keys": [jwk(name) for name in names]}).encode()


def signature_of(algorithm: str, content: bytes, secret: bytes = SECRET.encode()) -> bytes:
    made, name = _HASHES.get(algorithm[2:], hashes.SHA256()), key_name(algorithm)
    if algorithm.startswith("HS"):
        return hmac.new(secret, content, getattr(hashlib, f"sha{algorithm[2:]}")).digest()
    if algorithm.startswith("RS"):
        return KEYS["rsa"].sign(content, padding.PKCS1v15(), made)
    if algorithm.startswith("PS"):
        return KEYS["rsa"].sign(content, padding.PSS(padding.MGF1(made), made.digest_size), made)
    if algorithm == "EdDSA":
        return KEYS["ed"].sign(content)
    halves = decode_dss_signature(KEYS[name].sign(content, ec.ECDSA(made)))
    return b"".join(half.to_bytes(_SIZES[name]) for half in halves)


def signed(claims: Any, algorithm: str = "RS256", *, secret: bytes = SECRET.encode(), **head: Any) -> str:
    """A token; `head` replaces what its header would say."""
    given = {"alg": algorithm, "typ": "JWT", "kid": key_name(algorithm), **head}
    header = {name: value for name, value in given.items() if value not in (None, "")}
    content = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    return f"{content}.{encoded(signature_of(algorithm, content.encode(), secret))}"
