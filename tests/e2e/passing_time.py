"""The four services in this process, over a real database, on ports of their own, and a clock that moves all of them.

The services take their time from two places: a `Clock`, which a test may hand over, and the `now()` of the database, by
which schedules fall due and executions wake. `Time` moves both by the same amount. In this database a function `now`
stands before PostgreSQL's in the search path and adds what has passed; so every statement of the product runs as it
is, no due time is edited, and nothing in the product knows of it. Only what columns write by default (`created_at`)
and the time within ids stays the machine's.

What goes on while time passes goes on here too: workers beat, and partitions of the coming days are made.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import asyncpg

from libs.common.db.partitions import make_partitions
from libs.common.parts import open_parts
from libs.common.runtime import HttpServer, take_port, with_health
from libs.common.security.encryption import new_master_key
from libs.common.settings import load_settings
from services.one import build
from tests.e2e.installation import PLATFORM_KEY, SERVICES, Tenant

_DRAIN_SECONDS = 5.0

_OWN_NOW = """
CREATE SCHEMA test_time;
CREATE TABLE test_time.passed (by interval NOT NULL);
INSERT INTO test_time.passed VALUES ('0');
CREATE FUNCTION test_time.now() RETURNS timestamptz LANGUAGE sql STABLE
AS 'SELECT pg_catalog.now() + by FROM test_time.passed';
GRANT USAGE ON SCHEMA test_time TO PUBLIC;
GRANT SELECT ON test_time.passed TO PUBLIC;
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = public, test_time, pg_catalog', current_database());
END $$
"""
_NOBODY_BEATS = "LOCK TABLE workers"
_PASS = "UPDATE test_time.passed SET by = by + $1"
_BEATEN = "UPDATE workers SET beat_at = beat_at + $1"


class Time:
    """The clock of the services and of the database."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._passed = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._passed

    async def passes_until(self, instant: datetime) -> None:
        """It is `instant` now."""
        step = instant - self.now()
        await make_partitions(self._connection, instant)
        self._passed += step
        async with self._connection.transaction():
            await self._connection.execute(_NOBODY_BEATS)
            await self._connection.execute(_PASS, step)
            await self._connection.execute(_BEATEN, step)


@dataclass(frozen=True, slots=True)
class Site:
    """What runs: the address of its API, a tenant with the key of its owner, and the time."""

    base: str
    tenant: Tenant
    key: str
    time: Time


@asynccontextmanager
async def site(dsn: str, **settings: str) -> AsyncGenerator[Site]:
    """Everything running on the migrated database `dsn`; `settings` are further `SIGNALBOX_…` variables."""
    connection: Any = await asyncpg.connect(dsn)
    try:
        await connection.execute(_OWN_NOW)
        time = Time(connection)
        async with _services(dsn, time, settings) as base, aiohttp.ClientSession() as session:
            platform = Tenant(session, base, {"Authorization": f"Bearer {PLATFORM_KEY}"})
            made = await platform.make("/admin/tenants", {"slug": "acme", "name": "Acme"})
            key = (await platform.make(f"/admin/tenants/{made['id']}/api-keys", {"name": "me", "role": "owner"}))["key"]
            headers = {"Authorization": f"Bearer {key}", "X-Tenant-ID": "acme"}
            yield Site(base, Tenant(session, base, headers), key, time)
    finally:
        await connection.close()


@asynccontextmanager
async def _services(dsn: str, clock: Time, settings: dict[str, str]) -> AsyncGenerator[str]:
    """The address of the gateway."""
    ports = {name: take_port("127.0.0.1", 0) for name in ("gateway", "webhooks")}
    urls = {name: f"http://127.0.0.1:{taken.getsockname()[1]}" for name, taken in ports.items()}
    given = {
        "SIGNALBOX_DATABASE_URL": dsn,
        "SIGNALBOX_BUS_URL": "memory://",
        "SIGNALBOX_PLATFORM_KEY": PLATFORM_KEY,
        "SIGNALBOX_MASTER_KEYS": new_master_key(),
        "SIGNALBOX_PUBLIC_URL": urls["webhooks"],
        "SIGNALBOX_DRAIN_SECONDS": str(_DRAIN_SECONDS),
        **settings,
    }
    async with AsyncExitStack() as stack:
        parts = replace(await open_parts(load_settings(given), "site"), clock=clock)
        stack.push_async_callback(parts.close)
        services = {name: build(name)(parts) for name in SERVICES}
        for service in services.values():
            await service.start()
            stack.push_async_callback(service.stop)
        for name, taken in ports.items():
            server = HttpServer(with_health(services[name].app, services[name].checks), taken, _DRAIN_SECONDS)
            server.start()
            stack.push_async_callback(server.stop)
        yield urls["gateway"]
