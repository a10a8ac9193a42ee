"""The SQL of the product as it stands in its modules, and the plans that PostgreSQL makes for it."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from libs.common.db.pool import Connection

_ROOT = Path(__file__).resolve().parents[3]
_VERBS = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")
_RUNS = frozenset({"execute", "executemany", "fetch", "fetchrow", "fetchval", "prepare", "cursor"})


class Statement(NamedTuple):
    """`name`: `module.CONSTANT`."""

    name: str
    text: str


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the product: its last name and its syntax tree."""
    for folder in ("libs", "services"):
        for path in sorted((_ROOT / folder).rglob("*.py")):
            yield path.stem, ast.parse(path.read_text())


def constants(tree: ast.Module) -> dict[str, str]:
    """The texts that stand as constants in a module."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found.update({name.id: node.value.value for name in node.targets if isinstance(name, ast.Name)})
    return found


def statements() -> list[Statement]:
    """Every module constant that is a statement."""
    return [
        Statement(f"{module}.{name}", text)
        for module, tree in modules()
        for name, text in constants(tree).items()
        if _VERBS.match(text)
    ]


def sent_otherwise() -> set[str]:
    """What is sent to the database and is no module constant: `module: expression`."""
    found: set[str] = set()
    for module, tree in modules():
        named = constants(tree)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
                continue
            statement = node.args[0]
            if node.func.attr in _RUNS and not (isinstance(statement, ast.Name) and statement.id in named):
                found.add(f"{module}: {ast.unparse(statement)}")
    return found


async def plan_of(connection: Connection, statement: Statement) -> list[dict[str, Any]]:
    """The nodes of the plan that stands for any arguments, as it is cached once a statement has run some times."""
    prepared = await connection.prepare(statement.text)
    arguments = ", ".join(_null(kind.name) for kind in prepared.get_parameters())
    async with connection.transaction():
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE looked_at AS {statement.text}")
        execute = f"EXECUTE looked_at({arguments})" if arguments else "EXECUTE looked_at"
        plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {execute}"))
        await connection.execute("DEALLOCATE looked_at")
    return list(_nodes(plan[0]["Plan"]))


def _null(kind: str) -> str:
    return f"NULL::{kind.removesuffix('[]')}{'[]' if kind.endswith('[]') else ''}"


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from _nodes(inner)
