"""One service as one process: `signalbox gateway | webhooks | scheduler | executor`."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

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
from libs.common.settings import Settings
from libs.common.telemetry.metrics import set_build, show_tenants, watch_loop_lag
from libs.common.version import __version__

_LAST_SECONDS = 4.0
"""Beyond what the settings give: by default a process ends within 30 s, whatever does not answer."""

_log = structlog.get_logger("signalbox")


class Service(Protocol):
    """What a service gives to whoever runs it."""

    @property
    def app(self) -> AsgiApp | None: ...

    @property
    def checks(self) -> Checks: ...

    async def start(self) -> None: ...

    async def hang_up(self) -> None:
        """End what would last for ever, such as live streams; other requests go on."""
        ...

    async def stop(self) -> None:
        """Finish or hand back what is under way. No request is, when this is called."""
        ...


async def run_one(name: str, settings: Settings, port: int) -> None:
    """Run the service until it is told to stop, then drain it."""
    if settings.bus_url.reveal().startswith("memory:"):
        raise OperatorError("SIGNALBOX_BUS_URL must be amqp://… for services in processes of their own.")
    taken = take_port(settings.host, port)
    parts = await open_parts(settings, name)
    service, drain = build(name)(parts), Drain()
    server = HttpServer(
        with_health(service.app, service.checks, drain), taken, settings.drain_seconds, sockets=name == "gateway"
    )
    set_build(name, __version__)
    show_tenants(settings.metrics_tenants)
    lag = asyncio.get_running_loop().create_task(watch_loop_lag())
    await service.start()
    server.start()
    settle_collector()
    _log.info("ready", address=f"http://{settings.host}:{server.port}", version=__version__)
    signal = await stop_signal()
    _log.info("stopping", signal=signal)
    drain.begin()
    try:
        async with asyncio.timeout(settings.unready_seconds + settings.drain_seconds + _LAST_SECONDS):
            if service.app is not None and signal == "SIGTERM":  # not for a person at a terminal
                await asyncio.sleep(settings.unready_seconds)
            await _stop(service, server)
            lag.cancel()
            await parts.close()
    except TimeoutError:
        _log.warning("something does not end; what it held goes on elsewhere")
    _log.info("stopped")


async def _stop(service: Service, server: HttpServer) -> None:
    """Who is asked ends after the last request; who works says by its port that it lives until it is done."""
    if service.app is None:
        await service.stop()
        await server.stop()
    else:
        await service.hang_up()
        await server.stop()
        await service.stop()


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
