"""The end of every bad day: nothing is open any more, all laws hold, and the services have stayed within bounds."""

from collections.abc import Collection
from contextlib import suppress

import asyncpg
import msgspec

from tests.e2e.chaos.broker import BULK, DEAD, READY, count
from tests.e2e.chaos.footprint import bounded, check_logs
from tests.e2e.chaos.invariants import Seen, broken_laws
from tests.e2e.chaos.witness import watch
from tests.e2e.elsewhere import found_elsewhere
from tests.e2e.installation import Installation
from tests.waiting import until

SETTLE_SECONDS = 240.0
"""The drain time: by then everything has ended. A bad day of `make test` takes some seconds."""


async def begin(running: Installation) -> None:
    """Before anything is done: from now on it is noted who changes what has ended."""
    connection = await asyncpg.connect(running.dsn)
    try:
        await watch(connection)
    finally:
        await connection.close()


async def laws_hold(running: Installation, seen: Seen, known_errors: Collection[str] = ()) -> None:
    """Raises `AssertionError` with what breaks which law. What the endpoint and the broker have seen, and the secrets
    of the installation, are added to `seen`; `known_errors`: what services may have logged as errors.
    """
    await _drained(running, seen.planted)
    seen = msgspec.structs.replace(
        seen, calls=dict(running.echo.calls), latest=dict(running.echo.latest),
        secrets=[*running.secrets, *seen.secrets], dead=await count(running.rabbitmq.url, DEAD),
        services=len(running.services),
    )  # fmt: skip
    connection = await asyncpg.connect(running.dsn)
    try:
        broken = await broken_laws(connection, seen)
    finally:
        await connection.close()
    assert broken == {}, broken
    redis_url = running.environment["SIGNALBOX_REDIS_URL"]
    assert await found_elsewhere(running.rabbitmq.data, redis_url, seen.secrets) == set()
    bounded(running)
    check_logs(running, [*seen.secrets, *seen.canaries.values()], known_errors)


async def _drained(running: Installation, planted: int) -> None:
    """Nothing is open any more, nothing waits on the bus, and what belongs to the dead letters has come there if it
    ever will: the broker takes its time.
    """

    async def nothing_open() -> bool:
        return not await running.fetch("SELECT FROM executions WHERE finished_at IS NULL LIMIT 1")

    async def bus_is_empty() -> bool:
        return await count(running.rabbitmq.url, READY) + await count(running.rabbitmq.url, BULK) == 0

    async def dead_are_there() -> bool:
        return await count(running.rabbitmq.url, DEAD) >= planted

    await until(nothing_open, SETTLE_SECONDS)
    await until(bus_is_empty, SETTLE_SECONDS)
    with suppress(TimeoutError):
        await until(dead_are_there)
