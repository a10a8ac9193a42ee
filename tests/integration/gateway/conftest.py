"""What several tests of the gateway begin with."""

import json

import pytest

from tests.integration.conftest import ADMIN, World
from tests.integration.db.test_foreign_tenant import Owned, everything_of
from tests.integration.gateway.definitions import hourly, webhook, workflow

_SCHEDULE = """
UPDATE triggers SET config = '{"type": "interval", "hours": 1}', next_run_at = now() + interval '1 hour'
 WHERE tenant_id = $1 AND type = 'schedule'
"""

_DEFINITION = "UPDATE workflow_versions SET definition = $2 WHERE tenant_id = $1"
WORK = workflow("Work", triggers=[webhook(), hourly("s")])


@pytest.fixture
async def both(world: World) -> tuple[Owned, Owned]:
    """Two tenants with a row in every table, named alike, each with an owner's key."""
    async with world.parts.database.connection() as connection:
        left, right = [await everything_of(connection, slug, slug.encode() * 8) for slug in ("left", "right")]
        for owned in (left, right):
            await connection.execute(_SCHEDULE, owned.tenant)
            await connection.execute(_DEFINITION, owned.tenant, json.dumps(WORK))
    for slug, owned in (("left", left), ("right", right)):
        path = f"/api/v1/admin/tenants/{owned.tenant}/api-keys"
        made = await world.client.post(path, json={"name": "own", "role": "owner"}, headers=ADMIN)
        world.keys[slug, "owner"] = made.json()["key"]
    return left, right
