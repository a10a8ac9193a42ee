"""The scheduler alone: slots a second when very many are due at one instant, lag at a steady rate, and what idle
schedules cost.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import asyncpg

from bench.installation import SERVICES, servers
from libs.common.db.migrate import migrate
from tests.servers import ServiceProcess

_DUE_AT_ONCE = 100_000
_STEADY_SCHEDULES = 1_000
_STEADY_SECONDS = 10
_IDLE_SCHEDULES = 1_000_000
_IDLE_SECONDS = 20

_SCHEDULES = """
WITH tenant AS (
    INSERT INTO tenants (tenant_id, slug, name) VALUES (gen_random_uuid(), $1, $1) RETURNING tenant_id),
workflow AS (
    INSERT INTO workflows (tenant_id, id, name, enabled, version)
    SELECT tenant_id, gen_random_uuid(), $1, true, 1 FROM tenant RETURNING tenant_id, id),
version AS (
    INSERT INTO workflow_versions (tenant_id, workflow_id, version, definition)
    SELECT tenant_id, id, 1, json_build_object('name', $1::text, 'actions', '[]'::json) FROM workflow)
INSERT INTO triggers (tenant_id, id, workflow_id, key, type, config, enabled, next_run_at)
SELECT w.tenant_id, gen_random_uuid(), w.id, 't' || n, 'schedule', $3::json, true,
       $4::timestamptz + make_interval(secs => $5::float8 * n)
  FROM workflow w, generate_series(1, $2::int) n
"""
_SPREAD = """
UPDATE triggers SET next_run_at = at,
       config = json_build_object('type', 'interval', 'seconds', 1, 'anchor',
                                  to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
  FROM (SELECT id AS numbered, $1::timestamptz + make_interval(secs => row_number() OVER () / $2::float8) AS at
          FROM triggers) AS x
 WHERE id = numbered
"""
_TRANSACTIONS = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
_LAG = """
SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM actual_at - planned_at))::float8 * 1000
  FROM firings f JOIN triggers t ON t.tenant_id = f.tenant_id AND t.id = f.trigger_id WHERE t.key LIKE 't%'
   AND f.planned_at > $1
"""


async def measure(folder: Path) -> dict[str, float]:
    """All figures of this part, by dotted name."""
    async with servers(folder) as environment:
        await migrate(environment["SIGNALBOX_DATABASE_URL"])
        connection = await asyncpg.connect(environment["SIGNALBOX_DATABASE_URL"])
        try:
            async with services(folder, environment, "scheduler"):
                figures = await _at_once(connection)
                figures |= await _steady(connection)
            await connection.execute("TRUNCATE triggers, executions, firings CASCADE")
            await _insert(connection, "idle", _IDLE_SCHEDULES, "1 day", 0.0)
            await connection.execute("VACUUM ANALYZE")
            async with services(folder, environment, *SERVICES) as running:
                figures |= await _idle(connection, running)
        finally:
            await connection.close()
    return figures


@asynccontextmanager
async def services(folder: Path, environment: dict[str, str], *names: str) -> AsyncGenerator[dict[str, ServiceProcess]]:
    """These services as processes of their own, ready."""
    made = {name: ServiceProcess(name, environment, folder) for name in names}
    try:
        for one in made.values():
            await one.start()
        yield made
    finally:
        for one in made.values():
            await one.stop()


async def _insert(connection: Any, slug: str, schedules: int, due_in: str, apart: float) -> Any:
    """So many schedules, due from that time on, so many seconds apart; returns when the first is due."""
    config = '{"type":"interval","days":7,"catchup_seconds":3600}'  # whatever is due runs, however late
    due = await connection.fetchval("SELECT date_trunc('second', now()) + $1::text::interval", due_in)
    await connection.execute(_SCHEDULES, slug, schedules, config, due, apart, timeout=300)
    return due


async def _at_once(connection: Any) -> dict[str, float]:
    """From the instant at which all are due until the last one's execution is committed."""
    await _insert(connection, "crowd", _DUE_AT_ONCE, "1 day", 0.0)
    await connection.execute("VACUUM ANALYZE triggers")
    await connection.execute("UPDATE triggers SET next_run_at = now() + interval '5 s'")
    await connection.execute("VACUUM triggers")
    due = await connection.fetchval("SELECT extract(epoch FROM max(next_run_at) - now())::float8 FROM triggers")
    await asyncio.sleep(max(0.0, due))
    started = perf_counter()
    async with asyncio.timeout(300):
        while await connection.fetchval("SELECT EXISTS (SELECT FROM triggers WHERE next_run_at <= now())"):
            await asyncio.sleep(0.05)
    elapsed = perf_counter() - started
    accepted = await connection.fetchval("SELECT count(*) FROM executions")
    if accepted != _DUE_AT_ONCE:
        raise RuntimeError(f"{accepted} executions for {_DUE_AT_ONCE} slots")
    return {"scheduler.slots_per_s": accepted / elapsed, "scheduler.slots_100k_s": elapsed}


async def _steady(connection: Any) -> dict[str, float]:
    """Lag while so many schedules are due every second, spread over it."""
    await connection.execute("TRUNCATE triggers, executions, firings CASCADE")
    due = await _insert(connection, "steady", _STEADY_SCHEDULES, "3 s", 0.0)
    # Spread over the second: each has its own anchor.
    await connection.execute(_SPREAD, due, float(_STEADY_SCHEDULES))
    await asyncio.sleep(3 + _STEADY_SECONDS)
    lag = await connection.fetchval(_LAG, due)
    slots = await connection.fetchval("SELECT count(*) FROM firings WHERE planned_at > $1", due)
    return {"scheduler.lag_p99_ms": lag, "scheduler.lag_slots_per_s": slots / _STEADY_SECONDS}


async def _idle(connection: Any, running: dict[str, ServiceProcess]) -> dict[str, float]:
    """Transactions of the whole installation while nothing is due, and the scheduler's share of a core."""
    # The server counts transactions some seconds late, and its own vacuum would be counted, too.
    await connection.execute("ALTER TABLE triggers SET (autovacuum_enabled = off)")
    await asyncio.sleep(15)
    cpu, before, started = _cpu_seconds(running["scheduler"]), await connection.fetchval(_TRANSACTIONS), perf_counter()
    await asyncio.sleep(_IDLE_SECONDS)
    elapsed, after = perf_counter() - started, await connection.fetchval(_TRANSACTIONS)
    return {
        "scheduler.idle_queries_per_s": (after - before - 1) / elapsed,
        "scheduler.idle_cpu_percent": 100 * (_cpu_seconds(running["scheduler"]) - cpu) / elapsed,
    }


def _cpu_seconds(service: ServiceProcess) -> float:
    fields = Path(f"/proc/{service.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
