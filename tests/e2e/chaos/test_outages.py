"""Bad days under load: services killed, the broker stopped and wiped, the database restarted. Nothing accepted is lost,
and nothing recorded completed is done again.

`make chaos` sets the `SIGNALBOX_CHAOS_…` variables to make them longer.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from time import perf_counter

import pytest
import pytest_asyncio

from tests.e2e.chaos.load import CALLS, OUTAGE_SECONDS, check, load
from tests.e2e.installation import Installation, installation

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("outages"), pytest.mark.timeout(600),
]  # fmt: skip

Report = Callable[[str, dict[str, int], float], None]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    async with installation(tmp_path_factory.mktemp("chaos"), SIGNALBOX_LOG_LEVEL="warning") as made:
        yield made


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    """Prints the figures of a scenario, past the capture."""

    def write(title: str, figures: dict[str, int], seconds: float) -> None:
        with capsys.disabled():
            print(
                f"\n{title}: " + ", ".join(f"{value} {name}" for name, value in figures.items()), f"in {seconds:.0f} s"
            )

    return write


async def test_executor_and_webhook_service_killed_twice_each(running: Installation, report: Report) -> None:
    started = perf_counter()
    async with load(running, "killed", CALLS) as calls:
        for share, name in ((0.2, "executor"), (0.4, "webhooks"), (0.6, "executor"), (0.8, "webhooks")):
            await calls.reached(share)
            await running.kill_and_start(name)
    report("services killed", await check(running, calls), perf_counter() - started)
    assert (calls.refused, calls.unanswered > 0) == (0, True)


async def test_broker_stopped_and_started_again_empty(running: Installation, report: Report) -> None:
    started = perf_counter()
    async with load(running, "unplugged", CALLS) as calls:
        await calls.reached(0.3)
        await running.rabbitmq.kill()
        running.rabbitmq.wipe()
        await asyncio.sleep(OUTAGE_SECONDS)  # an outage is a length of time
        running.rabbitmq.launch()
        await running.rabbitmq.ready()
    report("broker wiped", await check(running, calls), perf_counter() - started)
    assert (calls.refused, calls.unanswered, len(calls.accepted)) == (0, 0, CALLS)


async def test_database_restarted(running: Installation, report: Report) -> None:
    started = perf_counter()
    async with load(running, "restarted", CALLS) as calls:
        await calls.reached(0.3)
        await running.postgres.stop()
        await running.postgres.start()
    report("database restarted", await check(running, calls), perf_counter() - started)
    assert (calls.refused > 0, calls.unanswered) == (True, 0)
