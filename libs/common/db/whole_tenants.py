"""Everything of one tenant, whatever tables there are: to be given away, or to be erased.

The tables are those of the schema that name a tenant, so a new table is in both from its first day. Their names and
columns come from the catalogue, quoted there; nothing that a caller gives becomes part of a statement.
"""

from collections.abc import AsyncGenerator
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection

_READ_AHEAD = 10
"""Rows of an export that are in memory at once."""


class TenantTable(msgspec.Struct, frozen=True):
    """A table with a tenant in its rows; `quoted` and `columns` are ready to stand in a statement. `columns`: all but
    what opens something.
    """

    name: str
    quoted: str
    columns: str


# Rows that refer to others come before those. The columns left out: hashes, tokens, and everything that is sealed.
_TABLES = """
WITH RECURSIVE named AS (
    SELECT c.oid, c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace),
     placed (oid, depth) AS (
    SELECT oid, 0 FROM named
     UNION
    SELECT f.conrelid, p.depth + 1 FROM placed p
      JOIN pg_constraint f ON f.confrelid = p.oid AND f.contype = 'f' AND f.conrelid <> f.confrelid
      JOIN named n ON n.oid = f.conrelid)
SELECT n.relname::text, quote_ident(n.relname),
       (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
         WHERE a.attrelid = n.oid AND a.attnum > 0 AND NOT a.attisdropped
           AND a.attname <> ALL('{hash,token,sealed,sealed_secrets,key_id,data_key}'::name[]))
  FROM named n JOIN placed p ON p.oid = n.oid
 GROUP BY n.oid, n.relname ORDER BY max(p.depth) DESC, n.relname
"""


async def tenant_tables(connection: Connection) -> list[TenantTable]:
    """Every table with a tenant in its rows; those that refer to others come first, the tenants last."""
    return [TenantTable(*row.values()) for row in await connection.fetch(_TABLES)]


async def read_lines(connection: Connection, tenant_id: UUID, table: TenantTable) -> AsyncGenerator[str]:
    """Each row of the tenant as JSON. Needs a transaction; a few rows are in memory at once."""
    lines = (
        f"SELECT row_to_json(line)::text AS line FROM"  # noqa: S608 - names from the catalogue, quoted there
        f" (SELECT {table.columns} FROM {table.quoted} WHERE tenant_id = $1) line"
    )
    async for row in connection.cursor(lines, tenant_id, prefetch=_READ_AHEAD):
        yield row["line"]


async def delete_some(connection: Connection, tenant_id: UUID, table: TenantTable, limit: int) -> int:
    """Delete about so many rows of the tenant (of each partition at most); returns how many it were."""
    # Places repeat over partitions. What is hit besides is of the same tenant and on its way out too.
    some = (
        f"DELETE FROM {table.quoted} WHERE tenant_id = $1"  # noqa: S608 - as above
        f" AND ctid = ANY(ARRAY(SELECT ctid FROM {table.quoted} WHERE tenant_id = $1 LIMIT $2))"
    )
    return int((await connection.execute(some, tenant_id, limit)).split()[-1])
