"""Schedules through bad days: two schedulers killed in turn, the clock set forward and back, the database restarted.
The ledger has every slot once, and the executions are those of the ledger.

`make chaos` sets the `SIGNALBOX_CHAOS_…` variables to make it longer.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.e2e.chaos.invariants import Seen
from tests.e2e.chaos.verdict import begin, laws_hold
from tests.e2e.installation import Installation, installation
from tests.waiting import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("schedules"), pytest.mark.timeout(1200),
]  # fmt: skip

SCHEDULES = int(os.environ.get("SIGNALBOX_CHAOS_SCHEDULES", "300"))
SECONDS = float(os.environ.get("SIGNALBOX_CHAOS_SCHEDULE_SECONDS", "20"))
PERIOD_SECONDS = 10 if SECONDS > 60 else 2
JUMPS = (25, -20, 90)
"""By so many seconds: what was passed over is caught up with; nothing is due twice; most of it is missed."""

_CLOCK = """
CREATE OR REPLACE FUNCTION clock.now() RETURNS timestamptz STABLE LANGUAGE sql
    RETURN pg_catalog.now() + make_interval(secs => {ahead})
"""
_CLOCK_FIRST = """
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = clock, pg_catalog, public', current_database()); END $$
"""
_MULTIPLY = """
INSERT INTO triggers (tenant_id, id, workflow_id, key, type, config, enabled, next_run_at)
SELECT tenant_id, gen_random_uuid(), workflow_id, 'more' || n, type,
       (config::jsonb || jsonb_build_object(
          'anchor', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
          'overlap', (ARRAY['allow', 'skip', 'buffer_all', 'buffer_one', 'cancel_running'])[1 + n % 5]))::json,
       enabled, at
  FROM triggers, generate_series(1, $1::int) n,
       LATERAL (SELECT date_trunc('milliseconds', next_run_at + make_interval(secs => $2::float8 * n / $1)) AS at) x
"""
_LAGS = "SELECT EXISTS (SELECT FROM triggers WHERE next_run_at < now() - make_interval(secs => $1)) AS lags"
_STOP = "UPDATE triggers SET next_run_at = NULL"
_IS_OPEN = """
SELECT EXISTS (SELECT FROM schedule_gaps) OR EXISTS (SELECT FROM schedule_runs WHERE waits)
    OR EXISTS (SELECT FROM executions WHERE finished_at IS NULL) AS is_open
"""
_OUTCOMES = "SELECT outcome, count(*) FROM firings GROUP BY 1 ORDER BY 1"
_STATUSES = "SELECT status, count(*) FROM executions GROUP BY 1"
_LEAST = "SELECT count(*) AS slots FROM firings GROUP BY trigger_id ORDER BY 1 LIMIT 1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    async with installation(tmp_path_factory.mktemp("schedules"), SIGNALBOX_LOG_LEVEL="warning") as made:
        yield made


async def set_clock(running: Installation, ahead: int) -> None:
    """The database's clock is so many seconds ahead of what it was at first."""
    await running.fetch(_CLOCK.format(ahead=ahead))


async def test_every_slot_stands_in_the_ledger_once_and_the_executions_are_those_of_the_ledger(
    running: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    await begin(running)
    await running.fetch("CREATE SCHEMA clock")
    await running.fetch("GRANT USAGE ON SCHEMA clock TO PUBLIC")
    await set_clock(running, 0)
    await running.fetch(_CLOCK_FIRST)
    async with AsyncExitStack() as stack:
        await running.add("scheduler", stack, alias="second scheduler")
        tick = {"key": "tick", "type": "schedule", "config": {"type": "interval", "seconds": PERIOD_SECONDS}}
        log = {"key": "l", "type": "log", "config": {"message": "tick"}}
        for name in ("gateway", "scheduler", "executor"):
            await running.kill_and_start(name)  # so that all of them go by that clock
        tenant = await stack.enter_async_context(running.tenant("punctual"))
        await tenant.make("/workflows", {"name": "ticking", "triggers": [tick], "actions": [log]})
        await running.fetch(_MULTIPLY, SCHEDULES - 1, float(PERIOD_SECONDS))
        await bad_days(running)
        await until(lambda: nobody_lags(running), 240)
        await running.fetch(_STOP)

        async def all_is_done() -> bool:
            return not (await running.fetch(_IS_OPEN))[0]["is_open"]

        await until(all_is_done, 300)
        outcomes = {row["outcome"]: row["count"] for row in await running.fetch(_OUTCOMES)}
        statuses = {row["status"]: row["count"] for row in await running.fetch(_STATUSES)}
        with capsys.disabled():
            print(f"\n{SCHEDULES} schedules: {outcomes}, {statuses}")
        await laws_hold(running, Seen(one_clock=False))
        assert statuses.keys() <= {"completed", "cancelled"}
        assert {"fired", "caught_up", "missed"} <= outcomes.keys()
        (least,) = await running.fetch(_LEAST)
        assert least["slots"] >= (SECONDS + sum(JUMPS)) // PERIOD_SECONDS - 2
        assert sum(outcomes.values()) >= SCHEDULES * least["slots"]


async def nobody_lags(running: Installation) -> bool:
    """Every schedule has its slots up to the last one: a machine at its limit takes its time to catch up."""
    return not (await running.fetch(_LAGS, float(PERIOD_SECONDS)))[0]["lags"]


async def bad_days(running: Installation) -> None:
    """So many seconds in which both schedulers die in turn, the clock jumps and the database restarts."""
    ahead, pause = 0, SECONDS / (2 * len(JUMPS) + 2)
    for number, jump in enumerate(JUMPS):
        await asyncio.sleep(pause)  # a load is a length of time
        await running.kill_and_start(("scheduler", "second scheduler")[number % 2])
        await asyncio.sleep(pause)
        ahead += jump
        await set_clock(running, ahead)
    await asyncio.sleep(pause)
    await running.postgres.stop()
    await running.postgres.start()
    await running.kill_and_start("second scheduler")
    await asyncio.sleep(pause)
