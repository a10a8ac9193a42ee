"""Everything of a tenant as a ZIP of JSON lines, a file for each table, written while it is read.

It shows one moment: all of it is read in one snapshot. What opens something (keys, tokens, sealed secrets) is left
out. Neither a table nor the archive is ever in memory as a whole.
"""

import zipfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection, Database
from libs.common.db.whole_tenants import read_lines, tenant_tables
from libs.common.errors import RateLimited

_CHUNK_BYTES = 65_536
_FAST = 1
"""The level of compression: most of what it saves at little of the time."""
_AT_ONCE = 2
"""Each holds a connection to the database until its reader has all of it."""


class _Chunks:
    """What the archive writes to: it cannot be rewound, so what was written can be given away."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def write(self, content: bytes) -> int:
        self._pending += content
        return len(content)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self, least: int) -> bytes:
        """What has come together, if it is so much."""
        if len(self._pending) < least:
            return b""
        taken = bytes(self._pending)
        self._pending.clear()
        return taken


class Exports:
    """The exports of one process."""

    def __init__(self, database: Database) -> None:
        self._database, self._open = database, 0

    def admit(self) -> None:
        """Raises `RateLimited` when there are enough already."""
        if self._open >= _AT_ONCE:
            raise RateLimited("Other exports are under way; try again later.", retry_after_seconds=60)

    async def archive(self, tenant_id: UUID, now: datetime) -> AsyncGenerator[bytes]:
        """The archive, piece by piece. Raises `Unavailable` when the database is away."""
        chunks, counts = _Chunks(), dict[str, int]()
        self._open += 1
        try:
            with zipfile.ZipFile(cast("Any", chunks), "w", zipfile.ZIP_DEFLATED, compresslevel=_FAST) as made:
                async with (
                    self._database.for_tenant(tenant_id).snapshot() as connection,
                    aclosing(_write(made, connection, tenant_id)) as rows,
                ):
                    async for table in rows:
                        counts[table] = counts.get(table, 0) + 1
                        if piece := chunks.take(_CHUNK_BYTES):
                            yield piece
                manifest = {"tenant_id": tenant_id, "exported_at": now, "rows": counts}
                made.writestr("manifest.json", msgspec.json.format(msgspec.json.encode(manifest)))
            yield chunks.take(0)
        finally:
            self._open -= 1


async def _write(made: zipfile.ZipFile, connection: Connection, tenant_id: UUID) -> AsyncGenerator[str]:
    """Writes the tables row by row; tells the table of each."""
    for table in await tenant_tables(connection):
        with made.open(f"{table.name}.jsonl", "w", force_zip64=True) as file:
            async with aclosing(read_lines(connection, tenant_id, table)) as lines:
                async for line in lines:
                    file.write(line.encode() + b"\n")
                    yield table.name
