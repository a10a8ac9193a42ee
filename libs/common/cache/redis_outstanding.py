"""Counts of what tenants have outstanding, in Redis or Valkey: one hash, and one set of those with a backlog.

Every call is one round trip. After a failure Redis is not asked for a second.
"""

from collections.abc import Collection, Mapping
from time import monotonic
from typing import Any
from uuid import UUID

from libs.common.cache.line import Command, Line
from libs.common.cache.outstanding import Counted

_ANSWER_SECONDS = 0.5
_QUIET_SECONDS = 1.0
_COUNTS = "signalbox:outstanding"
_BACKLOG = "signalbox:backlog"
_TOTAL = b"total"


class RedisOutstanding:
    """See `outstanding.Outstanding`."""

    def __init__(self, url: str) -> None:
        self._line = Line(url)
        self._quiet_until = 0.0

    async def add(
        self, changes: Mapping[UUID, int], watched: Collection[UUID] = (), backlogged: Collection[UUID] = ()
    ) -> Counted | None:
        commands: list[Command] = [("HINCRBY", _COUNTS, tenant.bytes, number) for tenant, number in changes.items()]
        if change := sum(changes.values()):
            commands.append(("HINCRBY", _COUNTS, _TOTAL, change))
        if backlogged:
            commands.append(("SADD", _BACKLOG, *[tenant.bytes for tenant in backlogged]))
        asked = list({*changes, *watched})
        commands.append(("HMGET", _COUNTS, _TOTAL, *[tenant.bytes for tenant in asked]))
        commands.append(("SMEMBERS", _BACKLOG))
        answers = await self._ask(commands)
        if answers is None:
            return None
        (total, *numbers), backlog = answers[-2:]
        return Counted(
            {tenant: _number(number) for tenant, number in zip(asked, numbers, strict=True)}, _number(total),
            frozenset(UUID(bytes=one) for one in backlog),
        )  # fmt: skip

    async def all(self) -> Counted | None:
        answers = await self._ask([("HGETALL", _COUNTS), ("SMEMBERS", _BACKLOG)])
        if answers is None:
            return None
        flat, backlog = answers
        counts = dict(zip(flat[::2], flat[1::2], strict=True))
        total = _number(counts.pop(_TOTAL, None))
        numbers = {UUID(bytes=tenant): _number(number) for tenant, number in counts.items()}
        return Counted(numbers, total, frozenset(UUID(bytes=one) for one in backlog))

    async def forget_backlog(self, tenants: Collection[UUID]) -> None:
        if tenants:
            await self._ask([("SREM", _BACKLOG, *[tenant.bytes for tenant in tenants])])

    async def set(self, counts: Mapping[UUID, int], backlog: Collection[UUID]) -> bool:
        commands: list[Command] = [("MULTI",), ("DEL", _COUNTS, _BACKLOG)]
        if counts:
            fields = [part for tenant, number in counts.items() for part in (tenant.bytes, number)]
            commands.append(("HSET", _COUNTS, _TOTAL, sum(counts.values()), *fields))
        if backlog:
            commands.append(("SADD", _BACKLOG, *[tenant.bytes for tenant in backlog]))
        return await self._ask([*commands, ("EXEC",)]) is not None

    async def close(self) -> None:
        await self._line.close()

    async def _ask(self, commands: list[Command]) -> list[Any] | None:
        if monotonic() < self._quiet_until:
            return None
        try:
            return await self._line.ask(commands, _ANSWER_SECONDS)
        except (OSError, TimeoutError):
            self._quiet_until = monotonic() + _QUIET_SECONDS
            return None


def _number(stored: bytes | None) -> int:
    """Below zero is what was counted before Redis forgot the rest."""
    return max(0, int(stored or 0))
