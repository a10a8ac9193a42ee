"""What a release expects of a database and of the bus, kept as a file, so that later code can be held to it without the
release's own code at hand: its statements, columns and guards, and the messages that it writes.

`python -m tests.integration.db.release` keeps the present state as `releases/VERSION.json`, and the code as
`releases/VERSION.tar.xz` (`release_code.py`). That is done when a version is released, never to make a test pass.
"""

import asyncio
import tempfile
from base64 import b64encode
from pathlib import Path
from uuid import UUID

import asyncpg
import msgspec

from libs.common.accept import NewExecution, ready_of
from libs.common.bus.messages import ReadyBatch, encode
from libs.common.db.migrate import migrate
from libs.common.db.pool import Connection
from libs.common.embedded.postgres import EmbeddedPostgres
from libs.common.version import __version__
from tests.integration.db.release_code import keep_code
from tests.integration.db.statements import statements

FOLDER = Path(__file__).resolve().parent / "releases"

_COLUMNS = """
SELECT c.relname || '.' || a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS required,
       a.atthasdef OR a.attidentity <> '' AS has_default
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
"""
_GUARDS = """
SELECT c.relname || ': ' || pg_get_constraintdef(g.oid) AS guard, g.contype = 'c' AS is_check,
       array(SELECT c.relname || '.' || attname FROM pg_attribute WHERE attrelid = c.oid AND attnum = ANY(g.conkey))
         AS columns
  FROM pg_constraint g JOIN pg_class c ON c.oid = g.conrelid
 WHERE NOT c.relispartition AND c.relnamespace = 'public'::regnamespace AND g.contype IN ('c', 'f', 'p', 'u', 'x')
 UNION
SELECT c.relname || ': ' || regexp_replace(pg_get_indexdef(i.indexrelid), '^.* USING', 'UNIQUE'), false, '{}'
  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
 WHERE i.indisunique AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
"""


class Column(msgspec.Struct, frozen=True):
    """A column as whoever writes rows sees it."""

    type: str
    required: bool
    has_default: bool


class Release(msgspec.Struct, frozen=True):
    """`columns`: by `table.column`; `guards`: what PostgreSQL refuses rows for; `message`: an example, in base64."""

    version: str
    statements: dict[str, str]
    columns: dict[str, Column]
    guards: list[str]
    message: str


def latest() -> Release:
    """The last one that was kept."""
    kept = [msgspec.json.decode(path.read_bytes(), type=Release) for path in FOLDER.glob("*.json")]
    return max(kept, key=lambda one: [int(part) for part in one.version.split(".")])


async def columns_of(connection: Connection) -> dict[str, Column]:
    """Those of a database."""
    rows = await connection.fetch(_COLUMNS)
    return {row["name"]: Column(row["type"], row["required"], row["has_default"]) for row in rows}


async def guards_of(connection: Connection) -> list[str]:
    """Those of a database."""
    return sorted(row["guard"] for row in await connection.fetch(_GUARDS))


async def faults_of(release: Release, connection: Connection) -> list[str]:
    """What the release, still running, could not do in this database."""
    faults: list[str] = []
    for name, text in release.statements.items():
        try:
            async with connection.transaction():  # one that fails ends nothing else
                await connection.prepare(text)
        except asyncpg.PostgresError as error:
            faults.append(f"{name}: {error}")
    columns, known_tables = await columns_of(connection), {name.partition(".")[0] for name in release.columns}
    for name, column in columns.items():
        before = release.columns.get(name)
        if name.partition(".")[0] not in known_tables:
            continue
        if before is not None and before.type != column.type:
            faults.append(f"{name} is {column.type}, was {before.type}")
        if column.required and not (before and before.required) and (before is not None or not column.has_default):
            faults.append(f"{name} must be given")
    guards = await guards_of(connection)
    for row in await connection.fetch(_GUARDS):
        # Columns that the release does not know have their defaults in its rows, which pass, or they could not be made.
        is_about_new = row["is_check"] and not any(name in release.columns for name in row["columns"])
        if row["guard"] not in release.guards and row["guard"].split(":")[0] in known_tables and not is_about_new:
            faults.append(f"new guard: {row['guard']}")
    return faults + [f"guard gone: {one}" for one in release.guards if one not in guards]


def example_message() -> bytes:
    """A message with every field set."""
    ids = [UUID(int=number) for number in range(1, 5)]
    new = NewExecution(
        ids[0], ids[1], 3, ids[2], "in", "webhook", b'{"a":1}', "ann", f"00-{'a' * 32}-{'b' * 16}-01", id=ids[3]
    )
    return encode(ReadyBatch((ready_of(new.started()),)))


async def keep() -> Path:
    """The present state as a file. Needs nothing but this checkout."""
    with tempfile.TemporaryDirectory(prefix="signalbox-release-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL does not run as root: its own account must get through
        server = EmbeddedPostgres(Path(folder))
        dsn = await server.start()
        try:
            await migrate(dsn)
            connection = await asyncpg.connect(dsn)
            columns, guards = await columns_of(connection), await guards_of(connection)
            await connection.close()
        finally:
            await server.stop()
    known = dict(sorted((one.name, one.text) for one in statements()))
    message = b64encode(example_message()).decode()
    release = Release(__version__, known, dict(sorted(columns.items())), guards, message)
    path = FOLDER / f"{__version__}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(release), indent=1) + b"\n")
    return path


if __name__ == "__main__":
    print(asyncio.run(keep()))
    print(keep_code(__version__))
