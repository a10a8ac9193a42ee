"""`signalbox up`: the four services in one process, with a private PostgreSQL and Valkey beside it and the bus in
memory.

Same code, SQL and API as the spread-out system. The data folder holds everything: the database, and the keys made at
the first start.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from socket import socket
from typing import Any

import msgspec
import structlog

from libs.common.clock import random_token
from libs.common.embedded.postgres import EmbeddedPostgres
from libs.common.embedded.valkey import EmbeddedValkey
from libs.common.errors import OperatorError
from libs.common.parts import Parts, open_parts
from libs.common.runtime import (
    AsgiApp,
    Checks,
    Drain,
    HttpServer,
    settle_collector,
    stop_signal,
    take_port,
    with_health,
)
from libs.common.security.encryption import new_master_key
from libs.common.settings import Secret, Settings, load_settings
from libs.common.telemetry.metrics import set_build, show_tenants, watch_loop_lag
from libs.common.version import __version__
from services.one import Service, build

_NAMES = ("gateway", "webhooks", "scheduler", "executor")
_KEYS_FILE = "keys.json"
_POOL_SIZE = 16

_log = structlog.get_logger("signalbox")


class Keys(msgspec.Struct, frozen=True):
    """What an installation made for itself at its first start."""

    platform_key: str
    master_keys: str


async def run_up(data: Path, port: int) -> None:
    """Run everything until told to stop, then drain in order: the door first, the database last."""
    taken = take_port(load_settings().host, port)
    async with _private_servers(data) as urls:
        keys, fresh = _load_keys(data)
        settings = _settings(urls, keys)
        parts = await open_parts(settings, "up")
        try:
            await _run_services(parts, taken, _greeting(settings, keys if fresh else None, data))
        finally:
            await parts.close()
    _log.info("stopped")


async def _run_services(parts: Parts, taken: socket, greeting: Sequence[str]) -> None:
    services = {name: build(name)(parts) for name in _NAMES}
    checks: Checks = {name: check for service in services.values() for name, check in service.checks.items()}
    drain = Drain()
    app = with_health(_one_port(services), checks, drain)
    server = HttpServer(app, taken, parts.settings.drain_seconds, sockets=True)
    set_build("up", __version__)
    show_tenants(parts.settings.metrics_tenants)
    lag = asyncio.get_running_loop().create_task(watch_loop_lag())
    for service in services.values():
        await service.start()
    server.start()
    settle_collector()
    _log.info("ready", address=f"http://{parts.settings.host}:{server.port}", version=__version__)
    print(f"Signalbox is ready at http://{parts.settings.host}:{server.port}", *greeting, sep="\n", flush=True)
    _log.info("stopping", signal=await stop_signal())
    drain.begin()
    await services["gateway"].hang_up()
    await server.stop()
    for service in services.values():
        await service.stop()
    lag.cancel()


def _one_port(services: dict[str, Service]) -> AsgiApp:
    gateway, webhooks = services["gateway"].app, services["webhooks"].app
    assert gateway is not None and webhooks is not None  # the two that have one

    async def route(scope: Any, receive: Any, send: Any) -> None:
        is_call = scope["type"] == "http" and scope["path"].startswith("/webhooks/")
        await (webhooks if is_call else gateway)(scope, receive, send)

    return route


@asynccontextmanager
async def _private_servers(data: Path) -> AsyncGenerator[dict[str, str]]:
    """Addresses of PostgreSQL and Valkey; those that the settings name are used instead of private ones."""
    given = load_settings()
    postgres = None if given.database_url else EmbeddedPostgres(data)
    valkey = None if given.redis_url else EmbeddedValkey(data)
    urls: dict[str, str] = {}
    try:
        if postgres is not None:
            urls["database_url"] = await postgres.start()
        if valkey is not None:
            urls["redis_url"] = await valkey.start()
        yield urls
    finally:
        if valkey is not None:
            await valkey.stop()
        if postgres is not None:
            await postgres.stop()


def _settings(urls: dict[str, str], keys: Keys) -> Settings:
    given = load_settings()
    made = {"platform_key": keys.platform_key, "master_keys": keys.master_keys}
    missing = {name: value for name, value in made.items() if not getattr(given, name)}
    secrets: dict[str, Any] = {name: Secret(value) for name, value in (urls | missing).items()}
    return load_settings(**secrets, database_pool_size=_POOL_SIZE)


def _load_keys(data: Path) -> tuple[Keys, bool]:
    """The keys of this data folder, and whether they were made just now."""
    path = data / _KEYS_FILE
    if path.exists():
        try:
            return msgspec.json.decode(path.read_bytes(), type=Keys), False
        except msgspec.MsgspecError:
            raise OperatorError(f"{path} does not hold the keys of this installation; bring back its copy.") from None
    keys, draft = Keys(f"sbp_{random_token().hex()}", new_master_key()), path.with_suffix(".new")
    data.mkdir(parents=True, exist_ok=True)
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(keys))
        file.flush()
        os.fsync(descriptor)
    draft.rename(path)
    return keys, True


def _greeting(settings: Settings, fresh: Keys | None, data: Path) -> list[str]:
    if fresh is None or settings.platform_key.reveal() != fresh.platform_key:
        return []
    return [f"Platform key (kept in {data / _KEYS_FILE}, shown this once): {fresh.platform_key}"]
