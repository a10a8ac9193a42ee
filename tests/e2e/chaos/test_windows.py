"""Redis killed, emptied and started again under load that is more than a tenant's window: nothing is lost, and the
windows are right again within ten seconds.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.chaos.counts import RIGHT_SECONDS, Counts
from tests.e2e.chaos.load import CALLS, OUTAGE_SECONDS, check, load
from tests.e2e.installation import Installation, installation
from tests.waiting import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("windows"), pytest.mark.timeout(600),
]  # fmt: skip

WINDOW = 10
DISPATCHED = "signalbox_dispatched_total"
_ON_THE_WAY = 5
"""Begun or ended between the two looks, and told twenty times a second."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    folder = tmp_path_factory.mktemp("windows")
    async with installation(folder, SIGNALBOX_LOG_LEVEL="warning", SIGNALBOX_RUN_WINDOW=str(WINDOW)) as made:
        yield made


async def test_redis_killed_emptied_and_started_again_under_load(running: Installation) -> None:
    counts = Counts(running, _ON_THE_WAY)
    async with load(running, "noisy", CALLS) as calls:
        await calls.reached(0.2)
        await until(counts.are_right, RIGHT_SECONDS)
        await running.valkey.stop()
        await asyncio.sleep(OUTAGE_SECONDS)  # an outage is a length of time
        await running.valkey.start()  # it keeps nothing on disk
        await until(counts.are_right, RIGHT_SECONDS)
        await counts.empty()
        await until(counts.are_right, RIGHT_SECONDS)
    figures = await check(running, calls)
    assert (calls.refused, calls.unanswered, figures["accepted"]) == (set(), set(), calls.sent)
    assert await running.metric("scheduler", DISPATCHED) > calls.sent / 4, "most of it had to wait for its turn"
    await until(counts.are_zero, RIGHT_SECONDS)
