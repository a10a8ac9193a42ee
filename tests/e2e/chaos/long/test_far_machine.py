"""C8 by the kernel's own network: an executor and a scheduler on another machine, which is cut off from its database,
its broker and the endpoint at once. (Namespaces: `far_machine.py`. A proxy cuts single connections: `test_network.py`.)
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.e2e.chaos.conftest import BadDay
from tests.e2e.chaos.far_machine import FarMachine, far_machine
from tests.e2e.chaos.long.test_network import LOST, RECOVERED, both_hold, freed
from tests.e2e.chaos.scenario import ROUNDS, SEEDS
from tests.e2e.installation import SERVICES, Installation, installation
from tests.waiting import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1200), pytest.mark.parametrize("seed", SEEDS),
]  # fmt: skip

GONE_SECONDS = 60.0
"""By then PostgreSQL has given up the sessions of a machine that it cannot reach (30 s by their settings, and a while
in which it still has something to send).
"""
_SESSIONS = "SELECT FROM pg_stat_activity WHERE client_addr = $1::inet"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def far(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FarMachine]:
    async with AsyncExitStack() as stack:
        try:
            made = await stack.enter_async_context(far_machine(tmp_path_factory.mktemp("machines")))
        except (PermissionError, FileNotFoundError):
            pytest.skip("namespaces need iproute2 and the right to make them, which root has on a machine of its own")
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(far: FarMachine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """The installation of all bad days here, with a second executor and scheduler there."""
    folder = tmp_path_factory.mktemp("far")
    settings = {"SIGNALBOX_HOST": far.there}
    async with (
        installation(folder, False, SERVICES, far.here, SIGNALBOX_LOG_LEVEL="warning") as made,
        AsyncExitStack() as stack,
    ):
        for name in ("executor", "scheduler"):
            await made.add(name, stack, alias=f"far {name}", settings=settings, within=far.within)
        yield made


@pytest.fixture(autouse=True)
def mended(far: FarMachine) -> Iterator[None]:
    """Whatever becomes of a test, the next one finds the network whole."""
    yield
    far.mend()


async def sessions_gone(running: Installation, far: FarMachine) -> None:
    """Returns when the database holds nothing open any more for who is there."""

    async def are_gone() -> bool:
        return not await running.fetch(_SESSIONS, far.there)

    await until(are_gone, GONE_SECONDS)


@pytest.mark.parametrize("kind", ["blackhole", "unreachable"])
async def test_a_machine_is_cut_off(
    running: Installation, a_bad_day: BadDay, far: FarMachine, seed: int, kind: str
) -> None:
    """For longer than a lease, and until the database has given up its sessions. Nobody is told, or all are."""
    lost = await running.metric("far executor", LOST)
    async with a_bad_day(f"a machine cut off ({kind})", seed) as day:
        for _ in range(ROUNDS):
            recovered = await running.metric("scheduler", RECOVERED)
            await day.calls.sent_more(day.rng.randint(50, 200))
            await both_hold(day)
            far.cut(kind=kind)
            await freed(day, recovered)
            await sessions_gone(running, far)
            far.mend()
            day.fault_over()
    assert await running.metric("far executor", LOST) > lost
    assert day.figures["in doubt"] > 0
    assert not day.calls.refused


@pytest.mark.parametrize("lost", ["its words", "what it is told"])
async def test_one_direction_is_cut(
    running: Installation, a_bad_day: BadDay, far: FarMachine, seed: int, lost: str
) -> None:
    async with a_bad_day(f"a machine cut off in one direction ({lost})", seed) as day:
        for _ in range(ROUNDS):
            recovered = await running.metric("scheduler", RECOVERED)
            await day.calls.sent_more(day.rng.randint(50, 200))
            await both_hold(day)
            far.cut_to(str(far.here.ip) if lost == "its words" else far.there)
            await freed(day, recovered)
            far.mend()
            day.fault_over()
    assert day.figures["in doubt"] > 0
    assert not day.calls.refused
