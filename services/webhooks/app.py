"""The webhook service: `ANY /webhooks/{trigger_id}[/{token}]` and `ANY /webhooks/{tenant}/{slug}[/{token}]`.

The endpoint is a plain ASGI application: it takes any method and the body as raw bytes, which is what signatures are
made over, and it is the hottest path of the product. Routing by a framework around this one address was measured as a
tenth of what a call costs in Python, and 6 MB.
"""

import asyncio
from pathlib import Path
from time import perf_counter
from typing import Any

from structlog.contextvars import bind_contextvars

from libs.common.clock import new_id
from libs.common.errors import SignalboxError
from libs.common.limits.limiter import Limiter
from libs.common.parts import Parts
from libs.common.problems import problem_for
from libs.common.runtime import AsgiApp, Checks
from libs.common.security.webhook_auth.making import Surroundings
from libs.common.settings import Networks
from libs.common.tasks import end_tasks
from libs.common.telemetry import metrics
from libs.common.telemetry.spans import around_request, traceparent_header
from services.webhooks.address import split_path
from services.webhooks.call import Call, Send, read_call
from services.webhooks.door import Door
from services.webhooks.endings import Endings
from services.webhooks.ingress import Ingress
from services.webhooks.secret_uses import SecretUses
from services.webhooks.spool import Spool
from services.webhooks.triggers import TriggerCache

_MAX_REQUEST_ID = 128
_WRITE_SECONDS = 60.0
"""So often what samples of refused calls do not stand for yet is written."""


class WebhooksService:
    """The service around the application: nothing to start beyond its parts."""

    def __init__(self, parts: Parts) -> None:
        settings = parts.settings
        spool = Spool(Path(settings.spool_dir), settings.spool_bytes) if settings.spool_dir else None
        self._door = Door(parts.acceptor, spool, parts.database_answers)
        surroundings = Surroundings(settings.public_url, tuple(settings.trusted_proxies))
        self._uses = SecretUses(parts.database)
        self._limiter = Limiter(settings, parts.database, parts.clock)
        triggers = TriggerCache(
            parts.database, parts.vault, settings.cache_seconds, surroundings, self._uses, self._limiter.plans,
            settings.webhook_rate, outlives=spool is not None,
        )  # fmt: skip
        self._endings = Endings(parts.database, settings.redis_url.reveal())
        self._ingress = Ingress(
            triggers, self._door, parts.clock, self._limiter, self._endings, settings.max_body_bytes
        )  # fmt: skip
        self._writing: asyncio.Task[None] | None = None
        self.app: AsgiApp = create_app(self._ingress, settings.max_header_bytes, settings.trusted_proxies)
        self.checks: Checks = {"database": parts.database_answers}

    async def start(self) -> None:
        """Ready as soon as it listens."""
        self._door.start()
        self._uses.start()
        self._limiter.start()
        self._writing = asyncio.get_running_loop().create_task(self._keep_writing())

    async def hang_up(self) -> None:
        """Nothing: who waits for an answer waits a bounded time."""

    async def stop(self) -> None:
        """The server has let every request end before. What samples do not stand for yet is written."""
        await end_tasks(self._writing)
        await self._write_due()
        await self._uses.stop()
        await self._door.stop()
        await self._limiter.stop()
        await self._endings.close()

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_SECONDS)
            await self._write_due()

    async def _write_due(self) -> None:
        for row in self._ingress.refusals.due():
            try:
                await self._door.log_call(row)
            except SignalboxError:
                self._ingress.refusals.give_back([row])


def create_app(ingress: Ingress, max_header_bytes: int, trusted: Networks) -> AsgiApp:
    """The ASGI application of the service. `trusted`: where our own proxies are."""

    async def webhooks(scope: Any, receive: Any, send: Any) -> None:
        started, method, traceparent = perf_counter(), str(scope["method"]), ""
        request_id = str(new_id())
        with around_request("webhook call", traceparent_header(scope)) as span:
            try:
                call = read_call(scope, max_header_bytes, trusted)
                request_id = _request_id(call, request_id)
                traceparent = span.place or call.header("traceparent")
                bind_contextvars(request_id=request_id, trace_id=traceparent[3:35])
                place, token = split_path(call.path)
                reply = await ingress.handle(call, place, token, receive, request_id)
                status, headers, body = reply.status, dict(reply.headers), reply.body
            except Exception as error:  # noqa: BLE001 - each has its answer; the unexpected ones are logged there
                status, headers, body = problem_for(error, request_id)
                if status >= 500:  # the others are counted by the check that refused them
                    metrics.count_webhook_call("unavailable" if status == 503 else "internal")
            headers["x-request-id"] = request_id
            await _send(send, status, headers, b"" if method == "HEAD" else body)
            span.answered(method, metrics.WEBHOOK_ROUTE, status)
        metrics.observe_http("webhooks", method, metrics.WEBHOOK_ROUTE, status, perf_counter() - started, traceparent)

    return webhooks


def _request_id(call: Call, fresh: str) -> str:
    given = call.header("x-request-id")
    usable = given and len(given) <= _MAX_REQUEST_ID and given.isascii() and given.isprintable()
    return given if usable else fresh


async def _send(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": False})
