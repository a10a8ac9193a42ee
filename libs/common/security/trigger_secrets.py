"""The secrets of one trigger as they are sealed: the one that counts, and until its end the one before it.

They are sealed together under tenant and trigger, so a change of either is one write. What may be shown of them
stands in a table of its own.
"""

from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.security.encryption import Vault


class TriggerSecret(msgspec.Struct, frozen=True):
    """One secret. `valid_until`: None for the one that counts until it is replaced."""

    id: UUID
    value: str
    valid_until: datetime | None = None

    def __repr__(self) -> str:
        return f"TriggerSecret({self.id})"


class _Previous(msgspec.Struct, frozen=True):
    secret: str
    id: UUID
    valid_until: datetime


class _Sealed(msgspec.Struct, frozen=True, omit_defaults=True):
    secret: str
    id: UUID | None = None
    previous: _Previous | None = None


def seal_trigger_secrets(
    vault: Vault,
    tenant_id: UUID,
    trigger_id: UUID,
    current: TriggerSecret,
    previous: TriggerSecret | None = None,
    *,
    data_key: bytes | None = None,
) -> bytes:
    """The secrets sealed; `previous` must have an end; `data_key`: the tenant's. Raises `OperatorError` without any
    master key.
    """
    kept = None
    if previous is not None and previous.valid_until is not None:
        kept = _Previous(previous.value, previous.id, previous.valid_until)
    return vault.seal(tenant_id, trigger_id, msgspec.json.encode(_Sealed(current.value, current.id, kept)), data_key)


def open_trigger_secrets(
    vault: Vault, tenant_id: UUID, trigger_id: UUID, sealed: bytes, data_key: bytes | None = None
) -> tuple[TriggerSecret, ...]:
    """The secrets, the one that counts first; whether the other has ended is the caller's to look at. Raises
    `CannotOpen`.
    """
    opened = msgspec.json.decode(vault.open(tenant_id, trigger_id, sealed, data_key), type=_Sealed)
    # A secret from before secrets had ids goes by the id of its trigger.
    current = TriggerSecret(opened.id or trigger_id, opened.secret)
    if opened.previous is None:
        return (current,)
    previous = opened.previous
    return current, TriggerSecret(previous.id, previous.secret, previous.valid_until)


def shown_prefix(secret: str) -> str:
    """What a secret is recognised by: at most a quarter of it, and never more than ten characters."""
    return secret[: min(10, len(secret) // 4)]
