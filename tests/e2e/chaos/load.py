"""Webhook calls as an outside system makes them, and what has to be true of them in the end."""

import asyncio
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import aiohttp

from tests.e2e.installation import Installation, until

CALLS = int(os.environ.get("SIGNALBOX_CHAOS_CALLS", "1000"))
OUTAGE_SECONDS = float(os.environ.get("SIGNALBOX_CHAOS_OUTAGE_SECONDS", "3"))
CALLS_PER_SECOND = float(os.environ.get("SIGNALBOX_CHAOS_CALLS_PER_SECOND", "150"))
CALLERS = 16
_SETTLE_SECONDS = 240.0


@dataclass(slots=True)
class Load:
    """A stream of calls. `accepted`: number of each call that was answered 202 → its execution."""

    url: str
    calls: int
    accepted: dict[int, UUID] = field(default_factory=dict[int, UUID])
    refused: int = 0
    unanswered: int = 0
    sent: int = 0

    async def reached(self, share: float) -> None:
        """Returns when that share of the calls was sent."""

        async def is_reached() -> bool:
            return self.sent >= self.calls * share

        await until(is_reached, _SETTLE_SECONDS)

    async def run(self) -> None:
        """Make every call once, at a steady rate; nothing is repeated, whatever becomes of it."""
        numbers, start = iter(range(self.calls)), asyncio.get_running_loop().time()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            await asyncio.gather(*[self._call_each(session, numbers, start) for _ in range(CALLERS)])

    async def _call_each(self, session: aiohttp.ClientSession, numbers: Iterator[int], start: float) -> None:
        for number in numbers:
            await asyncio.sleep(start + number / CALLS_PER_SECOND - asyncio.get_running_loop().time())
            self.sent += 1
            try:
                async with session.post(self.url, json={"number": number}) as response:
                    answer = await response.json()
                    if response.status == 202:
                        self.accepted[number] = UUID(answer["execution_id"])
                    else:
                        assert (response.status, "Retry-After" in response.headers) == (503, True), answer
                        self.refused += 1
            except (aiohttp.ClientError, TimeoutError):
                self.unanswered += 1
                await _listening(session, self.url)


@asynccontextmanager
async def load(running: Installation, slug: str, calls: int) -> AsyncGenerator[Load]:
    """A tenant with a workflow that calls the echo; the calls run while the block does, and have ended after it."""
    async with running.tenant(slug) as tenant:
        workflow = await tenant.make(
            "/workflows",
            {
                "name": "under load",
                "triggers": [{"key": "hook", "type": "webhook", "config": {"auth": {"type": "none"}}}],
                "actions": [
                    {"key": "n", "type": "set_variables", "config": {"values": {"n": "{{ webhook.body.number }}"}}},
                    {
                        "key": "call",
                        "type": "http_request",
                        "retry": {"max_attempts": 5, "backoff": "fixed", "initial_seconds": 1},
                        "config": {"url": f"{running.echo.url}/plain", "body": {"number": "{{ vars.n }}"}},
                    },
                    {"key": "end", "type": "log", "config": {"message": "{{ vars.n }}"}},
                ],
            },
        )
    made = Load(f"{running.services['webhooks'].url}/webhooks/{workflow['triggers'][0]['id']}", calls)
    task = asyncio.ensure_future(made.run())
    try:
        yield made
        await task
    finally:
        task.cancel()


async def check(running: Installation, made: Load) -> dict[str, int]:
    """Every accepted call has exactly one execution, every execution has completed, and no request recorded completed
    was made again. Returns the figures.
    """

    async def nothing_open() -> bool:
        return not await running.fetch("SELECT FROM executions WHERE finished_at IS NULL LIMIT 1")

    await until(nothing_open, _SETTLE_SECONDS)
    trigger = UUID(made.url.rsplit("/", 1)[1])
    rows = await running.fetch("SELECT id, status, input FROM executions WHERE trigger_id = $1", trigger)
    assert {row["status"] for row in rows} == {"completed"}
    ids = {row["id"] for row in rows}
    assert set(made.accepted.values()) <= ids
    assert len(set(made.accepted.values())) == len(made.accepted)
    # What was accepted, but not answered, has an execution too; nothing else has.
    assert len(ids) <= len(made.accepted) + made.unanswered
    attempts = await running.fetch(
        "SELECT execution_id, array_agg(status ORDER BY attempt) AS statuses FROM action_executions"
        " WHERE key = 'call' AND execution_id = ANY($1) GROUP BY 1",
        list(ids),
    )
    assert len(attempts) == len(ids)
    for row in attempts:
        *before, last = row["statuses"]
        assert (last, "completed" in before) == ("completed", False)
        assert running.echo.calls[f"{row['execution_id']}:call:0"] <= len(row["statuses"])
    return {
        "calls": made.calls,
        "answered 202": len(made.accepted),
        "unanswered": made.unanswered,
        "refused": made.refused,
        "executions completed": len(ids),
        "attempts in doubt": sum(row["statuses"].count("unknown") for row in attempts),
    }


async def _listening(session: aiohttp.ClientSession, url: str) -> None:
    """Returns when somebody listens at the address again."""

    async def answers() -> bool:
        try:
            async with session.get(url.partition("/webhooks/")[0] + "/healthz"):
                return True
        except aiohttp.ClientError:
            return False

    await until(answers, 60)
