"""One process' worth of Signalbox over a real database and the in-memory bus: a gateway with clients of two tenants,
and the parts that the other services are made of.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
import structlog
from litestar import Litestar

from libs.common.accept import Acceptor
from libs.common.bus.memory import MemoryBus
from libs.common.db.pool import Connection, Database
from libs.common.embedded.postgres import EmbeddedPostgres
from libs.common.parts import Parts
from libs.common.security.encryption import Vault, new_master_key
from libs.common.settings import Secret, load_settings
from libs.common.telemetry.logging import configure_logging
from services.gateway.app import GatewayParts, create_app, equip, make_routes
from tests.waiting import PATIENCE_SECONDS

PLATFORM_KEY = "platform-key-for-tests"
ADMIN = {"Authorization": f"Bearer {PLATFORM_KEY}"}


class MovableClock:
    """The machine's clock plus an offset that a test moves."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset

    def move(self, seconds: float) -> None:
        self.offset += timedelta(seconds=seconds)


@dataclass
class World:
    """What a test works with: the parts behind the gateway, and a client without credentials."""

    parts: GatewayParts
    clock: MovableClock
    client: httpx.AsyncClient
    bus: MemoryBus
    keys: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])

    def service_parts(self, **settings: Any) -> Parts:
        """What a service other than the gateway is made of; `settings` differ from the gateway's."""
        own, given = self.parts, msgspec.structs.replace(self.parts.settings, **settings)
        return Parts(given, self.clock, own.database, self.bus, own.vault, own.acceptor)

    @asynccontextmanager
    async def with_settings(self, peer: str = "127.0.0.1", **settings: Any) -> AsyncGenerator[httpx.AsyncClient]:
        """A client of a gateway with other settings; `peer`: from where it connects."""
        parts = replace(self.parts, settings=msgspec.structs.replace(self.parts.settings, **settings))
        transport = httpx.ASGITransport(create_app(parts), raise_app_exceptions=False, client=(peer, 1))  # pyright: ignore[reportArgumentType]
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
            yield client

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        """Rows of the database."""
        async with self.parts.database.connection() as connection:
            return await connection.fetch(query, *arguments)

    async def tenant(self, slug: str) -> str:
        answer = await self.client.post("/api/v1/admin/tenants", json={"slug": slug, "name": slug}, headers=ADMIN)
        assert answer.status_code == 201, answer.text
        for role in ("owner", "editor", "viewer"):
            made = await self.client.post(
                f"/api/v1/admin/tenants/{answer.json()['id']}/api-keys",
                json={"name": role, "role": role},
                headers=ADMIN,
            )
            assert made.status_code == 201, made.text
            self.keys[slug, role] = made.json()["key"]
        return answer.json()["id"]

    def headers(self, slug: str, role: str = "owner", tenant: str | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[slug, role]}", "X-Tenant-ID": tenant or slug}

    async def call(
        self, method: str, path: str, json: Any = None, *, slug: str = "acme", role: str = "editor", **more: str
    ) -> httpx.Response:
        headers = {**self.headers(slug, role), **{name.replace("_", "-"): value for name, value in more.items()}}
        if json is None:
            return await self.client.request(method, f"/api/v1{path}", headers=headers)
        return await self.client.request(method, f"/api/v1{path}", headers=headers, json=json)

    async def made(self, definition: dict[str, Any], **more: str) -> dict[str, Any]:
        answer = await self.call("POST", "/workflows", definition, **more)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def count(self, table: str) -> int:
        async with self.parts.database.connection() as connection:
            return await connection.fetchval(f"SELECT count(*) FROM {table}")


@pytest.fixture(autouse=True)
def patient_with_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers late is not one that is away: on a busy machine it is late all the time."""
    for name in ("redis._PUBLISH_SECONDS", "redis_outstanding._ANSWER_SECONDS", "redis_rates._ANSWER_SECONDS"):
        monkeypatch.setattr(f"libs.common.cache.{name}", PATIENCE_SECONDS)


@pytest.fixture
async def beside(database_dsn: str) -> AsyncIterator[Connection]:
    """A connection to the database that is nobody's pool's."""
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A PostgreSQL of this test alone, which it may stop and start. For a world that lives on it a module makes its own
    `database_dsn` of it.
    """
    (tmp_path / "data").mkdir()
    tmp_path.chmod(0o755)
    made = EmbeddedPostgres(tmp_path / "data", settings={"fsync": "off"})
    yield made
    await made.stop()


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Everything that was logged so far, at every level, in the form of production."""
    monkeypatch.setattr(logging.getLogger("httpx"), "disabled", True)  # the caller's own log, not ours
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logging("debug", "json", "test")

    def text() -> str:
        captured = capsys.readouterr()
        return captured.out + captured.err

    yield text
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(False)
    root.handlers = handlers
    root.setLevel(level)


@pytest.fixture
def master_key() -> str:
    """Under which the world's secrets are sealed."""
    return new_master_key()


@pytest.fixture(scope="session")
def gateway_routes() -> Litestar:
    """The gateway's routes, for the parts of one world after the other: to make them takes longer than most tests."""
    return make_routes(load_settings().max_body_bytes)


@pytest.fixture
async def world(database_dsn: str, master_key: str, gateway_routes: Litestar) -> AsyncIterator[World]:
    settings = load_settings(
        platform_key=Secret(PLATFORM_KEY), public_url="https://hooks.example.com", cache_seconds=1.0
    )
    database = Database(database_dsn, size=4, name="gateway-test")
    await database.open()
    bus = MemoryBus()
    await bus.connect()
    acceptor = Acceptor(database, bus)
    clock = MovableClock()
    parts = GatewayParts(settings, database, acceptor, Vault(master_key), clock)
    equip(gateway_routes, parts)
    transport = httpx.ASGITransport(gateway_routes, raise_app_exceptions=False)  # pyright: ignore[reportArgumentType]
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        yield World(parts, clock, client, bus)
    await acceptor.close()
    await bus.close()
    await database.close()


@pytest.fixture
async def acme(world: World) -> World:
    """A world with the tenants `acme` and `other`."""
    await world.tenant("acme")
    await world.tenant("other")
    return world
