"""Two tenants run the whole API against each other's ids: each finds nothing and changes nothing. Every route of the
gateway has its entry in `routes.py`; one without fails.
"""

from uuid import UUID

import pytest

from libs.common.announce import Announcer
from libs.common.db.pool import Database, TenantDatabase
from services.gateway.app import create_app
from services.scheduler.jobs import Jobs
from tests.integration.conftest import World
from tests.integration.db.test_foreign_tenant import Owned, rows_of
from tests.integration.gateway.following import gateway
from tests.integration.gateway.routes import OF_NOBODY, OF_THE_PLATFORM, ROUTES, Route
from tests.integration.gateway.sockets import Runs, connected


async def rows(world: World, tenant_id: UUID) -> dict[str, list[str]]:
    async with world.parts.database.connection() as connection:
        return await rows_of(connection, tenant_id)


def ids_of(owned: Owned) -> list[str]:
    values = [owned.job.id, *[getattr(owned, name) for name in owned.__dataclass_fields__]]
    return [str(value) for value in values if isinstance(value, UUID)]


def test_every_route_has_an_entry(world: World) -> None:
    app = create_app(world.parts)
    found = {f"{method} {route.path}" for route in app.routes for method in getattr(route, "methods", None) or {"WS"}}
    found = {name for name in found if not name.startswith("OPTIONS ")}
    listed = {one.name for one in ROUTES}
    assert len(listed) == len(ROUTES)
    assert found ^ (listed | set(OF_NOBODY) | set(OF_THE_PLATFORM)) == set()


async def test_two_tenants_see_and_change_nothing_of_each_other(world: World, both: tuple[Owned, Owned]) -> None:
    wrong: list[str] = []
    for slug, owned in (("left", both[1]), ("right", both[0])):
        before, ids = await rows(world, owned.tenant), ids_of(owned)
        for route in ROUTES:
            answer = await route.send(world, slug, owned)
            if answer.status_code != route.foreign or any(one in answer.text for one in ids):
                wrong.append(f"{route.name}: {answer.status_code} {answer.text}")
            assert await rows(world, owned.tenant) == before, route.name
    assert "\n".join(wrong) == ""
    await world.fetch("DELETE FROM jobs WHERE filter->>'workflow_id' IS NULL")
    before = [await rows(world, owned.tenant) for owned in both]
    assert [len(one["jobs"]) for one in before] == [2, 2]  # to cancel and to retry what the other tenant has
    jobs = Jobs(world.parts.database, Announcer(world.bus))
    while await jobs.work():
        pass
    for owned, then in zip(both, before, strict=True):
        now = await rows(world, owned.tenant)
        assert {name for name in now if now[name] != then[name]} == {"jobs"}


async def test_the_same_calls_reach_one_s_own(world: World, both: tuple[Owned, Owned]) -> None:
    """So that what is not found above would be found if it were one's own."""
    wrong: list[str] = []
    for route in sorted(ROUTES, key=lambda one: one.last):
        answer = await route.send(world, "left", both[0])
        shows = route.method != "GET" or not route.shows_ids or any(one in answer.text for one in ids_of(both[0]))
        if answer.status_code != route.own or not shows:
            wrong.append(f"{route.name}: {answer.status_code} {answer.text}")
    assert "\n".join(wrong) == ""


async def test_a_key_of_a_tenant_opens_nothing_of_the_platform(world: World, both: tuple[Owned, Owned]) -> None:
    before = await rows(world, both[1].tenant)
    for name in OF_THE_PLATFORM:
        answer = await Route(name, 401, 401).send(world, "left", both[1])
        assert answer.status_code == 401, name
    assert await rows(world, both[1].tenant) == before


async def test_a_socket_tells_nothing_of_another_tenant(acme: World) -> None:
    theirs, ours = Runs(acme, "other"), Runs(acme)
    foreign = await theirs.begin()
    async with gateway(acme) as served, connected(served) as client:
        await client.subscribe(execution_id=foreign)
        await theirs.become("completed", foreign)
        await client.subscribe()
        own = await ours.begin()
        assert (await client.next_event())[0] == own


@pytest.mark.parametrize("reads", ["/workflows", "/executions", "/collections", "/events", "/approvals", "/secrets"])
async def test_without_a_tenant_the_database_itself_shows_nothing(
    world: World, both: tuple[Owned, Owned], reads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is seen goes by the transaction's tenant, whatever the statement's own condition says."""
    right = both[1].tenant
    assert (await world.call("GET", reads, slug="left", role="owner")).json()["items"] != []
    as_right = TenantDatabase(world.parts.database, right)

    def for_tenant(_database: Database, _tenant: UUID) -> TenantDatabase:
        return as_right

    monkeypatch.setattr(Database, "for_tenant", for_tenant)
    assert (await world.call("GET", reads, slug="left", role="owner")).json()["items"] == []
