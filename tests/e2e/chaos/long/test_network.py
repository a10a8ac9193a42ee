"""C8: the network between one executor and its servers is cut, whole or in one direction. Somebody else takes what it
held; when it is back it writes nothing any more.

The executor that is cut off reaches its servers through a proxy of ours; another one has a network of its own.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from tests.e2e.chaos.conftest import BadDay
from tests.e2e.chaos.proxy import Proxy, proxy
from tests.e2e.chaos.scenario import SEEDS, Day
from tests.e2e.installation import Installation
from tests.waiting import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1200), pytest.mark.parametrize("seed", SEEDS),
]  # fmt: skip

LOST = 'signalbox_claims_total{outcome="lost"}'
RECOVERED = "signalbox_sweep_recovered_total"
_HOLDERS = "SELECT worker FROM executions WHERE worker IS NOT NULL GROUP BY 1 HAVING count(*) >= 5"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(running: Installation) -> AsyncIterator[dict[str, Proxy]]:
    """The network of a second executor: `database` and `bus`."""
    async with AsyncExitStack() as stack:
        made, settings = dict[str, Proxy](), dict[str, str]()
        for name in ("database", "bus"):
            url = urlsplit(running.environment[f"SIGNALBOX_{name.upper()}_URL"])
            assert url.port is not None
            made[name] = await stack.enter_async_context(proxy(url.port))
            place = f"{url.username}:{url.password}@127.0.0.1:{made[name].port}"
            settings[f"SIGNALBOX_{name.upper()}_URL"] = url._replace(netloc=place).geturl()
        await running.add("executor", stack, alias="far executor", settings=settings)
        yield made


@pytest.fixture(autouse=True)
def mended(network: dict[str, Proxy]) -> Iterator[None]:
    """Whatever becomes of a test, the next one finds the network whole."""
    yield
    for one in network.values():
        one.mend()


async def both_hold(day: Day) -> None:
    """Returns when both executors have executions under way: who has none loses none."""

    async def have_some() -> bool:
        return len(await day.running.fetch(_HOLDERS)) == 2

    await until(have_some, 60)


async def freed(day: Day, before: float) -> None:
    """Returns when the scheduler has taken from the executor what it held."""

    async def has_freed() -> bool:
        return await day.running.metric("scheduler", RECOVERED) > before

    await until(has_freed, 60)


async def test_a_zombie_writes_nothing(
    running: Installation, a_bad_day: BadDay, network: dict[str, Proxy], seed: int
) -> None:
    """It goes on with its effects while nobody hears of it; what it then wants to record is not its own any more."""
    recovered = await running.metric("scheduler", RECOVERED)
    lost = await running.metric("far executor", LOST)
    async with a_bad_day("executor cut off from the database", seed) as day:
        await day.calls.sent_more(day.rng.randint(50, 200))
        await both_hold(day)
        network["database"].cut()
        await freed(day, recovered)
        await day.calls.sent_more(100)
        network["database"].mend()
        day.fault_over()
    assert await running.metric("far executor", LOST) > lost
    assert day.figures["in doubt"] > 0


async def test_only_its_words_are_lost(
    running: Installation, a_bad_day: BadDay, network: dict[str, Proxy], seed: int
) -> None:
    """It hears the database, which does not hear it."""
    recovered = await running.metric("scheduler", RECOVERED)
    async with a_bad_day("executor cut off in one direction", seed) as day:
        await day.calls.sent_more(day.rng.randint(50, 200))
        await both_hold(day)
        network["database"].up.clear()
        await freed(day, recovered)
        network["database"].mend()
        day.fault_over()
    assert day.figures["in doubt"] > 0


async def test_connections_are_reset(
    running: Installation, a_bad_day: BadDay, network: dict[str, Proxy], seed: int
) -> None:
    """Shorter than a lease, so that nobody is given up."""
    async with a_bad_day("executor's connections reset", seed) as day:
        for _ in range(5):
            await day.calls.sent_more(day.rng.randint(50, 200))
            for one in day.rng.sample(sorted(network), day.rng.randint(1, 2)):
                network[one].drop()
            await day.calls.sent_more(day.rng.randint(1, 200))
            for one in network.values():
                one.mend()
            day.fault_over()
    assert (day.figures["in doubt"], day.figures["repeated"]) == (0, 0)


async def test_acknowledgements_are_lost(
    running: Installation, a_bad_day: BadDay, network: dict[str, Proxy], seed: int
) -> None:
    """The broker delivers to the executor and hears nothing of it; then the connection ends, and it delivers again what
    has long been done.
    """
    async with a_bad_day("acknowledgements lost", seed) as day:
        for _ in range(3):
            await day.calls.sent_more(day.rng.randint(50, 200))
            network["bus"].up.clear()
            await day.calls.sent_more(day.rng.randint(100, 400))
            network["bus"].drop()
            network["bus"].mend()
            day.fault_over()
    assert (day.figures["in doubt"], day.figures["repeated"]) == (0, 0)
