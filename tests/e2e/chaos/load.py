"""Webhook calls as an outside system makes them, and what has to be true of them in the end."""

import asyncio
import os
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count as from_zero
from typing import Any
from uuid import UUID

import aiohttp

from tests.e2e.chaos.invariants import Seen
from tests.e2e.chaos.verdict import SETTLE_SECONDS, begin, laws_hold
from tests.e2e.installation import Echo, Installation
from tests.waiting import until

CALLS = int(os.environ.get("SIGNALBOX_CHAOS_CALLS", "1000"))
OUTAGE_SECONDS = float(os.environ.get("SIGNALBOX_CHAOS_OUTAGE_SECONDS", "3"))
CALLS_PER_SECOND = float(os.environ.get("SIGNALBOX_CHAOS_CALLS_PER_SECOND", "200"))
CALM_PER_SECOND = 20.0
CALLERS = 32
SECRET = "secret-canary-8c1f0a7be2"


@dataclass(slots=True)
class Load:
    """A stream of calls, each made once. What became of each call, by its number: the execution of one that was
    answered 202, whether it was refused for now (503), or found nobody who answers. `slowest`: seconds that the answer
    took that took longest; `calm`: from now on only a few calls a second.
    """

    url: str
    calls: int
    slug: str
    per_second: float = CALLS_PER_SECOND
    accepted: dict[int, UUID] = field(default_factory=dict[int, UUID])
    refused: set[int] = field(default_factory=set[int])
    unanswered: set[int] = field(default_factory=set[int])
    sent: int = 0
    slowest: float = 0.0
    calm: bool = False
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def reached(self, share: float) -> None:
        """Returns when that share of the calls was sent."""
        await self.sent_more(round(self.calls * share) - self.sent)

    async def sent_more(self, calls: int) -> None:
        """Returns when so many further calls were sent."""
        wanted = self.sent + calls

        async def are_sent() -> bool:
            return self.sent >= wanted

        await until(are_sent, SETTLE_SECONDS)

    async def run(self) -> None:
        """Make calls at a steady rate: `calls` of them at least, and on until there was `enough`. Nothing is repeated,
        whatever becomes of it.
        """
        start = asyncio.get_running_loop().time()
        numbers = from_zero()
        connector = aiohttp.TCPConnector(limit=CALLERS)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as session,
            asyncio.TaskGroup() as callers,
        ):
            for _ in range(CALLERS):
                callers.create_task(self._call_each(session, numbers, start))

    async def _call_each(self, session: aiohttp.ClientSession, numbers: "from_zero[int]", start: float) -> None:
        for number in numbers:
            if number >= self.calls and self.enough.is_set():
                return
            if self.calm:
                await asyncio.sleep(CALLERS / CALM_PER_SECOND)
            else:
                await asyncio.sleep(start + number / self.per_second - asyncio.get_running_loop().time())
            self.sent += 1
            sent_at = asyncio.get_running_loop().time()
            try:
                async with session.post(self.url, json={"number": number, "of": canary(self.slug)}) as response:
                    self._note(number, response, await response.json())
                    self.slowest = max(self.slowest, asyncio.get_running_loop().time() - sent_at)
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
    """A tenant with a workflow that calls the echo, and a schedule that ticks every second. The calls go on for as long
    as the block lasts at least, and have ended after it; so has the schedule. `base`: where they go, if not to the
    webhook service itself.
    """
    await begin(running)
    async with running.tenant(slug) as tenant:
        _, stored = await tenant.call("PUT", "/secrets/TOKEN", {"value": SECRET})
        assert stored["name"] == "TOKEN", stored
        workflow = await tenant.make("/workflows", _workflow(running.echo))
        ticking = await tenant.make("/workflows", _ticking())
        base = base or running.services["webhooks"].url
        made = Load(f"{base}/webhooks/{workflow['triggers'][0]['id']}", calls, slug, per_second)
        async with asyncio.TaskGroup() as group:
            group.create_task(made.run())
            yield made
            made.enough.set()

        async def ticks_no_more() -> bool:
            try:
                status, _ = await tenant.call("PATCH", f"/workflows/{ticking['id']}/enable", {"enabled": False})
            except aiohttp.ClientError:  # on a connection to a gateway that is dead
                return False
            return status == 200

        await until(ticks_no_more)


async def check(
    running: Installation,
    made: Load,
    known_errors: Collection[str] = (),
    *,
    planted: int = 0,
    one_clock: bool = True,
    frozen: bool = False,
) -> dict[str, int]:
    """All laws hold, and every call that has an execution has completed. Returns the figures; the rest as of
    `laws_hold`.
    """
    seen = Seen(
        accepted=list(made.accepted.values()), canaries={made.slug: canary(made.slug)}, secrets=[SECRET],
        planted=planted, one_clock=one_clock, frozen=frozen,
    )  # fmt: skip
    await laws_hold(running, seen, known_errors)
    rows = await running.fetch(_ATTEMPTS, UUID(made.url.rsplit("/", 1)[1]))
    assert [row for row in rows if row["status"] != "completed"] == []
    return {
        "accepted": len(made.accepted),
        "executions": len(rows),
        "repeated": sum(running.echo.calls[f"{row['id']}:call:0"] - 1 for row in rows),
        "late": sum(running.echo.latest[f"{row['id']}:call:0"] > row["called"] for row in rows) if one_clock else 0,
        "in doubt": sum(row["doubts"] for row in rows),
        "unanswered": len(made.unanswered),
        "refused": len(made.refused),
    }


def canary(slug: str) -> str:
    """What every call of this tenant brings with it."""
    return f"canary-of-{slug}"


_ATTEMPTS = """
SELECT e.id, e.status, count(*) FILTER (WHERE a.status = 'unknown') AS doubts,
       max(a.finished_at) FILTER (WHERE a.key = 'call') AS called
  FROM executions e
  LEFT JOIN action_executions a ON a.tenant_id = e.tenant_id AND a.execution_id = e.id
 WHERE e.trigger_id = $1 GROUP BY e.tenant_id, e.id
"""


def _workflow(echo: Echo) -> dict[str, Any]:
    call = {
        "url": f"{echo.url}/slow", "body": {"number": "{{ vars.n }}"}, "headers": {"X-Token": "{{ secrets.TOKEN }}"},
    }  # fmt: skip
    return {
        "name": "under load",
        "triggers": [{"key": "hook", "type": "webhook", "config": {"auth": {"type": "none"}}}],
        "actions": [
            {"key": "n", "type": "set_variables", "config": {"values": {"n": "{{ webhook.body.number }}"}}},
            {"key": "call", "type": "http_request", "retry": {"max_attempts": 5}, "config": call},
            {"key": "end", "type": "log", "config": {"message": "{{ vars.n }}"}},
        ],
    }


def _ticking() -> dict[str, Any]:
    tick = {"key": "tick", "type": "schedule", "config": {"type": "interval", "seconds": 1}}
    return {"name": "ticking", "triggers": [tick], "actions": [{"key": "l", "type": "log", "config": {"message": "t"}}]}


async def _listening(session: aiohttp.ClientSession, url: str) -> None:
    """Returns when somebody listens at the address again."""

    async def answers() -> bool:
        try:
            async with session.get(url.partition("/webhooks/")[0] + "/healthz"):
                return True
        except aiohttp.ClientError:
            return False

    await until(answers, 60)
