"""C10: the clock of one scheduler, or of one executor, is an hour wrong and jumps. The database's clock judges: no slot
is fired twice, and no lease is taken before its time.

By libfaketime: the processes alone see another time, and `asyncio.sleep` keeps its length. The clock of the whole
installation, which is the database's, jumps in `test_schedules`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.chaos.conftest import BadDay
from tests.e2e.chaos.frozen import frozen
from tests.e2e.chaos.scenario import SEEDS
from tests.e2e.installation import Installation

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1200), pytest.mark.parametrize("seed", SEEDS),
]  # fmt: skip

LIBRARY = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
_BY_ID = "(('x' || substr(replace(e.id::text, '-', ''), 1, 12))::bit(48)::bigint / 1000.0)"
"""The time of whoever made the execution, in seconds."""
_WRONG = f"""
SELECT (SELECT count(*) FROM executions e
          JOIN action_executions a ON a.tenant_id = e.tenant_id AND a.execution_id = e.id
         WHERE e.tenant_id = t.tenant_id AND e.trigger_type = 'webhook'
           AND abs(extract(epoch FROM a.started_at) - {_BY_ID}) > 1800) AS attempts,
       (SELECT count(*) FROM executions e
          JOIN firings f ON f.tenant_id = e.tenant_id AND f.execution_id = e.id
         WHERE e.tenant_id = t.tenant_id
           AND abs(extract(epoch FROM f.actual_at) - {_BY_ID}) > 1800) AS executions
  FROM tenants t WHERE t.slug = $1
"""
"""Attempts beside the clock of the webhook service, and executions of schedules beside that of the database."""
JUMPS = ("+1h", "-1h", "+90s", "-30s", "+0")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clock(running: Installation) -> AsyncIterator[Path]:
    """A file: what it says is how wrong the clocks of one more scheduler and one more executor are."""
    if LIBRARY is None:
        pytest.skip("clocks are set by libfaketime, which is not installed: apt-get install libfaketime")
    file = running.folder / "clock"
    set_clock(file, "+0")
    settings = {
        "LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    async with AsyncExitStack() as stack:
        for name in ("scheduler", "executor"):
            await running.add(name, stack, alias=f"{name} with a clock of its own", settings=settings)
        yield file


def set_clock(file: Path, by: str) -> None:
    """Nobody finds the file empty."""
    new = file.with_suffix(".new")
    new.write_text(f"{by}\n")
    new.replace(file)


async def test_one_scheduler_and_one_executor_whose_clock_jumps(
    running: Installation, a_bad_day: BadDay, clock: Path, seed: int
) -> None:
    async with a_bad_day("clocks jump", seed) as day:
        day.one_clock = False
        for jump in day.rng.sample(JUMPS, len(JUMPS)):
            await asyncio.sleep(day.rng.uniform(2, 4))  # a load is a length of time
            set_clock(clock, jump)
            with frozen(running.services["scheduler"].pid):  # so that some slots are the other one's
                await asyncio.sleep(2)
        set_clock(clock, "+0")
        day.fault_over()
    assert (day.calls.refused, day.calls.unanswered, day.figures["repeated"]) == (set(), set(), 0)
    (wrong,) = await running.fetch(_WRONG, day.calls.slug)
    assert wrong["attempts"] > 0, "the executor went by the right time"
    assert wrong["executions"] > 0, "the scheduler went by the right time"
