"""What an action with an effect is: a function from a rendered config to an output, told its attempt's idempotency
key.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

import msgspec


class Attempt(msgspec.Struct, frozen=True):
    """What an effect may know of its attempt. `idempotency_key` is the same for every attempt of the action;
    `traceparent`: the attempt's own place in the trace; `mask`: for texts that may show a secret.
    """

    idempotency_key: str
    timeout_seconds: float
    traceparent: str
    tenant_id: UUID
    mask: Callable[[str], str] = str


EffectAction = Callable[[dict[str, Any], Attempt], Awaitable[Any]]
"""Does the effect and returns its output; raises `ActionFailed`."""

Effects = Mapping[str, EffectAction]
"""Action type, aliases included → what it does."""
