"""Turns of what waits for the run before it: soon after that has ended, and nobody holds up another."""

from datetime import UTC, datetime, timedelta

from services.scheduler.turns import Turns
from tests.integration.gateway.definitions import workflow
from tests.integration.scheduler.conftest import Timed, end_runs, every, ledger
from tests.waiting import patience

NOON = datetime(2027, 6, 1, 12, tzinfo=UTC)


async def waiting(timed: Timed, *keys: str) -> None:
    """Schedules of which one slot runs and the next one waits."""
    await timed.set(NOON)
    await timed.world.made(workflow(triggers=[every(60, key, overlap="buffer_one") for key in keys]))
    for minutes in (1, 2):
        await timed.set(NOON + timedelta(minutes=minutes, seconds=1))
        await timed.fire()


async def test_while_something_waits_the_end_of_a_run_is_never_far(timed: Timed) -> None:
    await waiting(timed, "tick")
    duty = Turns(timed.database, timed.acceptor)
    assert await duty.work() == 0.1
    await end_runs(timed.world)
    assert await duty.work() is True
    assert [outcome for _, outcome, _ in await ledger(timed.world)] == ["fired", "fired"]
    assert await duty.work() is False, "nothing waits, so there is nothing to watch"
    (row,) = await timed.world.fetch("SELECT last_run_at, last_lag_ms FROM triggers")
    assert NOON + timedelta(minutes=2) < row["last_run_at"] < NOON + timedelta(minutes=3)
    assert 1000 <= row["last_lag_ms"] < 60_000


async def test_a_schedule_that_somebody_holds_keeps_no_other_waiting(timed: Timed) -> None:
    await waiting(timed, "held", "free")
    await end_runs(timed.world)
    duty = Turns(timed.database, timed.acceptor)
    async with timed.database.transaction() as somebody:
        await somebody.execute("SELECT FROM triggers WHERE key = 'held' FOR UPDATE")
        async with patience():
            assert await duty.work() is True
            assert await duty.work() == 0.1, "what is held is left for the next look"
        assert [outcome for _, outcome, _ in await ledger(timed.world, "free")] == ["fired", "fired"]
        assert [outcome for _, outcome, _ in await ledger(timed.world, "held")] == ["fired", None]
    assert await duty.work() is True
    assert [outcome for _, outcome, _ in await ledger(timed.world, "held")] == ["fired", "fired"]
