"""An executor that hears for so long nothing of what it has recorded that somebody else has the execution meanwhile:
it does not begin what the other one has done. Nor does one whose requests wait for a connection for so long.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from libs.common.db.migrate import migrate
from libs.common.db.pool import Database
from libs.common.embedded.postgres import EmbeddedPostgres
from libs.common.security import egress
from services.executor import leases
from services.executor.app import ExecutorService
from tests.e2e.chaos.proxy import Proxy, proxy
from tests.integration.conftest import World
from tests.integration.executor.conftest import LOOPBACK, Endpoint, Executor, attempts
from tests.integration.executor.test_runs import call
from tests.integration.locks import held_up
from tests.servers import free_port
from tests.waiting import until

_PATIENCE = {
    "tcp_user_timeout": "30000", "tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
}  # fmt: skip
_LOCK = "SELECT FROM executions WHERE id = $1 FOR UPDATE"
_SILENT = "SELECT extract(epoch FROM now() - beat_at) FROM workers WHERE id = $1"


@pytest.fixture
async def database_dsn(tmp_path: Path) -> AsyncIterator[str]:
    """The world of these tests lives on a PostgreSQL with a port, which a proxy can stand in front of."""
    port = free_port()
    server = EmbeddedPostgres(tmp_path, settings={"fsync": "off"}, port=port)
    parts = urlsplit(await server.start())
    assert parse_qs(parts.query)["port"] == [str(port)]
    dsn = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}", query="").geturl()
    await migrate(dsn)
    yield dsn
    await server.stop()


@pytest.fixture
async def network(database_dsn: str) -> AsyncIterator[Proxy]:
    """Between the far executor and the database."""
    port = urlsplit(database_dsn).port
    assert port is not None
    async with proxy(port) as made:
        yield made


@pytest.fixture
async def far(executors: Executor, acme: World, database_dsn: str, network: Proxy) -> AsyncIterator[ExecutorService]:
    """An executor whose network can be cut, and that has run something already."""
    place = urlsplit(database_dsn)
    address = place._replace(netloc=f"{place.username}:{place.password}@127.0.0.1:{network.port}")
    database = Database(address.geturl(), size=4, name="far")
    await database.open()
    made = ExecutorService(replace(acme.service_parts(egress_allow=LOOPBACK), database=database))
    await made.start()
    executors.services.append(made)
    yield made
    executors.services.remove(made)
    await made.stop()
    await database.close()


@pytest.fixture(autouse=True)
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as executors can tell. (The scheduler is played by `give_up`.)"""
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(leases, "SURE_SECONDS", 0.5)


async def has_a_gap(world: World, worker: ExecutorService) -> None:
    """Returns when the database has not heard of it for longer than its lease."""

    async def is_silent() -> bool:
        ((silent,),) = await world.fetch(_SILENT, worker.worker)
        return bool(silent > leases.SURE_SECONDS)

    await until(is_silent)


@pytest.mark.parametrize("heard", ["after it was given up", "late, and nobody else came"])
async def test_what_it_begins_late_it_asks_for_again(
    executors: Executor, far: ExecutorService, network: Proxy, endpoint: Endpoint, acme: World, heard: str
) -> None:
    endpoint.hold(1)
    execution_id = await executors.begin([call(endpoint, "first"), call(endpoint)])
    await endpoint.called(1)
    database = acme.parts.database
    async with database.connection() as beside, database.transaction() as connection:
        await connection.execute(_LOCK, UUID(execution_id))
        endpoint.release(1)
        await held_up(beside)
        network.down.clear()
    await executors.begun(execution_id, "call")
    await has_a_gap(acme, far)
    if heard == "after it was given up":
        await executors.give_up(far)
        done = await executors.seen(execution_id, "completed")
        network.mend()
        await far.stop()
        assert attempts(done) == [("first", 1, "completed"), ("call", 1, "unknown"), ("call", 2, "completed")]
        assert await executors.seen(execution_id, "completed") == done
    else:
        network.mend()
        done = await executors.seen(execution_id, "completed")
        assert attempts(done) == [("first", 1, "completed"), ("call", 1, "completed")]
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize("sent", ["after it was given up", "late, and nobody else came"])
async def test_what_waits_for_a_connection_is_asked_for_again(
    executors: Executor, far: ExecutorService, network: Proxy, endpoint: Endpoint, acme: World,
    monkeypatch: pytest.MonkeyPatch, sent: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(egress, "_POOL_LIMIT_PER_HOST", 1)
    endpoint.hold(1)
    first = await executors.begin([call(endpoint)])
    await endpoint.called(1)
    second = await executors.begin([call(endpoint)])
    await executors.begun(second, "call")
    network.cut()
    await has_a_gap(acme, far)
    if sent == "after it was given up":
        await executors.give_up(far)
        done = [await executors.seen(one, "completed") for one in (first, second)]
        endpoint.release(1)
        network.mend()
        await far.stop()
        assert [attempts(run) for run in done] == [[("call", 1, "unknown"), ("call", 2, "completed")]] * 2
        assert [await executors.seen(one, "completed") for one in (first, second)] == done
        assert len(endpoint.requests) == 3
    else:
        endpoint.release(1)
        network.mend()
        done = [await executors.seen(one, "completed") for one in (first, second)]
        assert [attempts(run) for run in done] == [[("call", 1, "completed")]] * 2
        assert len(endpoint.requests) == 2


async def test_what_is_under_way_ends_when_somebody_else_has_it(
    executors: Executor, far: ExecutorService, network: Proxy, endpoint: Endpoint, acme: World
) -> None:
    """It finds out by itself, and closes the connection: what is not delivered of the request never is."""
    endpoint.hold(1)
    execution_id = await executors.begin([call(endpoint, timeout_seconds=600)])
    await endpoint.called(1)
    network.cut()
    await has_a_gap(acme, far)
    await executors.give_up(far)
    await executors.seen(execution_id, "completed")
    network.mend()
    await endpoint.hung_up(1)


async def test_the_server_gives_up_a_session_that_it_cannot_reach(database_dsn: str) -> None:
    """It is told when over TCP, as over the local socket. (`make chaos` has it happen: `test_far_machine.py`.)"""
    database = Database(database_dsn, size=1, name="far")
    await database.open()
    async with database.connection() as connection:
        found = [await connection.fetchval(f"SHOW {name}") for name in _PATIENCE]
    assert dict(zip(_PATIENCE, found, strict=True)) == _PATIENCE
    await database.close()
