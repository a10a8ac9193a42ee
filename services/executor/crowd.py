"""Whether several tenants are served here in these seconds, and who goes first then.

A tenant that is alone is served in large batches, which is cheapest. As soon as another one comes, what goes by the
bulk lane is begun and recorded in small pieces, one in a turn of the event loop; and while something of the prompt lane
is being begun, the next piece waits for it, though not for long: prompt work without end must not stop the rest.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from uuid import UUID

_SHARED_SECONDS = 2.0
"""So long after another tenant came."""
_PATIENCE_SECONDS = 0.01
"""So long waits a piece for those ahead of it."""


class Crowd:
    """What one executor knows of who is about."""

    def __init__(self) -> None:
        self._last: UUID | None = None
        self._shared_until = 0.0
        self._ahead = 0
        self._calm = asyncio.Event()
        self._calm.set()

    def note(self, tenant_id: UUID) -> None:
        """Something of the tenant has come."""
        if tenant_id != self._last:
            if self._last is not None:
                self._shared_until = asyncio.get_running_loop().time() + _SHARED_SECONDS
            self._last = tenant_id

    @property
    def is_shared(self) -> bool:
        """Whether more than one tenant is about."""
        return asyncio.get_running_loop().time() < self._shared_until

    @contextmanager
    def ahead(self) -> Generator[None]:
        """Within the block something is begun that others let pass."""
        self._ahead += 1
        self._calm.clear()
        try:
            yield
        finally:
            self._ahead -= 1
            if not self._ahead:
                self._calm.set()

    async def let_pass(self) -> None:
        """Returns when nothing is ahead any more, or after a short while."""
        if not self._calm.is_set():
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._calm.wait()
            except TimeoutError:
                return
