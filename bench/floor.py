"""The floor: the same durable work as one execution, by bare calls, without a product around it.

For each execution: a row in the log of calls and an execution row (one commit), one confirmed message, three action
rows and one update (one commit). Commits are grouped as the product groups them; there is no HTTP, no template, no
check, no claim.
"""

import asyncio
from time import perf_counter
from typing import Any
from uuid import UUID

import aio_pika
import asyncpg
from uuid_utils.compat import uuid7

_CLIENTS = 64
_BODY = b'{"customer":{"id":"c-1","name":"Ada"},"amount":12050,"items":[1,2,3]}'
_INPUT = '{"method":"POST","url":"/webhooks/x","query":{},"headers":{},"body":' + _BODY.decode() + "}"

_ACCEPT = """
WITH accepted AS (
    INSERT INTO executions (tenant_id, id, workflow_id, version, trigger_type, input, wake_at)
    SELECT $1, e, $1, 1, 'webhook', $3, now() + interval '1 hour' FROM unnest($2::uuid[]) AS e)
INSERT INTO webhook_logs (tenant_id, id, trigger_id, execution_id, outcome, status, method, query, headers, body, ip,
                          user_agent, microseconds)
SELECT $1, e, $1, e, 'accepted', 202, 'POST', '', '{}', $4, '127.0.0.1', 'floor', 100 FROM unnest($2::uuid[]) AS e
"""
_FINISH = """
WITH finished AS (
    UPDATE executions e SET status = 'completed', epoch = 1, wake_at = NULL, executed = 3, total = 3,
           started_at = now(), finished_at = now()
      FROM unnest($2::uuid[]) AS x WHERE e.tenant_id = $1 AND e.id = x)
INSERT INTO action_executions (tenant_id, execution_id, position, attempt, key, type, status, input, output,
                               started_at, finished_at)
SELECT $1, e, position, 1, 'action', 'log', 'completed', $3, $3, now(), now()
  FROM unnest($2::uuid[]) AS e CROSS JOIN generate_series(0, 2) AS position
"""
_SETTINGS = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}


class _Grouped:
    """The least that groups commits: a list, two flushes at a time."""

    def __init__(self, pool: "asyncpg.Pool[Any]", sql: str, *arguments: object) -> None:
        self._pool, self._sql, self._arguments = pool, sql, arguments
        self._waiting: list[tuple[UUID, asyncio.Future[None]]] = []
        self._flushing = 0

    def write(self, identifier: UUID) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((identifier, future))
        if self._flushing < 2:
            self._flushing += 1
            asyncio.ensure_future(self._flush())  # noqa: RUF006 - every waiter holds a future of it
        return future

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:256], self._waiting[256:]
            async with self._pool.acquire() as connection:
                await connection.execute(self._sql, *self._arguments[:1], [i for i, _ in batch], *self._arguments[1:])
            for _, future in batch:
                future.set_result(None)
        self._flushing -= 1


async def measure_floor(dsn: str, amqp_url: str, executions: int) -> float:
    """Executions per second of the bare work, on a migrated database and a running broker."""

    async def no_reset(_connection: Any) -> None:
        return

    pool = await asyncpg.create_pool(dsn, min_size=4, max_size=4, server_settings=_SETTINGS, reset=no_reset)
    bus = await aio_pika.connect(amqp_url)
    channel = await bus.channel(publisher_confirms=True)
    arguments: dict[str, Any] = {"x-queue-type": "quorum"}
    queue = await channel.declare_queue("bench.floor", durable=True, arguments=arguments)
    tenant = uuid7()
    accept = _Grouped(pool, _ACCEPT, tenant, _INPUT, _BODY)
    finish = _Grouped(pool, _FINISH, tenant, '{"amount":12050}')
    numbers = iter(range(executions))

    async def client() -> None:
        for _ in numbers:
            identifier = uuid7()
            await accept.write(identifier)
            message = aio_pika.Message(_INPUT.encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, routing_key=queue.name)
            await finish.write(identifier)

    started = perf_counter()
    await asyncio.gather(*[client() for _ in range(_CLIENTS)])
    elapsed = perf_counter() - started
    await queue.delete(if_unused=False, if_empty=False)
    await bus.close()
    await pool.close()
    return executions / elapsed
