"""Webhook calls as an outside system makes them, and what has to be true of them in the end."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID

import aiohttp

from tests.e2e.installation import Echo, Installation, until

CALLS = int(os.environ.get("SIGNALBOX_CHAOS_CALLS", "1000"))
OUTAGE_SECONDS = float(os.environ.get("SIGNALBOX_CHAOS_OUTAGE_SECONDS", "3"))
CALLS_PER_SECOND = float(os.environ.get("SIGNALBOX_CHAOS_CALLS_PER_SECOND", "200"))
CALLERS = 32
_SETTLE_SECONDS = 240.0


@dataclass(slots=True)
class Load:
    """A stream of calls, each made once. What became of each call, by its number: the execution of one that was
    answered 202, whether it was refused for now (503), or found nobody who answers.
    """

    url: str
    calls: int
    per_second: float = CALLS_PER_SECOND
    accepted: dict[int, UUID] = field(default_factory=dict[int, UUID])
    refused: set[int] = field(default_factory=set[int])
    unanswered: set[int] = field(default_factory=set[int])
    sent: int = 0
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def reached(self, share: float) -> None:
        """Returns when that share of the calls was sent."""
        await self.sent_more(round(self.calls * share) - self.sent)

    async def sent_more(self, calls: int) -> None:
        """Returns when so many further calls were sent."""
        wanted = self.sent + calls

        async def are_sent() -> bool:
            return self.sent >= wanted

        await until(are_sent, _SETTLE_SECONDS)

    async def run(self) -> None:
        """Make calls at a steady rate: `calls` of them at least, and on until there was `enough`. Nothing is repeated,
        whatever becomes of it.
        """
        start = asyncio.get_running_loop().time()
        numbers = count()
        connector = aiohttp.TCPConnector(limit=CALLERS)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as session,
            asyncio.TaskGroup() as callers,
        ):
            for _ in range(CALLERS):
                callers.create_task(self._call_each(session, numbers, start))

    async def _call_each(self, session: aiohttp.ClientSession, numbers: "count[int]", start: float) -> None:
        for number in numbers:
            if number >= self.calls and self.enough.is_set():
                return
            await asyncio.sleep(start + number / self.per_second - asyncio.get_running_loop().time())
            self.sent += 1
            try:
                async with session.post(self.url, json={"number": number}) as response:
                    self._note(number, response, await response.json())
            except (aiohttp.ClientError, TimeoutError):
                self.unanswered.add(number)
                await _listening(session, self.url)

    def _note(self, number: int, response: aiohttp.ClientResponse, answer: Any) -> None:
        if response.status == 202:
            self.accepted[number] = UUID(answer["execution_id"])
        else:
            assert (response.status, "Retry-After" in response.headers) == (503, True), answer
            self.refused.add(number)


@asynccontextmanager
async def load(
    running: Installation, slug: str, calls: int, base: str = "", per_second: float = CALLS_PER_SECOND
) -> AsyncGenerator[Load]:
    """A tenant with a workflow that calls the echo. The calls go on for as long as the block lasts at least, and have
    ended after it. `base`: where they go, if not to the webhook service itself.
    """
    async with running.tenant(slug) as tenant:
        workflow = await tenant.make("/workflows", _workflow(running.echo))
    base = base or running.services["webhooks"].url
    made = Load(f"{base}/webhooks/{workflow['triggers'][0]['id']}", calls, per_second)
    async with asyncio.TaskGroup() as group:
        group.create_task(made.run())
        yield made
        made.enough.set()


async def check(running: Installation, made: Load, known_errors: Collection[str] = ()) -> dict[str, int]:
    """Every accepted call has exactly one execution, every execution has completed, no request recorded completed was
    made again, and no service met an error that it did not expect (`known_errors`: what may stand in the logs).
    Returns the figures.
    """

    async def nothing_open() -> bool:
        return not await running.fetch("SELECT FROM executions WHERE finished_at IS NULL LIMIT 1")

    await until(nothing_open, _SETTLE_SECONDS)
    executions, duplicates = await _executions(running, made)
    attempts = await running.fetch(_ATTEMPTS, list(executions.values()))
    assert len(attempts) == len(executions)
    for row in attempts:
        _check_attempts(row, running.echo)
    for name in running.services:
        errors = [line for line in running.log_of(name) if line["level"] == "error" or "exception" in line]
        assert [line for line in errors if line["event"] not in known_errors] == []
    return {
        "calls": made.sent,
        "answered 202": len(made.accepted),
        "unanswered": len(made.unanswered),
        "refused": len(made.refused),
        "executions completed": len(executions),
        "duplicates": duplicates,
        "attempts in doubt": sum(row["statuses"].count("unknown") for row in attempts),
        "calls made again": sum(running.echo.calls[_key(row)] - 1 for row in attempts),
    }


async def _executions(running: Installation, made: Load) -> tuple[dict[int, UUID], int]:
    """The execution of each call that has one, and how many calls have more than one: none."""
    trigger = UUID(made.url.rsplit("/", 1)[1])
    rows = await running.fetch(_EXECUTIONS, trigger)
    assert Counter(row["status"] for row in rows) == {"completed": len(rows)}
    executions: dict[int, UUID] = {row["number"]: row["id"] for row in rows}
    duplicates = len(rows) - len(executions)
    assert duplicates == 0
    assert made.accepted.items() <= executions.items()
    return executions, duplicates


def _check_attempts(row: Any, echo: Echo) -> None:
    """Only the last attempt completed; those before it were in doubt; and nobody called after that completion."""
    *before, last = row["statuses"]
    assert (last, set(before) <= {"unknown"}) == ("completed", True), row
    assert row["attempts"] == list(range(1, len(row["attempts"]) + 1)), row
    assert 1 <= echo.calls[_key(row)] <= len(row["attempts"]), row
    assert echo.latest[_key(row)] <= row["completed_at"], row


def _key(row: Any) -> str:
    """The `Idempotency-Key` of the execution's call."""
    return f"{row['execution_id']}:call:0"


_EXECUTIONS = "SELECT id, status, (input->'body'->>'number')::int AS number FROM executions WHERE trigger_id = $1"
_ATTEMPTS = """
SELECT execution_id, array_agg(status ORDER BY attempt) AS statuses, array_agg(attempt ORDER BY attempt) AS attempts,
       max(finished_at) FILTER (WHERE status = 'completed') AS completed_at
  FROM action_executions WHERE key = 'call' AND execution_id = ANY($1) GROUP BY 1
"""


def _workflow(echo: Echo) -> dict[str, Any]:
    call = {"url": f"{echo.url}/slow", "body": {"number": "{{ vars.n }}"}}
    return {
        "name": "under load",
        "triggers": [{"key": "hook", "type": "webhook", "config": {"auth": {"type": "none"}}}],
        "actions": [
            {"key": "n", "type": "set_variables", "config": {"values": {"n": "{{ webhook.body.number }}"}}},
            {"key": "call", "type": "http_request", "retry": {"max_attempts": 5}, "config": call},
            {"key": "end", "type": "log", "config": {"message": "{{ vars.n }}"}},
        ],
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
