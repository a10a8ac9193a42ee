"""Counts of what tenants have outstanding, in Redis or Valkey: one hash, and one set of those with a backlog.

Every call is one round trip. After a failure Redis is not asked for a second.
"""

import asyncio
from collections.abc import Collection, Mapping
from time import monotonic
from typing import Any
from uuid import UUID

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from libs.common.cache.outstanding import Counted

_ANSWER_SECONDS = 0.5
_QUIET_SECONDS = 1.0
_AWAY = (RedisError, OSError, TimeoutError)
_COUNTS = "signalbox:outstanding"
_BACKLOG = "signalbox:backlog"
_TOTAL = b"total"


class RedisOutstanding:
    """See `outstanding.Outstanding`."""

    def __init__(self, url: str) -> None:
        self._redis: Any = redis.asyncio.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
            url, socket_connect_timeout=1.0, socket_timeout=1.0, retry=Retry(NoBackoff(), 0), max_connections=4
        )
        self._quiet_until = 0.0

    async def add(
        self, changes: Mapping[UUID, int], watched: Collection[UUID] = (), backlogged: Collection[UUID] = ()
    ) -> Counted | None:
        pipeline = self._redis.pipeline(transaction=False)
        for tenant, number in changes.items():
            pipeline.hincrby(_COUNTS, tenant.bytes, number)
        if change := sum(changes.values()):
            pipeline.hincrby(_COUNTS, _TOTAL, change)
        if backlogged:
            pipeline.sadd(_BACKLOG, *[tenant.bytes for tenant in backlogged])
        asked = list({*changes, *watched})
        pipeline.hmget(_COUNTS, _TOTAL, *[tenant.bytes for tenant in asked])
        pipeline.smembers(_BACKLOG)
        answers = await self._ask(pipeline)
        if answers is None:
            return None
        (total, *numbers), backlog = answers[-2:]
        return Counted(
            {tenant: _number(number) for tenant, number in zip(asked, numbers, strict=True)}, _number(total),
            frozenset(UUID(bytes=one) for one in backlog),
        )  # fmt: skip

    async def all(self) -> Counted | None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hgetall(_COUNTS)
        pipeline.smembers(_BACKLOG)
        answers = await self._ask(pipeline)
        if answers is None:
            return None
        counts, backlog = answers
        total = _number(counts.pop(_TOTAL, None))
        numbers = {UUID(bytes=tenant): _number(number) for tenant, number in counts.items()}
        return Counted(numbers, total, frozenset(UUID(bytes=one) for one in backlog))

    async def forget_backlog(self, tenants: Collection[UUID]) -> None:
        if tenants:
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.srem(_BACKLOG, *[tenant.bytes for tenant in tenants])
            await self._ask(pipeline)

    async def set(self, counts: Mapping[UUID, int], backlog: Collection[UUID]) -> bool:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.delete(_COUNTS, _BACKLOG)
        if counts:
            numbers = {tenant.bytes: number for tenant, number in counts.items()}
            pipeline.hset(_COUNTS, mapping={**numbers, _TOTAL: sum(counts.values())})
        if backlog:
            pipeline.sadd(_BACKLOG, *[tenant.bytes for tenant in backlog])
        return await self._ask(pipeline) is not None

    async def close(self) -> None:
        await self._redis.aclose()

    async def _ask(self, pipeline: Any) -> list[Any] | None:
        if monotonic() < self._quiet_until:
            return None
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await pipeline.execute()
        except _AWAY:
            self._quiet_until = monotonic() + _QUIET_SECONDS
            return None


def _number(stored: bytes | None) -> int:
    """Below zero is what was counted before Redis forgot the rest."""
    return max(0, int(stored or 0))
