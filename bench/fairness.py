"""How much one tenant feels of another: A drops 20 000 executions at once while B runs one every 100 ms; and how evenly
a thousand tenants with equal backlogs are served.

A's executions are made by events that start twenty workflows each, so that they are there at once and cost the doors
little: what is measured is the way from the row to the end. Four rounds of each, the best of A's totals.
"""

import asyncio
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp
import asyncpg

from bench.following import percentile, sample, warm_up
from bench.installation import WORKFLOW, Hook, Installation, Tenant, installation, make_tenant, servers
from libs.common.clock import new_id
from libs.common.db.migrate import migrate

_FLOOD_WORKFLOWS = 20
_FLOOD_EVENTS = 1_000
_EVENTS_A_REQUEST = 100
_FLOOD = _FLOOD_WORKFLOWS * _FLOOD_EVENTS
_ALONE_CALLS = 300
_PER_SECOND = 10
_MOST_CALLS = 1_200
_ROUNDS = 4
_LOOK_SECONDS = 0.003
"""Looking more often would be a load of its own."""

_TENANTS = 1_000
_EACH = 40
"""Executions of each tenant; it is looked when half of all have ended."""

_ENDED_OF = """
SELECT count(*) FROM executions
 WHERE tenant_id = (SELECT tenant_id FROM tenants WHERE slug = $1) AND finished_at IS NOT NULL
"""
_IS_OPEN = """
SELECT EXISTS (SELECT FROM executions WHERE wake_at IS NOT NULL AND tenant_id = $1)
    OR EXISTS (SELECT FROM executions WHERE worker IS NOT NULL AND tenant_id = $1)
"""
_CROWD = """
WITH tenant AS (
    INSERT INTO tenants (tenant_id, slug, name)
    SELECT gen_random_uuid(), 'share-' || n, 'share' FROM generate_series(1, $1::int) n RETURNING tenant_id),
workflow AS (
    INSERT INTO workflows (tenant_id, id, name, enabled, version)
    SELECT tenant_id, gen_random_uuid(), 'share', true, 1 FROM tenant RETURNING tenant_id, id),
version AS (
    INSERT INTO workflow_versions (tenant_id, workflow_id, version, definition)
    SELECT tenant_id, id, 1, $2::json FROM workflow)
INSERT INTO executions (tenant_id, id, workflow_id, version, trigger_type, input, wake_at, queue_rank)
SELECT w.tenant_id, ($3::uuid[])[(row_number() OVER ())::int], w.id, 1, 'manual', '{}', 'infinity', now()
  FROM workflow w, generate_series(1, $4::int)
"""
_SHARES = """
SELECT t.slug, count(e.id) AS number
  FROM tenants t LEFT JOIN executions e ON e.tenant_id = t.tenant_id AND e.finished_at IS NOT NULL
 WHERE t.slug LIKE 'share-%' GROUP BY t.slug
"""
_ENDED_SHARES = """
SELECT count(*) FROM executions e JOIN tenants t ON t.tenant_id = e.tenant_id
 WHERE t.slug LIKE 'share-%' AND e.finished_at IS NOT NULL
"""


