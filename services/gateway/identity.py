"""Who somebody is, however it was shown: an API key, a token, or the word of a trusted proxy."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Generic, Literal, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from libs.common.clock import Clock

_MOST = 10_000

Value = TypeVar("Value")
Means: TypeAlias = Literal["key", "token", "proxy"]
"""An API key, a token of an identity provider, or the word of a trusted proxy."""


class Presented(msgspec.Struct, frozen=True):
    """What of a request says who asks: its headers by lower-case name, and the address at the other end of the
    connection.
    """

    authorization: str | None
    tenant: str | None
    actor: str | None = None
    peer: str = ""
    proxied_tenant: str | None = None
    proxied_user: str | None = None
    proxied_role: str | None = None

    def __repr__(self) -> str:
        return f"Presented({self.tenant}, {self.peer})"


class Identity(msgspec.Struct, frozen=True):
    """Somebody who has shown who they are. `scopes`: None for all that the role allows; `user`: who it is by the
    credential itself, which counts more than `X-User-ID`; `means`: how they have shown it.
    """

    tenant_id: UUID
    tenant_slug: str
    tenant_status: str
    role: str
    key_id: UUID | None = None
    scopes: Sequence[str] | None = None
    user: str | None = None
    means: Means = "key"

    def is_for(self, tenant: str) -> bool:
        """Whether that is the id or the slug of its tenant."""
        return tenant.strip().lower() in (str(self.tenant_id), self.tenant_slug)


class Remembered(Generic[Value]):
    """What was looked up, for so many seconds: as long may a change be overlooked. Bounded."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._keep = clock, timedelta(seconds=seconds)
        self._known: dict[object, tuple[Value, datetime]] = {}

    def get(self, key: object) -> Value | None:
        """What is still known."""
        entry = self._known.get(key)
        return None if entry is None or entry[1] <= self._clock.now() else entry[0]

    def put(self, key: object, value: Value) -> None:
        """Known from now on."""
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[key] = (value, self._clock.now() + self._keep)

    def drop(self, key: object) -> None:
        """Known no more."""
        self._known.pop(key, None)
