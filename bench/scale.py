"""What one PostgreSQL carries, and what an execution costs: rows a second at saturation, bytes of an execution in
tables, indexes and write-ahead log, and CPU seconds of each process, over the four services and real servers.

One call of a webhook with an HMAC, three actions, each recorded: five rows. The load's own CPU counts for nobody. Then
the day's partitions are filled with copies, and the same is measured again: what is large must not be slow.
"""

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import asyncpg

from bench.e2e import run_wrk
from bench.following import completed, drained, warm_up
from bench.installation import BODY, WORKFLOW, Hook, Installation, installation, make_tenant, servers

_LOAD_SECONDS = 10
_COPIES = 15
_WARM_UP_CALLS = 2_000
_MILLION = 1_000_000
_PROGRAMS = {"postgres": "postgres", "beam.smp": "rabbitmq", "valkey-server": "valkey", "redis-server": "valkey"}

_SIZES = """
SELECT coalesce(pg_partition_root(oid), oid)::regclass::text AS name,
       sum(pg_table_size(oid))::bigint AS tables, sum(pg_indexes_size(oid))::bigint AS indexes
  FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace GROUP BY 1
"""
_ROWS = """
SELECT (SELECT count(*) FROM executions) + (SELECT count(*) FROM action_executions)
     + (SELECT count(*) FROM webhook_logs)
"""
_COLUMNS = """
SELECT attname::text AS name FROM pg_attribute
 WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_BIG = {"executions": "id", "action_executions": "execution_id", "webhook_logs": "id"}
"""Tables that grow with executions, with the column whose time says the partition."""
_WRITTEN = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"


async def measure(folder: Path) -> dict[str, float]:
    """All figures of this part, by dotted name."""
    async with servers(folder) as environment, installation(folder, environment) as running:
        hook = await (await make_tenant(running.services)).hook(WORKFLOW)
        await warm_up(running, hook, _WARM_UP_CALLS)
        connection: Any = await asyncpg.connect(running.dsn)
        figures = await _under_load(connection, running, hook, folder)
        await _fill(connection)
        rows = await connection.fetchval(_ROWS)
        filled = await _under_load(connection, running, hook, folder)
        await connection.close()
    names = ("executions_per_s", "postgres_cores", "cpu_s_per_million_postgres")
    return figures | {f"scale.filled_{name}": filled[f"scale.{name}"] for name in names} | {"scale.filled_rows": rows}


async def _under_load(connection: Any, running: Installation, hook: Hook, folder: Path) -> dict[str, float]:
    """As many calls as the ingress takes, until the last execution has completed."""
    before, cpu_before = await _state(connection), _cpu_seconds(running)
    started = perf_counter()
    await run_wrk(hook, folder, BODY, _LOAD_SECONDS)
    await drained(connection, 120)
    elapsed = perf_counter() - started
    cpu = _cpu_seconds(running)
    after = await _state(connection)
    return _figures(_grown(before, after), _grown(cpu_before, cpu), elapsed)


async def _fill(connection: Any) -> None:
    """Each row so many times again, under new ids of the same time: what a day holds, in the partition of the day."""
    for table, key in _BIG.items():
        columns = [row["name"] for row in await connection.fetch(_COLUMNS, table)]
        new = f"overlay({key}::text PLACING substr(gen_random_uuid()::text, 20) FROM 20)::uuid"
        values = ", ".join(new if name == key else name for name in columns)
        source = f"{table} CROSS JOIN generate_series(1, {_COPIES})"
        await connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {source}")
    await connection.execute("ANALYZE")


def _grown(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0) for name, value in after.items()}


def _figures(grown: Mapping[str, float], cpu: Mapping[str, float], elapsed: float) -> dict[str, float]:
    executions = grown["executions"]
    figures = {
        "scale.executions": executions,
        "scale.executions_per_s": executions / elapsed,
        "scale.rows_per_s": grown["rows"] / elapsed,
        "scale.rows_per_execution": grown["rows"] / executions,
        "scale.postgres_cores": cpu["postgres"] / elapsed,
    }
    sizes = {name: value for name, value in grown.items() if name not in ("executions", "rows")}
    figures |= {f"scale.bytes_{name}": value / executions for name, value in sizes.items() if value >= executions}
    figures |= {f"scale.cpu_s_per_million_{name}": seconds / executions * _MILLION for name, seconds in cpu.items()}
    figures["scale.cpu_s_per_million"] = sum(cpu.values()) / executions * _MILLION
    return figures


async def _state(connection: Any) -> dict[str, float]:
    """Executions, rows and bytes as they are now."""
    state: dict[str, float] = {
        "executions": await completed(connection), "rows": await connection.fetchval(_ROWS),
        "wal": int(await connection.fetchval(_WRITTEN)), "tables": 0, "indexes": 0,
    }  # fmt: skip
    for row in await connection.fetch(_SIZES):
        state["tables"] += row["tables"]
        state["indexes"] += row["indexes"]
        state[f"of_{row['name']}"] = row["tables"] + row["indexes"]
    return state


def _cpu_seconds(running: Installation) -> dict[str, float]:
    """CPU seconds that each service and each server has used so far."""
    services = {service.pid: name for name, service in running.services.items()}
    used: dict[str, float] = defaultdict(float)
    processes = _processes()
    for pid, (program, parent, seconds) in processes.items():
        name = services.get(pid) or _PROGRAMS.get(program)
        if name is not None and (pid in services or _is_ours(parent, processes)):
            used[name] += seconds
    return used


def _is_ours(pid: int, processes: dict[int, tuple[str, int, float]]) -> bool:
    while pid not in (0, 1, os.getpid()):
        pid = processes[pid][1] if pid in processes else 0
    return pid == os.getpid()


def _processes() -> dict[int, tuple[str, int, float]]:
    """Program, parent and CPU seconds (with those of children that have ended) of every process."""
    ticks, found = os.sysconf("SC_CLK_TCK"), dict[int, tuple[str, int, float]]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            program, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:  # it has ended
            continue
        fields = rest.split()
        found[int(folder.name)] = (program, int(fields[1]), sum(int(field) for field in fields[11:15]) / ticks)
    return found
