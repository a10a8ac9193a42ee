"""The actions with effects as an executor has them, and a local server that answers as vendors do."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ssl import SSLContext
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web

from libs.common.db.pool import Database
from libs.common.domain.execution import Failure
from libs.common.domain.pure_actions import ActionFailed
from libs.common.settings import load_settings
from services.executor.actions.all import OwnedEffects, build_effects
from services.executor.actions.base import Attempt
from tests.integration.actions.certificates import Certificate, make_certificate
from tests.servers import free_port

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOBODY = Database("", size=1, name="nobody")
"""None of these actions asks it."""
ATTEMPT = Attempt("execution:action:0", 10.0, "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01", UUID(int=1))
OURS = {"idempotency-key": ATTEMPT.idempotency_key, "traceparent": ATTEMPT.traceparent, "user-agent": "Signalbox"}
"""What stands on every request."""

MakeEffects = Callable[..., AbstractAsyncContextManager[OwnedEffects]]


class Noon:
    """A clock that stands still."""

    def now(self) -> datetime:
        return NOON


@asynccontextmanager
async def effects_with(allowed: str = "127.0.0.1/32", **environment: str) -> AsyncGenerator[OwnedEffects]:
    """All actions under these settings."""
    made = build_effects(load_settings({"SIGNALBOX_EGRESS_ALLOW": allowed, **environment}), NOBODY, Noon())
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def effects() -> AsyncIterator[OwnedEffects]:
    """All actions of an installation whose operator opened this address."""
    async with effects_with() as made:
        yield made


async def run(effects: OwnedEffects, type_name: str, **config: Any) -> Any:
    """The output of an action. `from` is written `from_`."""
    return await effects.types()[type_name]({name.rstrip("_"): value for name, value in config.items()}, ATTEMPT)


async def failure_of(effects: OwnedEffects, type_name: str, **config: Any) -> Failure:
    """Why it failed."""
    with pytest.raises(ActionFailed) as failed:
        await run(effects, type_name, **config)
    return failed.value.failure


@dataclass
class Call:
    """One request that came in; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Vendor:
    """A server that keeps what it gets, and answers what it is told to."""

    url: str
    calls: list[Call] = field(default_factory=list[Call])
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""

    def answers(self, status: int, body: bytes = b"", **headers: str) -> None:
        """From now on. `_` in the name of a header is `-`."""
        self.status, self.body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append(Call(request.method, request.path_qs, headers, await request.read()))
        return web.Response(status=self.status, body=self.body, headers=self.headers)

    def the_call(self) -> Call:
        """The only one that came."""
        (call,) = self.calls
        return call


@asynccontextmanager
async def serving(context: SSLContext | None = None) -> AsyncGenerator[Vendor]:
    """A vendor, behind TLS if there is a context for it."""
    port = free_port()
    made = Vendor(f"{'http' if context is None else 'https'}://127.0.0.1:{port}")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    try:
        yield made
    finally:
        await runner.cleanup()


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    async with serving() as made:
        yield made


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate of 127.0.0.1 that its own key has signed."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))
