"""Bad days under load: services killed, the broker stopped and wiped, the database restarted or handed over. Nothing
accepted is lost, and nothing recorded completed is done again.

`make chaos` sets the `SIGNALBOX_CHAOS_…` variables to make them longer.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from time import perf_counter

import asyncpg
import pytest
import pytest_asyncio

from tests.e2e.chaos.load import CALLS, OUTAGE_SECONDS, Load, check, load
from tests.e2e.installation import Installation, installation

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("outages"), pytest.mark.timeout(600),
]  # fmt: skip

Report = Callable[[str, dict[str, int], float], None]

KILLS = ("executor", "webhooks", "executor", "webhooks")
REPUBLISHED = "signalbox_sweep_republished_total"
READ_ONLY = "ALTER DATABASE signalbox SET default_transaction_read_only = on"
WRITABLE = "ALTER DATABASE signalbox RESET default_transaction_read_only"
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'signalbox-%'"


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
        for number, name in enumerate(KILLS, 1):
            await calls.reached(number / (len(KILLS) + 1))
            await running.kill_and_start(name)
    figures = {"kills": len(KILLS), **await check(running, calls)}
    report("services killed", figures, perf_counter() - started)
    assert not calls.refused
    # Both hit their mark: somebody's call was cut off, and some request was under way.
    assert calls.unanswered
    assert figures["attempts in doubt"] > 0


async def test_broker_stopped_and_started_again_empty(running: Installation, report: Report) -> None:
    started, before = perf_counter(), await running.metric("scheduler", REPUBLISHED)
    async with load(running, "unplugged", CALLS) as calls:
        await calls.reached(0.3)
        lost = await wipe_what_is_queued(running, calls)
        await asyncio.sleep(OUTAGE_SECONDS)  # an outage is a length of time
        running.rabbitmq.launch()
        await running.rabbitmq.ready()
    figures = {"queued when it was wiped": lost, **await check(running, calls)}
    figures["published again"] = int(await running.metric("scheduler", REPUBLISHED) - before)
    report("broker wiped", figures, perf_counter() - started)
    assert figures["published again"] >= lost
    assert (calls.refused, calls.unanswered, len(calls.accepted)) == (set(), set(), calls.sent)


async def wipe_what_is_queued(running: Installation, calls: Load) -> int:
    """Kill the broker and throw its data away while messages are queued that nobody has taken; returns how many
    executions waited in them.
    """
    running.services["executor"].send(signal.SIGSTOP)
    try:
        await calls.sent_more(100)
        await running.rabbitmq.kill()
        (row,) = await running.fetch("SELECT count(*) AS pending FROM executions WHERE status = 'pending'")
    finally:
        running.services["executor"].send(signal.SIGCONT)
    running.rabbitmq.wipe()
    assert row["pending"] >= 50
    return row["pending"]


async def test_database_restarted(running: Installation, report: Report) -> None:
    started = perf_counter()
    async with load(running, "restarted", CALLS) as calls:
        await calls.reached(0.3)
        await running.postgres.stop()
        await running.postgres.start()
    report("database restarted", await check(running, calls), perf_counter() - started)
    assert (bool(calls.refused), calls.unanswered) == (True, set())


async def test_database_hands_over(running: Installation, report: Report) -> None:
    """What services see of a fail-over: every session ends, the server they reach next only reads, then it writes
    again.
    """
    started = perf_counter()
    operator = await asyncpg.connect(running.dsn)
    async with load(running, "handed-over", CALLS) as calls:
        for share in (0.2, 0.4, 0.6):
            await calls.reached(share)
            await operator.execute(READ_ONLY)
            await operator.execute(END_SESSIONS)
            await calls.sent_more(50)
            await operator.execute(WRITABLE)
            await operator.execute(END_SESSIONS)
    await operator.close()
    figures = {"hand-overs": 3, **await check(running, calls)}
    report("database handed over", figures, perf_counter() - started)
    assert (bool(calls.refused), calls.unanswered) == (True, set())
