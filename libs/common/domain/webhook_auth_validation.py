"""Faults of the `auth` of a webhook trigger: every one by its path; none of them quotes a secret."""

import base64
import binascii
import re
from typing import Any

from libs.common.domain.faults import is_array, is_object, struct_faults
from libs.common.domain.paths import kind_of
from libs.common.domain.webhook_auth import AUTH_TYPES, secret_field, wants_standard_secret
from libs.common.errors import Fault

_WEAK_SECRET = 8
"""A shared secret shorter than this many characters is refused."""
_STANDARD_SECRET = "whsec_"  # noqa: S105 - the visible mark of a secret, not one
_STANDARD_KEY = "whpk_"
_STANDARD_BYTES = range(24, 65)
"""How long the key of a Standard Webhook may be (its specification, "Signature scheme")."""
_PEM = re.compile(r"\s*-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*")
_ED25519 = bytes.fromhex("06032b6570")
_KEY_MARKS = {
    "R": bytes.fromhex("06092a864886f70d010101"),
    "ES256": bytes.fromhex("06072a8648ce3d0201" "06082a8648ce3d030107"),
    "ES384": bytes.fromhex("06072a8648ce3d0201" "06052b81040022"),
    "ES512": bytes.fromhex("06072a8648ce3d0201" "06052b81040023"),
    "EdDSA": _ED25519,
}  # fmt: skip
"""How the algorithm of a public key is written in it (RFC 5480, RFC 8017, RFC 8410)."""


def auth_faults(auth: object, path: str) -> list[Fault]:
    """Every fault of an `auth`."""
    if not is_object(auth):
        return [Fault(path, f"must be an object, not {kind_of(auth)}")]
    kind = auth.get("type")
    if not isinstance(kind, str):
        return [Fault(f"{path}.type", f"must be one of {', '.join(AUTH_TYPES)}")]
    if kind not in AUTH_TYPES:
        return [Fault(f"{path}.type", f"must be one of {', '.join(AUTH_TYPES)}, not {kind[:64]!r}")]
    faults = struct_faults(auth, AUTH_TYPES[kind], path, skip=("type",))
    field = secret_field(auth)
    for name in ("secret", "token", "password"):
        value = auth.get(name)
        if isinstance(value, str) and value and name in ("token", "password", field):
            faults += secret_faults(auth, value, f"{path}.{name}")
    if faults:
        return faults
    return _content_faults(auth, path) + _key_faults(auth, path) + _unused_faults(auth, path)


def secret_faults(auth: dict[str, Any], secret: str, path: str) -> list[Fault]:
    """What is wrong with a secret that this `auth` is to have."""
    if len(secret) < _WEAK_SECRET:
        return [Fault(path, f"must have at least {_WEAK_SECRET} characters")]
    if wants_standard_secret(auth) and len(_decoded(secret.removeprefix(_STANDARD_SECRET))) not in _STANDARD_BYTES:
        return [Fault(path, "must be whsec_ and 24 to 64 bytes in base64")]
    return []


def _content_faults(auth: dict[str, Any], path: str) -> list[Fault]:
    """The signed content must hold the body, and timestamp and id exactly when there is a header for them."""
    content = auth.get("signed_content")
    if content is None:
        return []
    faults: list[Fault] = []
    if content.count("{body}") != 1:
        faults.append(Fault(f"{path}.signed_content", "must hold {body} once"))
    for name in ("timestamp", "id"):
        if (f"{{{name}}}" in content) != (auth.get(f"{name}_header") is not None):
            faults.append(Fault(f"{path}.signed_content", f"{name}_header and {{{name}}} go together"))
    return faults


def _key_faults(auth: dict[str, Any], path: str) -> list[Fault]:
    """Public keys are there where they are needed, and are what the algorithm needs."""
    kind, several = auth["type"], auth.get("public_keys")
    places = {"public_key": auth.get("public_key")}
    places |= {f"public_keys[{index}]": key for index, key in enumerate(several if is_array(several) else [])}
    keys = {place: key for place, key in places.items() if key is not None}
    needed = kind in ("ed25519", "discord") or (kind == "jwt" and secret_field(auth) is None)
    if needed and not keys:
        return [Fault(f"{path}.public_key", "is required")]
    if keys and kind == "jwt" and not needed:
        return [Fault(f"{path}.{place}", f"{auth.get('algorithm', 'HS256')} has a secret") for place in keys]
    wrong = {place: _key_fault(auth, key) for place, key in keys.items()}
    return [Fault(f"{path}.{place}", message) for place, message in wrong.items() if message is not None]


def _key_fault(auth: dict[str, Any], key: str) -> str | None:
    pem = _PEM.fullmatch(key)
    der = _decoded("".join(pem[1].split())) if pem is not None else b""
    match auth["type"]:
        case "jwt":
            algorithm: str = auth["algorithm"]
            fits = _KEY_MARKS["R" if algorithm[0] in "RP" else algorithm] in der[:64]
            return None if fits else f"must be a public key for {algorithm}, in PEM (BEGIN PUBLIC KEY)"
        case "standard_webhooks":
            fits = len(_decoded(key.removeprefix(_STANDARD_KEY))) == 32
            return None if fits else "must be whpk_ and 32 bytes in base64"
        case _:
            fits = _ED25519 in der[:16] or re.fullmatch("[0-9a-fA-F]{64}", key) or len(_decoded(key)) == 32
            return None if fits else "must be an Ed25519 public key: 32 bytes in hex or base64, or PEM"


def _unused_faults(auth: dict[str, Any], path: str) -> list[Fault]:
    """What was given and would never be looked at, or what is missing so that nobody could call."""
    if auth["type"] in ("jwt", "standard_webhooks") and secret_field(auth) is None and auth.get("secret") is not None:
        return [Fault(f"{path}.secret", "goes not together with a public key")]
    if auth["type"] == "mtls" and not auth.get("subjects") and not auth.get("spki_sha256"):
        return [Fault(path, "needs subjects or spki_sha256")]
    return []


def _decoded(text: str) -> bytes:
    """Base64 with or without padding; nothing for what is none."""
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""
