"""deploy/citus.sql against the schema as it is: run whole, with functions that write down what Citus's would be told.

Shown: every table has its place, what a distributed table must hold to (tenant_id in each unique key, foreign keys
within the tenant or to copies), and that every statement of the product still prepares. Not shown: Citus itself.
"""

import re
from typing import Any, NamedTuple

from libs.common.db.pool import Connection, Database
from tests.integration.db.statements import statements
from tests.integration.db.test_statements import _OVER_ALL_TENANTS  # pyright: ignore[reportPrivateUsage]
from tests.servers import ROOT

FILE = ROOT / "deploy" / "citus.sql"
LOCAL = {"schema_migrations"}
"""Tables that stay on the coordinator."""
_CITUS = """
CREATE TABLE citus_told (place serial, name text, by_column text, with_table text);
CREATE FUNCTION create_reference_table(name regclass) RETURNS void LANGUAGE sql
    AS 'INSERT INTO citus_told (name) VALUES (name::text)';
CREATE FUNCTION create_distributed_table(name regclass, by_column text, colocate_with text, shard_count int DEFAULT 32)
    RETURNS void LANGUAGE sql
    AS 'INSERT INTO citus_told (name, by_column, with_table) VALUES (name::text, by_column, colocate_with)';
"""
_TABLES = """
SELECT relname FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
   AND relname <> 'citus_told'
"""
_KEYS = """
SELECT c.relname, i.indexrelid::regclass::text AS key, array_agg(a.attname::text) AS columns
  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
 WHERE i.indisunique AND c.relnamespace = 'public'::regnamespace GROUP BY 1, 2
"""
_FOREIGN_KEYS = """
SELECT k.conrelid::regclass::text AS source, k.confrelid::regclass::text AS target,
       array_agg(ARRAY[s.attname::text, t.attname::text]) AS pairs
  FROM pg_constraint k CROSS JOIN unnest(k.conkey, k.confkey) AS pair (source, target)
  JOIN pg_attribute s ON s.attrelid = k.conrelid AND s.attnum = pair.source
  JOIN pg_attribute t ON t.attrelid = k.confrelid AND t.attnum = pair.target
 WHERE k.contype = 'f' AND k.conparentid = 0 GROUP BY k.oid
"""


class Told(NamedTuple):
    """What the file says of the tables, in its order."""

    copied: set[str]
    distributed: dict[str, tuple[str, str]]


async def run_file(connection: Connection) -> Told:
    await connection.execute(_CITUS)
    lines = [line for line in FILE.read_text().splitlines() if not line.startswith("\\")]
    await connection.execute("\n".join(lines))
    rows: list[Any] = await connection.fetch("SELECT * FROM citus_told ORDER BY place")
    return Told(
        {row["name"] for row in rows if row["by_column"] is None},
        {row["name"]: (row["by_column"], row["with_table"]) for row in rows if row["by_column"] is not None},
    )


async def test_the_layout_fits_the_schema(database: Database) -> None:
    async with database.connection() as connection:
        told = await run_file(connection)
        tables = {row["relname"] for row in await connection.fetch(_TABLES)}
        keys = await connection.fetch(_KEYS)
        foreign = await connection.fetch(_FOREIGN_KEYS)
        unprepared: list[str] = []
        for one in statements():
            try:
                await connection.prepare(one.text)
            except Exception as error:  # noqa: BLE001 - all of them are wanted, by name
                unprepared.append(f"{one.name}: {error}")
    assert told.copied | told.distributed.keys() == tables - LOCAL
    assert not told.copied & told.distributed.keys()
    first, *others = told.distributed.values()
    assert (first, set(others)) == (("tenant_id", "none"), {("tenant_id", "workflows")})
    assert [
        row["key"] for row in keys if row["relname"] in told.distributed and "tenant_id" not in row["columns"]
    ] == []
    assert len(foreign) > 10
    order = list(told.distributed)
    for row in foreign:
        source, target = row["source"], row["target"]
        if source in told.distributed and target in told.distributed:
            assert ["tenant_id", "tenant_id"] in row["pairs"], (source, target)
            assert order.index(target) <= order.index(source), (source, target)
        else:
            assert target in told.copied, (source, target)
    assert unprepared == []


def test_the_page_names_what_citus_would_refuse() -> None:
    """Locks over all tenants (https://docs.citusdata.com/en/stable/develop/reference_workarounds.html: `SELECT … FOR
    UPDATE` in queries of one shard only).
    """
    locking = {one.name for one in statements() if one.name in _OVER_ALL_TENANTS and "FOR UPDATE" in one.text}
    chapter = re.split(r"^## ", (ROOT / "docs" / "scale.md").read_text(), flags=re.MULTILINE)
    (citus,) = [text for text in chapter if text.startswith("Citus")]
    assert set(re.findall(r"`(\w+\._[A-Z_]+)`", citus)) == locking
