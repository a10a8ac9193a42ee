"""What an action with an effect is: a function from a rendered config to an output, told its attempt's idempotency
key.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

import msgspec

from libs.common.domain.execution import Failure
from libs.common.domain.pure_actions import ActionFailed


async def _always() -> bool:
    return True


class Attempt(msgspec.Struct, frozen=True):
    """What an effect may know of its attempt. `idempotency_key` is the same for every attempt of the action;
    `traceparent`: the attempt's own place in the trace; `mask`: for texts that may show a secret; `is_still_ours`: to
    be asked right before anything goes out, for what waits for a connection may be another worker's by then.
    """

    idempotency_key: str
    timeout_seconds: float
    traceparent: str
    tenant_id: UUID
    mask: Callable[[str], str] = str
    is_still_ours: Callable[[], Awaitable[bool]] = _always


async def insist_ours(attempt: Attempt) -> None:
    """Raises `ActionFailed` when another worker has the execution. Nobody hears of it: the journal takes no more."""
    if not await attempt.is_still_ours():
        raise ActionFailed(Failure("lost", "another worker has the execution"))


EffectAction = Callable[[dict[str, Any], Attempt], Awaitable[Any]]
"""Does the effect and returns its output; raises `ActionFailed`."""

Effects = Mapping[str, EffectAction]
"""Action type, aliases included → what it does."""
