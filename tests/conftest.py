"""Private servers for the tests, started when a test first needs them and shared by all tests of one worker process.

Isolation is cheap: an empty database per test (`databases.py`), an emptied Valkey, and one RabbitMQ on which every
test uses a random prefix for its queues. What a test leaves behind (connections, processes)
fails it.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio

from libs.common.db.pool import Database
from libs.common.embedded.postgres import EmbeddedPostgres
from libs.common.embedded.valkey import EmbeddedValkey
from tests.databases import Databases, make_template
from tests.servers import MARK, RabbitMQ, find_rabbitmq, left_running
from tests.waiting import until


@pytest.fixture(scope="session", autouse=True)
def no_process_left() -> Iterator[None]:
    """Whatever this worker started is gone in the end."""
    run = str(os.getpid())
    os.environ[MARK] = run
    yield

    async def is_alone() -> bool:
        return left_running(run) == []

    with suppress(TimeoutError):  # a node that is killed while it starts leaves a helper that ends by itself
        _wait_for(until(is_alone, 20.0))
    assert left_running(run) == []


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_dsn(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Address of a private PostgreSQL; its role may create databases."""
    # Without autovacuum: a worker of the server's own in a database keeps its role from dropping it.
    server = EmbeddedPostgres(tmp_path_factory.mktemp("data"), settings={"fsync": "off", "autovacuum": "off"})
    yield await server.start()
    await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def migrated_template(postgres_dsn: str) -> str:
    """Name of a database that is migrated and otherwise empty."""
    return await make_template(postgres_dsn)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def databases(postgres_dsn: str, migrated_template: str) -> Databases:
    """Copies of the template, used one after the other."""
    return await Databases.on(postgres_dsn, migrated_template)


@pytest.fixture
async def database_dsn(databases: Databases) -> AsyncIterator[str]:
    """Address of a migrated database that only this test uses. The test must give back every connection."""
    dsn = await databases.take()
    yield dsn
    users = await databases.give_back(dsn)
    assert users == "", f"connections left open: {users}"


@pytest.fixture
async def database(database_dsn: str) -> AsyncIterator[Database]:
    """A pool on `database_dsn`."""
    pool = Database(database_dsn, size=8, name="test")
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """The RabbitMQ node of this worker, running. A test that stops it starts it again."""
    if find_rabbitmq() is None:
        pytest.fail("RabbitMQ is not installed: apt-get install rabbitmq-server", pytrace=False)
    node = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    node.launch()
    _wait_for(node.ready())
    yield node
    _wait_for(node.close())


@pytest.fixture
def amqp_url(rabbitmq: RabbitMQ) -> str:
    """Address of a RabbitMQ. Take a random prefix for the names of queues."""
    return rabbitmq.url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Address of the Valkey of this worker."""
    server = EmbeddedValkey(tmp_path_factory.mktemp("data"))
    yield await server.start()
    await server.stop()


@pytest.fixture
async def redis_url(valkey_url: str) -> AsyncIterator[str]:
    """Address of an empty Valkey."""
    yield valkey_url
    async with redis.asyncio.from_url(valkey_url) as client:
        await client.flushall()  # pyright: ignore[reportUnknownMemberType]


def _wait_for(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end from synchronous code, be there a running loop in this thread or not."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:  # noqa: BLE001 - raised again below, in the caller's thread
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
