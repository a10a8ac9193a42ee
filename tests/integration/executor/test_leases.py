"""What a worker knows of its own lease."""

from uuid import UUID

import pytest

from libs.common.clock import new_id
from services.executor import leases
from services.executor.leases import Lease, elapsed
from tests.integration.conftest import World
from tests.waiting import until

_BEAT_AT = "SELECT beat_at FROM workers WHERE id = $1"


async def test_a_lease_covers_the_time_since_which_it_was_refreshed_without_a_gap(acme: World) -> None:
    lease, before = Lease(acme.parts.database, new_id(), "executor"), elapsed()
    assert not lease.covers(before)
    await lease.start()
    known = elapsed()
    assert lease.covers(known)
    assert not lease.covers(before)
    await lease.stop()


async def refreshed(world: World, worker: UUID) -> None:
    """Returns when the worker's row was refreshed once more."""
    ((before,),) = await world.fetch(_BEAT_AT, worker)

    async def is_refreshed() -> bool:
        ((now,),) = await world.fetch(_BEAT_AT, worker)
        return bool(now > before)

    await until(is_refreshed)


async def test_a_gap_is_remembered_when_refreshes_come_again(acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.01)
    worker = new_id()
    lease = Lease(acme.parts.database, worker, "executor")
    await lease.start()
    before = elapsed()
    assert lease.covers(before)
    with monkeypatch.context() as slow:
        slow.setattr(leases, "SURE_SECONDS", 0.0)  # every refresh comes too late
        assert not lease.covers(before)
        for _ in range(2):  # once the second one is stored, the first one's answer has been heard
            await refreshed(acme, worker)
    assert not lease.covers(before)
    assert lease.covers(elapsed())
    await lease.stop()
