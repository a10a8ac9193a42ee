"""Who may run now: windows of tenants, the lanes of the bus, and the order in which what waits is let go.

A tenant's *window* is how many of its executions may be on the bus or running; all tenants together share a *budget*.
What is beyond waits in PostgreSQL. Of the window a small share is *prompt*: a tenant with so little under way goes
ahead of the many executions of others.

What waits is let go by deficit round robin: tenants take turns, each turn is worth as many executions as the tenant's
weight, and a turn that the room does not suffice for is continued with the next room. Within a tenant the rank decides:
the time since which it waits, and a minute earlier for every step of priority. So whoever waits a minute longer makes
up for one step, and nobody starves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID

PRIORITIES = (-10, 10)
"""The lowest and the highest priority; 0 is usual."""
STEP_SECONDS = 60
"""So much longer must an execution have waited to make up for one step of priority."""
PROMPT = 16
"""Executions of a tenant of weight 1 that go ahead."""


class Lane(Enum):
    """Where an execution that is ready goes."""

    PROMPT = "prompt"
    BULK = "bulk"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a tenant may have: `window` executions on the bus or running, and `weight` of them a turn."""

    window: int
    weight: int = 1


def lane_of(standing: Standing, outstanding: int, room: int, *, has_backlog: bool, is_scarce: bool = False) -> Lane:
    """Where the next execution of a tenant goes that has so many on the bus or running; `room`: what is left of the
    budget, and whether that `is_scarce`.

    Behind a backlog it waits too, or the newest would overtake the oldest; but not where half of the window is free
    and room is not scarce: what is left of that backlog is let go at once, and to wait behind it would keep it alive
    for ever.
    """
    if outstanding >= standing.window or (has_backlog and (is_scarce or 2 * outstanding >= standing.window)):
        return Lane.HELD
    if outstanding < PROMPT * standing.weight:
        return Lane.PROMPT
    return Lane.BULK if room > 0 else Lane.HELD


def rank(since: datetime, priority: int) -> datetime:
    """By which what waits is ordered within a tenant, the earliest first. It does not change while time goes by."""
    return since - timedelta(seconds=STEP_SECONDS * priority)


@dataclass(frozen=True, slots=True)
class Turns:
    """Whose turn it is: the first of `order`, who has `left` of a turn that was interrupted (0: a whole one)."""

    order: Sequence[UUID] = ()
    left: int = 0


@dataclass(frozen=True, slots=True)
class Backlog:
    """A tenant with executions that wait: at most `room` of them may be let go now."""

    weight: int
    room: int


def deal(turns: Turns, backlogs: Mapping[UUID, Backlog], room: int) -> tuple[dict[UUID, int], Turns]:
    """How many of each tenant are let go, at most `room` of all together, and whose turn it is then.

    Those who are new come last, in the order of their ids. Who has no room of its own passes its turn.
    """
    order = [tenant for tenant in turns.order if tenant in backlogs]
    left = turns.left if order and turns.order[0] == order[0] else 0
    known = set(order)
    order += sorted(tenant for tenant in backlogs if tenant not in known)
    granted: dict[UUID, int] = {}
    passed = place = 0
    while room > 0 and passed < len(order):
        tenant = order[place]
        backlog = backlogs[tenant]
        turn = left or backlog.weight
        grant = min(turn, room, backlog.room - granted.get(tenant, 0))
        if grant > 0:
            granted[tenant] = granted.get(tenant, 0) + grant
            room -= grant
        passed = passed + 1 if grant <= 0 else 0
        left = turn - grant if room == 0 and grant < min(turn, backlog.room) else 0
        if left == 0:
            place = (place + 1) % len(order)
    return granted, Turns((*order[place:], *order[:place]), left)


def seconds_until_turn(place: int, ends_per_second: float) -> float | None:
    """When what stands at that place of its tenant's queue should start; None while nothing ends."""
    return None if ends_per_second <= 0 else place / ends_per_second
