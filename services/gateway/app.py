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
from libs.common.telemetry.spans import around_request, given_traceparent
from services.gateway import documents
from services.gateway.answers import answer_problem, refuse_head, sending
from services.gateway.auditing import answering
from services.gateway.auth import Authenticator
from services.gateway.cross_origin import CrossOrigin, answer_question
from services.gateway.exporting import Exports
from services.gateway.input_schemas import InputSchemas
from services.gateway.key_identity import KeyIdentities
from services.gateway.key_uses import KeyUses
from services.gateway.live import LiveStreams
from services.gateway.parts import GatewayParts
from services.gateway.proxy_identity import ProxyIdentities
from services.gateway.refused import Refusals
from services.gateway.routes import (
    action_types,
    admin,
    api_keys,
    approvals,
    audit,
    collections,
    controlling,
    doctor,
    events,
    execution_log,
    execution_values,
    executions,
    jobs,
    limits,
    live_socket,
    notifications,
    queue,
    records,
    rerunning,
    running,
    schedule_previews,
    scheduled_tasks,
    schedules,
    secrets,
    testing,
    triggers,
    usage,
    webhook_logs,
    webhook_secrets,
    webhook_trials,
    workflows,
)
from services.gateway.tenant_feed import TenantFeeds
from services.gateway.tenant_states import TenantStates
from services.gateway.token_identity import make_token_identities

__all__ = ["GatewayParts", "GatewayService", "create_app", "equip", "make_routes"]

_UNKNOWN_ROUTE = "(unknown)"
_REFUSED = frozenset({401, 403})
_ROUTERS = (
    admin.ROUTER, api_keys.ROUTER, workflows.ROUTER, triggers.ROUTER, schedule_previews.ROUTER, schedules.ROUTER,
    scheduled_tasks.ROUTER, running.ROUTER, executions.ROUTER, controlling.ROUTER, rerunning.ROUTER, testing.ROUTER,
    execution_log.ROUTER, execution_values.ROUTER, queue.ROUTER, jobs.ROUTER, secrets.ROUTER, collections.ROUTER,
    records.ROUTER, notifications.ROUTER, events.ROUTER, approvals.ROUTER, action_types.ROUTER, live_socket.ROUTER,
    webhook_secrets.ROUTER, webhook_logs.ROUTER, webhook_trials.ROUTER, limits.ROUTER, usage.ROUTER,
    audit.ROUTER, audit.PLATFORM_ROUTER, doctor.ROUTER,
)  # fmt: skip
_BODIES = (
    *admin.BODIES,
    *api_keys.BODIES,
    *workflows.BODIES,
    *schedule_previews.BODIES,
    *schedules.BODIES,
    *scheduled_tasks.BODIES,
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
    *limits.BODIES,
)


def create_app(
    parts: GatewayParts, live_streams: LiveStreams | None = None, key_uses: KeyUses | None = None
) -> Litestar:
    """The gateway over these parts; without `live_streams` a stream merely looks once a second, without `key_uses`
    nobody writes when keys were used.
    """
    app = make_routes(parts.settings.max_body_bytes)
    equip(app, parts, live_streams, key_uses)
    return app


def make_routes(max_body_bytes: int) -> Litestar:
    """Every route and the API's description, over no parts yet."""
    return _Gateway(
        route_handlers=[*_ROUTERS, documents.show_page, documents.show_start, documents.show_file],
        exception_handlers={HTTPException: answer_problem, Exception: answer_problem},
        request_max_body_size=max_body_bytes,
        openapi_config=documents.api_description(_BODIES),
        logging_config=None,
    )


def equip(
    app: Litestar, parts: GatewayParts, live_streams: LiveStreams | None = None, key_uses: KeyUses | None = None
) -> None:
    """From now on the routes work on these parts; the rest as for `create_app`."""
    app.state["parts"] = parts
    app.state["authenticator"] = _authenticator(parts, key_uses or KeyUses(parts.database))
    app.state["pages"] = CrossOrigin(parts.settings.cors_origins)
    app.state["exports"] = Exports(parts.database)
    app.state["input_schemas"] = InputSchemas()
    streams = live_streams or LiveStreams("", parts.settings.live_streams)
    app.state["live_streams"] = streams
    app.state["refusals"] = Refusals(parts.database)
    app.state["tenant_feeds"] = TenantFeeds(parts.database, parts.clock, streams.followers)


class GatewayService:
    """The service around the application."""

    def __init__(self, parts: Parts) -> None:
        gateway = GatewayParts(parts.settings, parts.database, parts.acceptor, parts.vault, parts.clock)
        self._streams = LiveStreams(parts.settings.redis_url.reveal(), parts.settings.live_streams)
        self._limiter = gateway.limits.limiter
        self._key_uses = KeyUses(parts.database)
        app = create_app(gateway, self._streams, self._key_uses)
        self._refusals: Refusals = app.state["refusals"]
        self._authenticator: Authenticator = app.state["authenticator"]
        self.app: AsgiApp = app
        self.checks: Checks = {"database": parts.database_answers}

    async def start(self) -> None:
        """Ready as soon as it listens. What third parties have wrong shows now, not with the first request."""
        installed()
        self._limiter.start()
        self._key_uses.start()

    async def hang_up(self) -> None:
        """Live streams end; other requests are the server's to finish."""
        await self._streams.close()

    async def stop(self) -> None:
        """Refusals and uses of keys are on record."""
        await self._refusals.close()
        await self._authenticator.close()
        await self._key_uses.stop()
        await self._limiter.stop()


def _authenticator(parts: GatewayParts, uses: KeyUses) -> Authenticator:
    """Raises `OperatorError` for settings that go not together."""
    settings, clock = parts.settings, parts.clock
    states = TenantStates(parts.database, clock, settings.cache_seconds)
    return Authenticator(
        KeyIdentities(parts.database, clock, settings.cache_seconds, uses),
        make_token_identities(settings, states, clock),
        ProxyIdentities(settings.identity_proxies, states) if settings.identity_proxies else None,
    )


def _trace_of(place: str) -> dict[str, str]:
    """What log lines say of the trace, if there is one."""
    return {"trace_id": place[3:35]} if place else {}


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
        pages = cast("CrossOrigin", self.state["pages"])
        send_with_headers = sending(http, cast("Send", send), pages.headers(http))

        async def send_and_look(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send_with_headers(message)

        request_id = cast("dict[str, Any]", http["state"])["request_id"]
        settings = cast("GatewayParts", self.state["parts"]).settings
        traceparent = given_traceparent(http)
        with around_request("gateway request", traceparent) as span:
            with (
                structlog.contextvars.bound_contextvars(request_id=request_id, **_trace_of(span.place)),
                answering(http, settings.trusted_proxies, request_id) as asked,
            ):
                if pages.is_question(http):
                    await answer_question(send_and_look)
                elif not await refuse_head(http, send_and_look, settings.max_header_bytes):
                    await super().__call__(http, receive, send_and_look)
            route = cast("str", http.get("path_template", "")) or _UNKNOWN_ROUTE
            span.answered(http["method"], route, status)
        if status in _REFUSED:
            cast("Refusals", self.state["refusals"]).note(asked, status, f"{http['method']} {route}")
        traceparent = span.place or traceparent
        observe_http("gateway", http["method"], route, status, perf_counter() - started, traceparent)
