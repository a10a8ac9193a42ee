"""One service as one process: `signalbox gateway | webhooks | scheduler | executor`."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from libs.common.errors import OperatorError
from libs.common.parts import Parts, open_parts
from libs.common.runtime import AsgiApp, Checks, HttpServer, settle_collector, stop_signal, take_port, with_health
from libs.common.settings import Settings
from libs.common.telemetry.metrics import set_build, show_tenants, watch_loop_lag
from libs.common.version import __version__

_log = structlog.get_logger("signalbox")


class Service(Protocol):
    """What a service gives to whoever runs it."""

    @property
    def app(self) -> AsgiApp | None: ...

    @property
    def checks(self) -> Checks: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


async def run_one(name: str, settings: Settings, port: int) -> None:
    """Run the service until it is told to stop, then drain it."""
    if settings.bus_url.reveal().startswith("memory:"):
        raise OperatorError("SIGNALBOX_BUS_URL must be amqp://… for services in processes of their own.")
    taken = take_port(settings.host, port)
    parts = await open_parts(settings, name)
    service = build(name)(parts)
    server = HttpServer(
        with_health(service.app, service.checks), taken, settings.drain_seconds, sockets=name == "gateway"
    )
    set_build(name, __version__)
    show_tenants(settings.metrics_tenants)
    lag = asyncio.get_running_loop().create_task(watch_loop_lag())
    await service.start()
    server.start()
    settle_collector()
    _log.info("ready", address=f"http://{settings.host}:{server.port}", version=__version__)
    _log.info("stopping", signal=await stop_signal())
    await service.stop()
    await server.stop()
    lag.cancel()
    await parts.close()
    _log.info("stopped")


def build(name: str) -> Callable[[Parts], Service]:
    """The service of that name. Each is imported only when it is run: what is not loaded takes no memory."""
    match name:
        case "gateway":
            from services.gateway.app import GatewayService  # noqa: PLC0415

            return GatewayService
        case "webhooks":
            from services.webhooks.app import WebhooksService  # noqa: PLC0415

            return WebhooksService
        case "scheduler":
            from services.scheduler.app import SchedulerService  # noqa: PLC0415

            return SchedulerService
        case _:
            from services.executor.app import ExecutorService  # noqa: PLC0415

            return ExecutorService
