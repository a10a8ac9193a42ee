"""Reading workflow versions for those who run them."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection


class VersionKey(NamedTuple):
    """Names one version of one workflow of one tenant."""

    tenant_id: UUID
    workflow_id: UUID
    version: int


class VersionRow(msgspec.Struct, frozen=True):
    """A stored version. `definition` is JSON text."""

    tenant_id: UUID
    workflow_id: UUID
    version: int
    definition: str
    tenant_slug: str


_LOAD = """
SELECT v.tenant_id, v.workflow_id, v.version, v.definition, t.slug
  FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS wanted (tenant_id, workflow_id, version)
  JOIN workflow_versions v ON v.tenant_id = wanted.tenant_id AND v.workflow_id = wanted.workflow_id
                          AND v.version = wanted.version
  JOIN tenants t ON t.tenant_id = v.tenant_id
"""


async def load_versions(connection: Connection, keys: Sequence[VersionKey]) -> list[VersionRow]:
    """The versions that exist, in no order."""
    columns = [list(column) for column in zip(*keys, strict=True)]
    return [VersionRow(*row.values()) for row in await connection.fetch(_LOAD, *columns)]
