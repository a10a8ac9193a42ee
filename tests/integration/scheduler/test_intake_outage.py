"""Events from an exchange through bad days: a process that dies between commit and acknowledgement, a database and a
broker that go and come back. Nothing is lost, and nothing runs twice.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from libs.common.accept import Acceptor
from libs.common.db.events import RaisedEvent
from libs.common.db.migrate import migrate
from libs.common.domain.events import NewEvent
from libs.common.embedded.postgres import EmbeddedPostgres
from tests.integration.conftest import World
from tests.integration.gateway.test_events import listener
from tests.integration.scheduler.conftest import metric
from tests.integration.scheduler.exchange import Exchange, until_count
from tests.servers import RabbitMQ
from tests.waiting import until


@pytest.fixture
async def database_dsn(server: EmbeddedPostgres) -> str:
    """The world of these tests lives on that server."""
    dsn = await server.start()
    await migrate(dsn)
    return dsn


@pytest.fixture
async def exchange(rabbitmq: RabbitMQ, acme: World) -> AsyncIterator[Exchange]:
    made = Exchange(rabbitmq.url, acme)
    await made.open()
    yield made
    await made.close()


class Doomed(Acceptor):
    """Commits, and then the process does nothing any more."""

    async def raise_events(self, events: Sequence[NewEvent]) -> list[RaisedEvent]:
        await super().raise_events(events)
        return await asyncio.get_running_loop().create_future()


async def test_who_dies_between_commit_and_acknowledgement_doubles_nothing(exchange: Exchange, acme: World) -> None:
    await acme.made(listener("All", "*"))
    acceptor = Doomed(acme.parts.database, acme.bus)
    doomed = await exchange.intake(acceptor)
    await exchange.publish([{"type": "a", "id": "1"}, {"type": "b", "id": "2"}])
    await exchange.publish({"type": "c"}, message_id="m3")
    await until_count(acme, "executions", 3)
    before = metric("exchange_messages_total", outcome="duplicate")
    await doomed.stop(0)  # the handlers are cut off, as by SIGKILL: the broker hears nothing of them
    await acceptor.close()
    await exchange.intake()

    async def both_came_again() -> bool:
        return metric("exchange_messages_total", outcome="duplicate") == before + 2

    await until(both_came_again)
    assert (await acme.count("events"), await acme.count("executions")) == (3, 3)
    assert (await exchange.waiting(), await exchange.dead()) == (0, 0)


async def test_while_the_database_is_away_messages_wait_in_hand_and_all_are_raised_once(
    exchange: Exchange, acme: World, server: EmbeddedPostgres
) -> None:
    await acme.made(listener("All", "*"))
    first, second = await exchange.intake(), await exchange.intake()
    await exchange.publish({"type": "before", "id": "0"})
    await until_count(acme, "executions", 1)
    await server.stop()
    for number in range(1, 201):
        await exchange.publish({"type": "meanwhile", "id": str(number)})

    async def bounded() -> bool:  # 64 in the hands of each, the rest waits
        return await exchange.waiting() == 200 - 2 * 64

    await until(bounded)
    await first.stop(1)  # what waits in its hands goes back and is the other's
    await server.start()
    await until_count(acme, "executions", 201)
    await second.stop(5)
    rows = await acme.fetch("SELECT dedupe_id, count(*) AS times FROM events GROUP BY 1")
    assert {row["dedupe_id"]: row["times"] for row in rows} == {str(number): 1 for number in range(201)}
    assert (await exchange.waiting(), await exchange.dead()) == (0, 0)


async def test_a_broker_that_goes_and_comes_back(exchange: Exchange, acme: World, rabbitmq: RabbitMQ) -> None:
    await acme.made(listener("All", "*"))
    await exchange.publish_later([{"type": "before", "id": "1"}])
    await rabbitmq.stop()
    intake = exchange.started()
    rabbitmq.launch()
    await rabbitmq.ready()
    await until_count(acme, "executions", 1)
    await rabbitmq.stop()
    rabbitmq.launch()
    await rabbitmq.ready()
    await exchange.publish({"type": "after", "id": "2"})
    await until_count(acme, "executions", 2)
    await intake.stop(5)
    assert await acme.count("events") == 2
