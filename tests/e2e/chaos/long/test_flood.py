"""C16: one tenant drops far more than its window and goes on doing so, while an executor dies and Redis forgets or is
gone. The others go on, the windows are right again within ten seconds, and nothing is lost, of the flood neither.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from tests.e2e.chaos.conftest import BadDay
from tests.e2e.chaos.counts import RIGHT_SECONDS, Counts
from tests.e2e.chaos.load import CALLS, OUTAGE_SECONDS, Load, check, load
from tests.e2e.chaos.scenario import SEEDS, Day
from tests.e2e.installation import Installation, Tenant, installation
from tests.waiting import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1200), pytest.mark.parametrize("seed", SEEDS),
]  # fmt: skip

WINDOW = 200
ON_THE_WAY = WINDOW // 4
"""So much begins or ends between two looks, at a thousand a second."""
BESIDE_PER_SECOND = 20.0
EACH_EVENT = 10
"""Executions that an event starts."""
EVENTS = 100
"""Events of one request."""
LEASE_SECONDS = 20.0
"""A lease, and what it takes to free and run what the dead executor held."""

_TENANT = "SELECT tenant_id FROM tenants WHERE slug = $1"
_OPEN = "SELECT count(*) AS count FROM executions WHERE tenant_id = $1 AND finished_at IS NULL"
_ENDED = "SELECT status, count(*) FROM executions WHERE tenant_id = $1 GROUP BY 1"
_ENDS = "SELECT id, finished_at FROM executions WHERE id = ANY($1::uuid[])"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    folder = tmp_path_factory.mktemp("flood")
    async with AsyncExitStack() as stack:
        settings = {"SIGNALBOX_LOG_LEVEL": "warning", "SIGNALBOX_RUN_WINDOW": str(WINDOW)}
        made = await stack.enter_async_context(installation(folder, **settings))
        await made.add("executor", stack, alias="second executor")
        yield made


class Flood:
    """What one tenant drops. `sent`: executions so far; `tenant_id`: whose they are."""

    def __init__(self, running: Installation, tenant: Tenant) -> None:
        self._running, self._tenant = running, tenant
        self.sent = 0
        self.tenant_id = UUID(int=0)

    async def begin(self) -> None:
        """As many executions as a day has calls, at once."""
        for number in range(EACH_EVENT):
            await self._tenant.make("/workflows", flooded(number, f"{self._running.echo.url}/slow"))
        (row,) = await self._running.fetch(_TENANT, self._tenant.headers["X-Tenant-ID"])
        self.tenant_id = row["tenant_id"]
        while self.sent < CALLS:
            await self._drop()

    async def go_on(self) -> None:
        """Until it is cancelled there are always some thousand that wait."""
        while True:
            if await self.open() < 2 * EACH_EVENT * EVENTS:
                await self._drop()
            await asyncio.sleep(0.1)  # a rate of looks

    async def open(self) -> int:
        """Executions that have not ended."""
        (row,) = await self._running.fetch(_OPEN, self.tenant_id)
        return row["count"]

    async def has_ended(self) -> bool:
        return await self.open() == 0

    async def _drop(self) -> None:
        answer = await self._tenant.make("/events", {"events": [{"type": "flood", "data": {}}] * EVENTS})
        started = sum(len(item["execution_ids"]) for item in answer["items"])
        assert started == EACH_EVENT * EVENTS
        self.sent += started


def flooded(number: int, url: str) -> dict[str, Any]:
    """A workflow that each event of the flood starts."""
    call = {"key": "call", "type": "http_request", "config": {"url": url, "body": {"number": number}}}
    trigger = {"key": "flood", "type": "event", "config": {"event": "flood"}}
    return {"name": f"flood {number}", "triggers": [trigger], "actions": [call]}


@asynccontextmanager
async def flooding(running: Installation, slug: str) -> AsyncGenerator[Flood]:
    """It goes on as long as the block lasts; after that it has ended."""
    async with running.tenant(slug) as tenant:
        flood = Flood(running, tenant)
        await flood.begin()
        async with asyncio.TaskGroup() as group:
            goes_on = group.create_task(flood.go_on())
            yield flood
            goes_on.cancel()
        await until(flood.has_ended, 240)


async def test_others_go_on_while_executors_die_and_redis_forgets(
    running: Installation, a_bad_day: BadDay, say: Callable[[str], None], seed: int
) -> None:
    counts, took = Counts(running, ON_THE_WAY), dict[str, float]()
    async with (
        a_bad_day("flood of one tenant", seed, calls=0, per_second=BESIDE_PER_SECOND) as day,
        load(running, f"beside-{seed}", 0, per_second=BESIDE_PER_SECOND / 2) as beside,
    ):
        await day.calls.sent_more(100)
        alone = set(day.calls.accepted)
        async with flooding(running, f"flood-{seed}") as flood:
            await until(lambda: windows_are_right(counts, flood), RIGHT_SECONDS)
            for name, fault in day.rng.sample(faults(day, counts), 3):
                await fault()
                started = perf_counter()
                await until(lambda: windows_are_right(counts, flood), RIGHT_SECONDS)
                took[name] = perf_counter() - started
                assert await flood.open() > WINDOW, "there is no flood any more"
                await asyncio.sleep(day.rng.uniform(2, 4))  # a load is a length of time
        day.fault_over()
    await check(running, beside)
    statuses = {row["status"]: row["count"] for row in await running.fetch(_ENDED, flood.tenant_id)}
    assert statuses == {"completed": flood.sent}
    before, during = (
        await waits(running, day.calls, alone),
        await waits(running, day.calls, set(day.calls.accepted) - alone),
    )
    during += await waits(running, beside, set(beside.accepted))
    right = ", ".join(f"{seconds:.1f} s after {name}" for name, seconds in took.items())
    say(
        f"flood of {flood.sent}: of {len(during)} beside it 95 % took {p95(during):.2f} s, the longest"
        f" {max(during):.1f} s; alone {p95(before):.2f} s; windows right {right}"
    )
    for calls in (day.calls, beside):
        assert (calls.refused, calls.unanswered, len(calls.accepted)) == (set(), set(), calls.sent)
    assert p95(during) < 2 * p95(before) + 0.5
    assert max(during) < LEASE_SECONDS


async def windows_are_right(counts: Counts, flood: Flood) -> bool:
    """All count the same, and the flood has its window and no more. (What was accepted this moment may be beyond.)"""
    known = (await counts.known()).get(flood.tenant_id, 0)
    return 0 < known <= WINDOW + ON_THE_WAY and await counts.are_right()


def faults(day: Day, counts: Counts) -> list[tuple[str, Callable[[], Awaitable[Any]]]]:
    """What happens, by its name."""

    async def redis_away() -> None:
        await day.running.valkey.stop()
        await asyncio.sleep(OUTAGE_SECONDS)  # an outage is a length of time
        await day.running.valkey.start()

    return [
        ("an executor was killed", lambda: day.running.kill_and_start("executor")),
        ("Redis was emptied", counts.empty),
        ("Redis was away", redis_away),
    ]


async def waits(running: Installation, calls: Load, numbers: set[int]) -> list[float]:
    """Seconds from the acceptance to the end of each of these calls."""
    rows = await running.fetch(_ENDS, [calls.accepted[number] for number in numbers])
    return [(row["finished_at"] - accepted_at(row["id"])) / timedelta(seconds=1) for row in rows]


def accepted_at(execution: UUID) -> datetime:
    """The time in a UUIDv7, to the millisecond."""
    return datetime.fromtimestamp((execution.int >> 80) / 1000, UTC)


def p95(seconds: list[float]) -> float:
    """95 of 100 are not longer."""
    return sorted(seconds)[len(seconds) * 95 // 100]
