"""C8: the network between one executor and its servers: connections are reset, and acknowledgements lost. (An executor
that nobody hears of for longer than a lease, and that comes back, is in `test_hand_over`.)

The executor that is cut off reaches its servers through a proxy of ours; another one has a network of its own.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from tests.e2e.chaos.conftest import BadDay
from tests.e2e.chaos.proxy import Proxy, proxy
from tests.e2e.chaos.scenario import SEEDS
from tests.e2e.installation import Installation

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1200), pytest.mark.parametrize("seed", SEEDS),
]  # fmt: skip


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
