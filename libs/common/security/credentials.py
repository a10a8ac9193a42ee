"""Credentials: how API keys, webhook tokens and secrets are made, kept and compared.

A key is 256 random bits, so a single SHA-256 keeps it safe (a slow hash would cost every request and protect nothing
more). Only the hash is stored; comparing is done in constant time.
"""

import base64
import hashlib
import hmac

import msgspec

API_KEY_PREFIX = "sbk_"
SECRET_PREFIX = "whsec_"  # noqa: S105 - the visible mark of a secret, not one
_SHOWN_CHARACTERS = 12


class ApiKey(msgspec.Struct, frozen=True):
    """A new key: `key` is shown once; `prefix` (to recognise it) and `hash` are kept."""

    key: str
    prefix: str
    hash: bytes

    def __repr__(self) -> str:
        return f"ApiKey({self.prefix}…)"


def new_api_key(random: bytes) -> ApiKey:
    """A key from 32 random bytes."""
    key = API_KEY_PREFIX + _text(random)
    return ApiKey(key, key[:_SHOWN_CHARACTERS], hash_key(key))


def hash_key(key: str) -> bytes:
    """What is stored of a key: SHA-256 of its UTF-8 bytes."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def constant_time_equal(presented: str, expected: str) -> bool:
    """Whether two credentials are the same, in a time that tells nothing of where or how long they differ."""
    return hmac.compare_digest(hash_key(presented), hash_key(expected))


def new_webhook_token(random: bytes) -> str:
    """A token for the address of a webhook."""
    return _text(random)


def new_webhook_secret(random: bytes) -> str:
    """A secret to sign calls with; the whole text, prefix included, is the key."""
    return SECRET_PREFIX + _text(random)


def new_standard_secret(random: bytes) -> str:
    """A secret as Standard Webhooks have it: the prefix and the key in base64."""
    return SECRET_PREFIX + base64.b64encode(random).decode()


def _text(random: bytes) -> str:
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode()
