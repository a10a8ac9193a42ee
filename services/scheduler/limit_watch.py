"""Duty: tells tenants that a limit is nearly used up. Counts what lies in rows (workflows, schedules, executions in
flight, stored bytes) of tenants that have such limits, and raises `limit.near` for these and for the rates that the
doors have noted: once for each limit and day, in the transaction that says it was raised.
"""

from collections.abc import Iterator
from datetime import date
from uuid import UUID

import msgspec

from libs.common.accept import Acceptor
from libs.common.clock import Clock, new_id
from libs.common.db.event_triggers import listening_tenants
from libs.common.db.events import RaisedEvent, raise_events
from libs.common.db.pool import Connection, Database
from libs.common.db.tenant_limits import (
    Quota,
    Warned,
    count_in_flight,
    count_stocks,
    list_quotas,
    next_to_weigh,
    note_warnings,
    take_warnings,
    weigh_tenant,
)
from libs.common.domain.event_names import patterns_for
from libs.common.domain.events import NewEvent
from libs.common.domain.limits import STOCKS, Limits, is_near
from libs.common.limits.plans import Plans

EVENT = "limit.near"
_TENANTS, _WARNINGS = 500, 200
_WEIGH_SECONDS = 600.0
"""So often the rows of a tenant that may store so much only are weighed."""


class LimitWatch:
    """Looks at all tenants, a page after the other."""

    name = "limit_watch"
    least = 1.0
    most = 15.0

    def __init__(self, database: Database, acceptor: Acceptor, plans: Plans, clock: Clock) -> None:
        self._database, self._acceptor, self._plans, self._clock = database, acceptor, plans, clock
        self._after: UUID | None = None

    async def work(self) -> bool:
        """One page of tenants, and what is to be told; more until the last page."""
        async with self._database.connection() as connection:
            page = await list_quotas(connection, self._after, _TENANTS)
            limited = {tenant: (quota, self._plans.limits(quota.plan, quota.quota)) for tenant, quota in page}
            await self._count(connection, {one: both for one, both in limited.items() if _has_stocks(both[1])})
        async with self._database.transaction() as connection:
            raised = await _tell(connection)
        self._acceptor.announce_raised(raised)
        self._after = page[-1][0] if len(page) == _TENANTS else None
        return self._after is not None

    async def _count(self, connection: Connection, limited: dict[UUID, tuple[Quota, Limits]]) -> None:
        if not limited:
            return
        weighed = [one for one, (_, limits) in limited.items() if limits.stored_bytes is not None]
        heaviest = await next_to_weigh(connection, weighed, _WEIGH_SECONDS)
        fresh = None if heaviest is None else await weigh_tenant(connection, heaviest)
        stocks = await count_stocks(connection, list(limited))
        in_flight = await count_in_flight(connection, list(limited))
        day, warned = self._clock.now().date(), list[Warned]()
        for tenant, (quota, limits) in limited.items():
            used = {
                **stocks[tenant]._asdict(), "executions_in_flight": in_flight.get(tenant, 0),
                "stored_bytes": fresh if tenant == heaviest and fresh is not None else quota.stored_bytes,
            }  # fmt: skip
            warned += _near(tenant, limits, used, day)
        await note_warnings(connection, warned)


def _has_stocks(limits: Limits) -> bool:
    return any(getattr(limits, name) is not None for name in STOCKS)


def _near(tenant_id: UUID, limits: Limits, used: dict[str, int], day: date) -> Iterator[Warned]:
    for name in STOCKS:
        value: int | None = getattr(limits, name)
        if value is not None and is_near(value, used[name]):
            yield Warned(tenant_id, name, day, value, used[name])


async def _tell(connection: Connection) -> list[RaisedEvent]:
    """Warnings nobody was told of are events, where something listens."""
    warned = await take_warnings(connection, _WARNINGS)
    tenants = sorted({one.tenant_id for one in warned})
    listening = await listening_tenants(connection, tenants, sorted(patterns_for(EVENT))) if tenants else set[UUID]()
    events = [_event(one) for one in warned if one.tenant_id in listening]
    return await raise_events(connection, events) if events else []


def _event(one: Warned) -> NewEvent:
    data = {"limit": one.name, "value": one.value, "used": one.used, "day": one.day}
    return NewEvent(one.tenant_id, new_id(), EVENT, msgspec.json.encode(data).decode(), "limit")