async def measure(folder: Path) -> dict[str, float]:
    """All figures of this part, by dotted name."""
    async with servers(folder) as environment:
        await migrate(environment["SIGNALBOX_DATABASE_URL"])
        async with installation(folder, environment) as running:
            quiet = await (await make_tenant(running.services)).hook(WORKFLOW)
            noisy = await _noisy(await make_tenant(running.services, "crowd"))
            await warm_up(running, quiet)
            await _flood(running, noisy, _FLOOD_EVENTS // 10)
            figures = await _side_by_side(running, noisy, quiet)
            return figures | await _shares(running)


async def _noisy(tenant: Tenant) -> Tenant:
    """The tenant, with workflows that each event starts."""
    for number in range(_FLOOD_WORKFLOWS):
        trigger = {"key": "flood", "type": "event", "config": {"event": "flood"}}
        actions = [
            {
                "key": "set",
                "type": "set_variables",
                "config": {"values": {"who": "{{ event.data.id }}", "sum": "{{ event.data.amount * 2 }}"}},
            },
            *WORKFLOW["actions"][1:],
        ]
        await tenant.store({"name": f"flood {number}", "triggers": [trigger], "actions": actions})
    return tenant


async def _side_by_side(running: Installation, noisy: Tenant, quiet: Hook) -> dict[str, float]:
    _, alone = await sample(running, quiet, _ALONE_CALLS, _PER_SECOND, _LOOK_SECONDS)
    together: list[float] = []
    totals: list[float] = []
    totals_alone: list[float] = []
    for _ in range(_ROUNDS):
        totals_alone.append(await _flood(running, noisy, _FLOOD_EVENTS))
        flood = asyncio.ensure_future(_flood(running, noisy, _FLOOD_EVENTS))
        together += (await sample(running, quiet, _MOST_CALLS, _PER_SECOND, _LOOK_SECONDS, flood))[1]
        totals.append(await flood)
    return {
        "fairness.alone_p50_ms": percentile(alone, 50),
        "fairness.alone_p99_ms": percentile(alone, 99),
        "fairness.beside_p50_ms": percentile(together, 50),
        "fairness.beside_p99_ms": percentile(together, 99),
        "fairness.beside_calls": len(together),
        "fairness.p99_ratio": percentile(together, 99) / percentile(alone, 99),
        "fairness.flood_per_s": _FLOOD / min(totals_alone),
        "fairness.total_ratio": min(totals) / min(totals_alone),
    }


async def _flood(running: Installation, noisy: Tenant, events: int) -> float:
    """Seconds from the first request until everything that the events have started has ended."""
    connection = await asyncpg.connect(running.dsn)
    before = await connection.fetchval(_ENDED_OF, "crowd")
    tenant_id = await connection.fetchval("SELECT tenant_id FROM tenants WHERE slug = 'crowd'")
    body = {"events": [{"type": "flood", "data": {"id": "c-1", "amount": 12050}}] * _EVENTS_A_REQUEST}
    started = perf_counter()

    async def send(session: aiohttp.ClientSession) -> None:
        async with session.post(f"{noisy.gateway}/events", json=body, headers=noisy.headers) as response:
            assert response.status == 202, await response.text()

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*[send(session) for _ in range(events // _EVENTS_A_REQUEST)])
    async with asyncio.timeout(120):
        while await connection.fetchval(_IS_OPEN, tenant_id):
            await asyncio.sleep(0.1)
    elapsed = perf_counter() - started
    ended = await connection.fetchval(_ENDED_OF, "crowd") - before
    await connection.close()
    if ended != events * _FLOOD_WORKFLOWS:
        raise RuntimeError(f"{ended} of {events * _FLOOD_WORKFLOWS} executions have ended")
    return elapsed


async def _shares(running: Installation) -> dict[str, float]:
    """The greatest distance of a tenant's share from the mean, in percent of it, when half of all have ended."""
    connection: Any = await asyncpg.connect(running.dsn)
    definition = '{"name":"share","actions":[{"key":"end","type":"log","config":{"message":"done"}}]}'
    ids = [new_id() for _ in range(_TENANTS * _EACH)]
    await connection.execute(_CROWD, _TENANTS, definition, ids, _EACH)
    started = perf_counter()
    async with asyncio.timeout(120):
        while await connection.fetchval(_ENDED_SHARES) < _TENANTS * _EACH // 2:
            await asyncio.sleep(0.05)
    shares = [row["number"] for row in await connection.fetch(_SHARES)]
    elapsed = perf_counter() - started
    await connection.close()
    mean = sum(shares) / len(shares)
    return {
        "fairness.share_spread_percent": 100 * max(abs(share - mean) for share in shares) / mean,
        "fairness.share_mean": mean,
        "fairness.share_per_s": sum(shares) / elapsed,
    }
