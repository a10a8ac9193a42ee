"""Every statement of the product as it stands: it prepares on the migrated schema, keeps to one tenant, and the hot
ones find their rows by an index however large the tables are.
"""

import ast
import json
import re
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from libs.common.clock import new_id
from libs.common.db.pool import Database

ROOT = Path(__file__).resolve().parents[3]
_VERBS = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")
_SYSTEM_WIDE = {
    "pool._PING": "touches no table",
    "migrate._LOCK": "touches no table",
    "migrate._APPLIED": "the migrator's own table",
    "migrate._RECORD": "the migrator's own table",
    "partitions._EXISTING": "the catalogue",
    "workers._BEAT": "workers belong to no tenant",
    "workers._DEAD": "workers belong to no tenant",
    "workers._FORGET": "workers belong to no tenant",
    "workers._RETIRE": "workers belong to no tenant",
    "executions._RELEASE_OF_DEAD": "what a dead worker held, of all tenants; names no other row",
    "controlling._WISHES": "for what one worker runs, of all tenants",
    "idempotency._FORGET": "what is out of date, of all tenants",
    "local_results._FORGET": "what is out of date, of all tenants",
}
_HOT = (
    "accepting._ACCEPT", "controlling._CANCEL", "controlling._WISHES", "execution_views._FIND", "executions._CHANGE",
    "executions._LOAD", "executions._LOAD_RECORDS", "executions._RELEASE_OF_DEAD", "executions._WAKE",
    "schedules._CLAIM", "secrets._LOAD_SEALED", "webhook_triggers._FIND",
)  # fmt: skip
_BIG = ("executions", "action_executions", "webhook_logs", "triggers", "secrets")


class Statement(NamedTuple):
    name: str
    text: str


def statements() -> list[Statement]:
    """Every module constant that is a statement."""
    found: list[Statement] = []
    for folder in ("libs", "services"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.parse(path.read_text()).body:
                if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
                    continue
                text, (target,) = node.value.value, node.targets
                if isinstance(text, str) and _VERBS.match(text) and isinstance(target, ast.Name):
                    found.append(Statement(f"{path.stem}.{target.id}", text))
    return found


ALL = statements()


def test_there_are_statements_to_look_at() -> None:
    names = {statement.name for statement in ALL}
    assert len(ALL) > 40
    assert set(_HOT) <= names
    assert set(_SYSTEM_WIDE) <= names, "the list of exceptions names what is gone"


def test_every_statement_names_the_tenant() -> None:
    without = [one.name for one in ALL if "tenant_id" not in one.text and one.name not in _SYSTEM_WIDE]
    assert without == []


async def test_every_statement_prepares(database: Database) -> None:
    failures: list[str] = []
    async with database.connection() as connection:
        for one in ALL:
            try:
                await connection.prepare(one.text)
            except Exception as error:  # noqa: BLE001 - all of them are wanted, by name
                failures.append(f"{one.name}: {error}")
    assert failures == []


_FILL = """
INSERT INTO executions (tenant_id, id, workflow_id, version, trigger_type, status, input, finished_at)
SELECT ($1::uuid[])[1 + n % 4], gen_random_uuid(), $2, 1, 'manual', 'completed', '{}', now()
  FROM generate_series(1, 8000) n
"""


@pytest.fixture
async def filled(database: Database) -> Database:
    """Thousands of ended executions of four tenants, with the statistics that go with them."""
    tenants = [new_id() for _ in range(4)]
    async with database.connection() as connection:
        default = "CREATE TABLE {0}_rest PARTITION OF {0} DEFAULT"
        for table in ("executions", "action_executions", "webhook_logs"):
            await connection.execute(default.format(table))
        await connection.execute(_FILL, tenants, new_id())
        await connection.execute(
            "INSERT INTO action_executions (tenant_id, execution_id, position, attempt, key, type, status, started_at)"
            " SELECT tenant_id, id, 0, 1, 'a', 'log', 'completed', now() FROM executions"
        )
        await connection.execute("ANALYZE")
    return database


@pytest.mark.parametrize("name", _HOT)
async def test_a_hot_statement_reads_big_tables_by_index(filled: Database, name: str) -> None:
    text = next(one.text for one in ALL if one.name == name)
    async with filled.connection() as connection:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        prepared = await connection.prepare(text)
        arguments = ", ".join(_nothing(kind.name) for kind in prepared.get_parameters())
        await connection.execute(f"PREPARE hot AS {text}")
        call = f"EXPLAIN (FORMAT JSON) EXECUTE hot{f'({arguments})' if arguments else ''}"
        plan = json.loads(await connection.fetchval(call))
        await connection.execute("DEALLOCATE hot")
        await connection.execute("RESET plan_cache_mode")
    scanned = [node["Relation Name"] for node in _nodes(plan[0]["Plan"]) if node["Node Type"] == "Seq Scan"]
    assert [table for table in scanned if table.startswith(_BIG)] == []


def _nothing(kind: str) -> str:
    return f"NULL::{kind.removesuffix('[]')}{'[]' if kind.endswith('[]') else ''}"


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for inner in plan.get("Plans", []) for node in _nodes(inner))]


async def test_ids_of_the_filled_tables_are_ids(filled: Database) -> None:
    """The plans above are worth something only on tables that hold rows."""
    async with filled.connection() as connection:
        count = await connection.fetchval("SELECT count(*) FROM executions")
        sample = await connection.fetchval("SELECT id FROM executions LIMIT 1")
    assert count == 8000
    assert isinstance(sample, UUID)
