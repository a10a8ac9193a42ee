"""How soon the scheduler looks again: at once while slots come due, then when the next one is, and seldom when idle."""

from datetime import UTC, datetime, timedelta

from services.scheduler.firing import Firing
from tests.integration.gateway.definitions import workflow
from tests.integration.scheduler.conftest import Timed, every, ledger

NOON = datetime(2027, 6, 1, 12, tzinfo=UTC)


async def test_after_slots_it_looks_at_once_for_those_that_came_due_meanwhile(timed: Timed) -> None:
    """Else a steady load would wait for the pauses of an idle scheduler after every pass that took all there was."""
    await timed.set(NOON)
    await timed.world.made(workflow(triggers=[every(30)]))
    await timed.set(NOON + timedelta(seconds=30))
    duty = Firing(timed.database, timed.acceptor)
    soon = await duty.work()
    assert (type(soon), soon) == (float, 0.0)
    assert await ledger(timed.world) == [(NOON + timedelta(seconds=30), "fired", True)]
    until_next = await duty.work()
    assert isinstance(until_next, float)
    assert 25 < until_next <= 30


async def test_with_nothing_to_wait_for_it_says_so(timed: Timed) -> None:
    await timed.set(NOON)
    assert await Firing(timed.database, timed.acceptor).work() is False
