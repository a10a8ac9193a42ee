"""The gateway: the REST API of tenants and of the platform, its description, and the page to browse it.

    request ─▶ request id ─▶ guard (credential → tenant, role) ─▶ thin handler ─▶ db, publishing or accept ─▶ answer

It opens and closes nothing: whoever starts it hands over parts that are open. No answer depends on anything but the
request and PostgreSQL, so any number of gateways are one.
"""

from time import perf_counter
from typing import Any, cast

import structlog
from litestar import Litestar
from litestar.exceptions import HTTPException
from litestar.types import (
    HTTPScope,
    LifeSpanReceive,
    LifeSpanScope,
    LifeSpanSend,
    Message,
    Receive,
    Scope,
    Send,
)

from libs.common.actions.installed import installed
from libs.common.parts import Parts
from libs.common.runtime import AsgiApp, Checks
from libs.common.telemetry.metrics import observe_http
from services.gateway import documents
from services.gateway.answers import answer_problem, sending
from services.gateway.auth import Authenticator
from services.gateway.input_schemas import InputSchemas
from services.gateway.live import LiveStreams
from services.gateway.parts import GatewayParts
from services.gateway.routes import (
    action_types,
    admin,
    api_keys,
    approvals,
    collections,
    controlling,
    events,
    execution_log,
    execution_values,
    executions,
    jobs,
    live_socket,
    notifications,
    queue,
    records,
    rerunning,
    running,
    schedule_previews,
    schedules,
    secrets,
    testing,
    triggers,
    webhook_logs,
    webhook_secrets,
    webhook_trials,
    workflows,
)
from services.gateway.tenant_feed import TenantFeeds

__all__ = ["GatewayParts", "GatewayService", "create_app"]

_UNKNOWN_ROUTE = "(unknown)"
_ROUTERS = (
    admin.ROUTER, api_keys.ROUTER, workflows.ROUTER, triggers.ROUTER, schedule_previews.ROUTER, schedules.ROUTER,
    running.ROUTER, executions.ROUTER, controlling.ROUTER, rerunning.ROUTER, testing.ROUTER, execution_log.ROUTER,
    execution_values.ROUTER, queue.ROUTER, jobs.ROUTER, secrets.ROUTER, collections.ROUTER, records.ROUTER,
    notifications.ROUTER,
    events.ROUTER, approvals.ROUTER, action_types.ROUTER, live_socket.ROUTER,
    webhook_secrets.ROUTER, webhook_logs.ROUTER, webhook_trials.ROUTER,
)  # fmt: skip
_BODIES = (
    *admin.BODIES,
    *api_keys.BODIES,
    *workflows.BODIES,
    *schedule_previews.BODIES,
    *schedules.BODIES,
    *running.BODIES,
    *rerunning.BODIES,
    *testing.BODIES,
    *jobs.BODIES,
    *secrets.BODIES,
    *collections.BODIES,
    *records.BODIES,
    *events.BODIES,
    *approvals.BODIES,
    *webhook_secrets.BODIES,
    *webhook_logs.BODIES,
    *webhook_trials.BODIES,
)


def create_app(parts: GatewayParts, live_streams: LiveStreams | None = None) -> Litestar:
    """The gateway over these parts; without `live_streams` a stream merely looks once a second."""
    app = _Gateway(
        route_handlers=[*_ROUTERS, documents.show_page, documents.show_start, documents.show_file],
        exception_handlers={HTTPException: answer_problem, Exception: answer_problem},
        request_max_body_size=parts.settings.max_body_bytes,
        openapi_config=documents.api_description(_BODIES),
        logging_config=None,
    )
    app.state["parts"] = parts
    app.state["authenticator"] = Authenticator(parts.database, parts.clock, parts.settings.cache_seconds)
    app.state["input_schemas"] = InputSchemas()
    streams = live_streams or LiveStreams("", parts.settings.live_streams)
    app.state["live_streams"] = streams
    app.state["tenant_feeds"] = TenantFeeds(parts.database, parts.clock, streams.followers)
    return app


class GatewayService:
    """The service around the application."""

    def __init__(self, parts: Parts) -> None:
        gateway = GatewayParts(parts.settings, parts.database, parts.acceptor, parts.vault, parts.clock)
        self._streams = LiveStreams(parts.settings.redis_url.reveal(), parts.settings.live_streams)
        self.app: AsgiApp = create_app(gateway, self._streams)
        self.checks: Checks = {"database": parts.database_answers}

    async def start(self) -> None:
        """Ready as soon as it listens. What third parties have wrong shows now, not with the first request."""
        installed()

    async def stop(self) -> None:
        """Live streams end; other requests are the server's to finish."""
        await self._streams.close()


class _Gateway(Litestar):
    """Around every request, unknown addresses included: its id, the security headers, the log context and the
    metrics.
    """

    async def __call__(
        self, scope: Scope | LifeSpanScope, receive: Receive | LifeSpanReceive, send: Send | LifeSpanSend
    ) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        http = cast("HTTPScope", scope)
        status, started = 0, perf_counter()
        send_with_headers = sending(http, cast("Send", send))

        async def send_and_look(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send_with_headers(message)

        request_id = cast("dict[str, Any]", http["state"])["request_id"]
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await super().__call__(http, receive, send_and_look)
        route = cast("str", http.get("path_template", "")) or _UNKNOWN_ROUTE
        observe_http("gateway", http["method"], route, status, perf_counter() - started)
