"""What every service process has in common: an HTTP port with health and metrics, a start, a drain on SIGTERM or
Ctrl-C.

/healthz  the process is alive      /readyz  it can work right now (each check by name)      /metrics  Prometheus text

A process that is told to stop is not ready any more from that moment on; whoever spreads requests has some seconds to
notice, in which it answers as before, only that connections end with their answer.
"""

import asyncio
import gc
import signal
import socket
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import msgspec
import uvicorn
from uvicorn.config import Config

from libs.common.connections import BoundedProtocol
from libs.common.errors import OperatorError
from libs.common.telemetry.registry import render_metrics

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]
Check = Callable[[], Awaitable[bool]]
Checks = Mapping[str, Check]

_CHECK_SECONDS = 2.0
_KEEP_ALIVE_SECONDS = 75
_BACKLOG = 4096
_UNREAD_SECONDS = 30
"""What a peer leaves unread for so long ends its connection."""
_MESSAGE_BYTES = 65_536
"""Of what a WebSocket's other side may send at once. Nothing is compressed: small messages may grow without a bound."""
_PING_SECONDS = 15.0
"""A WebSocket whose other side does not answer within this time is closed."""
_YOUNG_OBJECTS = 10_000
"""New objects between two looks for cycles of garbage."""


class Drain:
    """Whether the process is about to stop."""

    def __init__(self) -> None:
        self.has_begun = False

    def begin(self) -> None:
        """From now on it is."""
        self.has_begun = True

    async def running(self) -> bool:
        """Readiness check: it is not."""
        return not self.has_begun


def with_health(app: AsgiApp | None, checks: Checks, drain: Drain | None = None) -> AsgiApp:
    """`app` with /healthz, /readyz and /metrics before it; without an app only these. `drain`: of this process."""
    drain = drain or Drain()

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        if path == "/healthz":
            await _send_json(send, 200, {"status": "alive"})
        elif path == "/readyz":
            state = await run_checks({**checks, "running": drain.running} if drain.has_begun else checks)
            await _send_json(send, 200 if all(state.values()) else 503, {"ready": all(state.values()), "checks": state})
        elif path == "/metrics":
            body, content_type = render_metrics(_header(scope, b"accept"))
            await _send(send, 200, content_type, body)
        elif app is not None:
            await app(scope, receive, _closing(send) if drain.has_begun and scope["type"] == "http" else send)
        elif scope["type"] == "http":
            await _send_json(send, 404, {"title": "Not found", "status": 404})

    return answer


def _header(scope: Any, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _closing(send: Any) -> Any:
    """`send`, after whose answer the connection ends: its next request goes to another process."""

    async def send_and_close(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await send(message)

    return send_and_close


async def run_checks(checks: Checks) -> dict[str, bool]:
    """Each check's answer; one that takes longer than two seconds has failed."""
    return dict(zip(checks, await asyncio.gather(*[_bounded(check) for check in checks.values()]), strict=True))


async def _bounded(check: Check) -> bool:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await check()
    except Exception:  # noqa: BLE001 - whatever goes wrong in a check, the answer is no
        return False


def take_port(host: str, port: int) -> socket.socket:
    """The port, ours from now on; nobody can connect before an `HttpServer` starts on it. 0 takes a free one.

    A service does this first of all. Raises `OperatorError` when it is another's.
    """
    taken = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_SECONDS * 1000)
        taken.bind((host, port))
    except (OSError, OverflowError) as error:
        taken.close()
        raise _cannot_listen(host, port, error) from None
    return taken


def _cannot_listen(host: str, port: int, error: OSError | OverflowError) -> OperatorError:
    reason = error.strerror if isinstance(error, OSError) else "a port is a number from 0 to 65535"
    return OperatorError(f"Cannot listen on {host}:{port}: {reason}.")


class HttpServer:
    """An ASGI application on a port, inside the service's own event loop."""

    def __init__(self, app: AsgiApp, taken: socket.socket, drain_seconds: float, *, sockets: bool = False) -> None:
        """`taken`: what `take_port` gave; `sockets`: the application takes WebSockets too."""
        config = Config(
            cast("Any", app), http=BoundedProtocol, lifespan="off",
            log_config=None, access_log=False, server_header=False,
            proxy_headers=False,  # whom to believe is a setting, not who connects from this machine
            ws="wsproto" if sockets else "none", ws_max_size=_MESSAGE_BYTES, ws_per_message_deflate=False,
            ws_ping_interval=_PING_SECONDS, ws_ping_timeout=_PING_SECONDS,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=int(drain_seconds), backlog=_BACKLOG,
        )  # fmt: skip
        self._socket, self._server = taken, _EmbeddedServer(config)
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Its port."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Answer requests. Raises `OperatorError` when another process that took the port too was faster."""
        host, port = self._socket.getsockname()[:2]
        try:
            self._socket.listen(_BACKLOG)
        except OSError as error:
            raise _cannot_listen(host, port, error) from None
        self._task = asyncio.get_running_loop().create_task(self._server.serve([self._socket]))

    async def stop(self) -> None:
        """No new connections; requests under way are answered."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()


class _EmbeddedServer(uvicorn.Server):
    """Uvicorn that leaves the signals to the process it is part of."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def settle_collector() -> None:
    """For a process that has loaded and opened all it needs: have the cyclic collector leave that alone, and look at
    new objects less often.

    By its defaults (https://docs.python.org/3/library/gc.html) it went through every module, class and function again
    each time a few ten thousand runs or calls were in hand: a fifth of an executor's time under load and 70 ms at once,
    for nothing, because the hot path leaves no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 10, 10)


async def stop_signal() -> str:
    """Returns the name of the first SIGTERM or SIGINT; a second one ends the process at once."""
    received = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def receive(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        if not received.done():
            received.set_result(number.name)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, receive, number)
    return await received


async def _send_json(send: Any, status: int, body: Mapping[str, object]) -> None:
    await _send(send, status, "application/json", msgspec.json.encode(body))


async def _send(send: Any, status: int, content_type: str, body: bytes) -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
