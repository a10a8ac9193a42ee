"""Secrets at rest: AES-256-GCM under a data key of the tenant, which is sealed under a master key of the installation.

A sealed record is `2 | nonce | ciphertext`; what a master key seals (data keys, and secrets from before there were any)
is `1 | key id | nonce | ciphertext`. The tenant and the record it belongs to are authenticated with it, so a row copied
to another tenant, trigger or name does not open. The first master key seals, all of them open: to change keys, put the
new one in front. Nothing here logs or stores a plaintext.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING
from uuid import UUID

from libs.common.clock import random_token
from libs.common.errors import OperatorError, SignalboxError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = 1
_BY_DATA_KEY = b"\x02"
DATA_KEY = "data key"
"""What data keys are sealed for: a name that no secret can have."""
_NONCE_BYTES = 12
_KEY_BYTES = 32
_VARIABLE = "SIGNALBOX_MASTER_KEYS"
_NAMED = b"secret of a tenant: "


class CannotOpen(SignalboxError):
    """A sealed record that no key of this installation opens: damaged, moved, or its key is gone."""


class Vault:
    """Seals and opens secrets of tenants."""

    def __init__(self, master_keys: str) -> None:
        """`master_keys`: `id:base64(32 bytes)`, comma-separated, the first seals. Raises `OperatorError` naming what
        is wrong.
        """
        self._keys = _parse(master_keys)
        self._sealing_id = next(iter(self._keys), "")
        self._ciphers: dict[str, AESGCM] = {}

    @property
    def sealing_id(self) -> str:
        """The id of the key that seals. Raises `OperatorError` without any master key."""
        if not self._keys:
            raise OperatorError(f"{_VARIABLE}: a key is needed to keep secrets; none is set.")
        return self._sealing_id

    @property
    def sealing_mark(self) -> bytes:
        """What everything begins with that this vault seals now. Raises `OperatorError` without any master key."""
        key_id = self.sealing_id.encode()
        return bytes((_VERSION, len(key_id))) + key_id

    def new_data_key(self, tenant_id: UUID) -> bytes:
        """A fresh data key of a tenant, sealed. Raises `OperatorError` without any master key."""
        return self._seal_by_master(tenant_id, DATA_KEY, random_token(_KEY_BYTES))

    def seal(self, tenant_id: UUID, record_id: UUID | str, plaintext: bytes, data_key: bytes | None = None) -> bytes:
        """The plaintext as a record that opens only for the same tenant and id, or name. Without the tenant's data key
        (sealed) a master key seals. Raises `OperatorError` without any master key, `CannotOpen` for a data key that no
        key of this installation opens.
        """
        if data_key is None:
            return self._seal_by_master(tenant_id, record_id, plaintext)
        nonce = random_token(_NONCE_BYTES)
        sealed = self._data_cipher(tenant_id, data_key).encrypt(
            nonce, plaintext, _BY_DATA_KEY + _owner(tenant_id, record_id)
        )
        return _BY_DATA_KEY + nonce + sealed

    def open(self, tenant_id: UUID, record_id: UUID | str, sealed: bytes, data_key: bytes | None = None) -> bytes:
        """What was sealed. Raises `CannotOpen` when the record is damaged, of another owner or of a key that is not
        loaded, or when the tenant's data key is gone.
        """
        if not sealed.startswith(_BY_DATA_KEY):
            return self._open_by_master(tenant_id, record_id, sealed)
        if data_key is None:
            raise CannotOpen("The data key of this tenant is gone.")
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        cipher = self._data_cipher(tenant_id, data_key)
        return _decrypted(cipher, nonce, ciphertext, _BY_DATA_KEY + _owner(tenant_id, record_id))

    def _seal_by_master(self, tenant_id: UUID, record_id: UUID | str, plaintext: bytes) -> bytes:
        header, nonce = self.sealing_mark, random_token(_NONCE_BYTES)
        sealed = self._cipher(self._sealing_id).encrypt(nonce, plaintext, header + _owner(tenant_id, record_id))
        return header + nonce + sealed

    def _open_by_master(self, tenant_id: UUID, record_id: UUID | str, sealed: bytes) -> bytes:
        header_bytes = 2 + (sealed[1] if len(sealed) > 2 else 0)
        header, nonce = sealed[:header_bytes], sealed[header_bytes : header_bytes + _NONCE_BYTES]
        key_id = header[2:].decode("ascii", "replace")
        if not sealed or sealed[0] != _VERSION or key_id not in self._keys:
            raise CannotOpen(f"No master key named {key_id!r} opens this secret.")
        ciphertext = sealed[header_bytes + _NONCE_BYTES :]
        return _decrypted(self._cipher(key_id), nonce, ciphertext, header + _owner(tenant_id, record_id))

    def _data_cipher(self, tenant_id: UUID, data_key: bytes) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - only users of secrets pay

        return AESGCM(self._open_by_master(tenant_id, DATA_KEY, data_key))

    def _cipher(self, key_id: str) -> AESGCM:
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - as above

            cipher = self._ciphers[key_id] = AESGCM(self._keys[key_id])
        return cipher


def _decrypted(cipher: AESGCM, nonce: bytes, ciphertext: bytes, owner: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as above

    try:
        return cipher.decrypt(nonce, ciphertext, owner)
    except (InvalidTag, ValueError):
        raise CannotOpen("This secret is damaged or belongs to another record.") from None


def new_master_key(key_id: str = "1") -> str:
    """A fresh master key in the form that the setting takes."""
    return f"{key_id}:{base64.b64encode(random_token(_KEY_BYTES)).decode()}"


def _owner(tenant_id: UUID, record_id: UUID | str) -> bytes:
    # The prefix alone is longer than any id, so no name reads as one.
    return tenant_id.bytes + (record_id.bytes if isinstance(record_id, UUID) else _NAMED + record_id.encode())


def _parse(master_keys: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for position, part in enumerate(filter(None, (part.strip() for part in master_keys.split(","))), start=1):
        key_id, colon, encoded = part.partition(":")
        if not colon or not key_id.isascii() or not key_id.isalnum() or len(key_id) > 32:
            raise OperatorError(
                f"{_VARIABLE}: key {position} needs an id of up to 32 letters and digits before the colon."
            )
        if key_id in keys:
            raise OperatorError(f"{_VARIABLE}: the id {key_id!r} is there twice.")
        keys[key_id] = _decode(key_id, encoded)
    return keys


def _decode(key_id: str, encoded: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise OperatorError(f"{_VARIABLE}: key {key_id!r} is not base64.") from None
    if len(key) != _KEY_BYTES:
        raise OperatorError(f"{_VARIABLE}: key {key_id!r} has {len(key)} bytes, not {_KEY_BYTES}.")
    return key
