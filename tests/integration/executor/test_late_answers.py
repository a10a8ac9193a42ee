"""An executor that hears for so long nothing of what it has recorded that somebody else has the execution meanwhile:
it does not begin what the other one has done. Nor does one whose requests wait for a connection for so long.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

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
from tests.integration.executor.test_runs import call, log
from tests.servers import free_port


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


@pytest.mark.parametrize("heard", ["after it was given up", "late, and nobody else came"])
async def test_what_it_begins_late_it_asks_for_again(
    executors: Executor, far: ExecutorService, network: Proxy, endpoint: Endpoint, acme: World,
    monkeypatch: pytest.MonkeyPatch, heard: str,
) -> None:  # fmt: skip
    first = await executors.run([call(endpoint), log("after")])  # so that it need not ask how it goes
    monkeypatch.setattr(leases, "SURE_SECONDS", 0.0)  # far from here nobody can be sure
    network.down.clear()
    answer = await acme.call("POST", f"/workflows/{first['workflow_id']}/execute", {"input": {}})
    execution_id = answer.json()["execution_id"]
    await executors.begun(execution_id)
    if heard == "after it was given up":
        await executors.give_up(far)
        done = await executors.seen(execution_id, "completed")
        network.mend()
        await far.stop()
        assert attempts(done) == [("call", 1, "unknown"), ("call", 2, "completed"), ("after", 1, "completed")]
        assert await executors.seen(execution_id, "completed") == done
    else:
        network.mend()
        done = await executors.seen(execution_id, "completed")
        assert attempts(done) == [("call", 1, "completed"), ("after", 1, "completed")]
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize("sent", ["after it was given up", "late, and nobody else came"])
async def test_what_waits_for_a_connection_is_asked_for_again(
    executors: Executor, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    monkeypatch.setattr(egress, "_POOL_LIMIT_PER_HOST", 1)
    monkeypatch.setattr(leases, "SURE_SECONDS", 0.0)
    worker = await executors.start()
    endpoint.hold(1)
    first = await executors.begin([call(endpoint)])
    await endpoint.called(1)
    second = await executors.begin([call(endpoint)])
    await executors.begun(second)
    if sent == "after it was given up":
        await executors.give_up(worker)
        done = [await executors.seen(one, "completed") for one in (first, second)]
        endpoint.release(1)
        await worker.stop()
        executors.services.remove(worker)
        assert [attempts(run) for run in done] == [[("call", 1, "unknown"), ("call", 2, "completed")]] * 2
        assert [await executors.seen(one, "completed") for one in (first, second)] == done
        assert len(endpoint.requests) == 3
    else:
        endpoint.release(1)
        done = [await executors.seen(one, "completed") for one in (first, second)]
        assert [attempts(run) for run in done] == [[("call", 1, "completed")]] * 2
        assert len(endpoint.requests) == 2
