"""What the gateway is made of, and what a handler knows of its request."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from libs.common.accept import Acceptor
from libs.common.clock import Clock
from libs.common.db.pool import Database
from libs.common.security.encryption import Vault
from libs.common.settings import Settings
from services.gateway.limiting import GatewayLimits


@dataclass(frozen=True, slots=True)
class GatewayParts:
    """Everything that the gateway needs, opened by whoever starts it; `limits` is its own."""

    settings: Settings
    database: Database
    acceptor: Acceptor
    vault: Vault
    clock: Clock
    limits: GatewayLimits = field(init=False)

    def __post_init__(self) -> None:
        limits = GatewayLimits(self.settings, self.database, self.clock)
        object.__setattr__(self, "limits", limits)  # the way of frozen ones


class Caller(msgspec.Struct, frozen=True):
    """Who asks: the tenant, the role of the credential, its API key if it is one, the tenant's own user if named, the
    scopes that confine it (None: all that the role allows), and how the audit log names the credential.
    """

    tenant_id: UUID
    role: str
    key_id: UUID | None
    actor: str | None
    scopes: Sequence[str] | None
    credential: str
