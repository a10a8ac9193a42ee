"""What the gateway is made of, and what a handler knows of its request."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from libs.common.accept import Acceptor
from libs.common.clock import Clock
from libs.common.db.pool import Database
from libs.common.security.encryption import Vault
from libs.common.settings import Settings


@dataclass(frozen=True, slots=True)
class GatewayParts:
    """Everything that the gateway needs, opened by whoever starts it."""

    settings: Settings
    database: Database
    acceptor: Acceptor
    vault: Vault
    clock: Clock


class Caller(msgspec.Struct, frozen=True):
    """Who asks: the tenant, the role of the credential, its API key if it is one, the tenant's own user if named, and
    the scopes that confine it; None: all that the role allows.
    """

    tenant_id: UUID
    role: str
    key_id: UUID | None
    actor: str | None
    scopes: Sequence[str] | None = None
