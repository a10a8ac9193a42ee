"""`WS /api/v1/executions/ws`: the door of the socket that tells what happens to a tenant's executions.

Three ways to say who one is, never in the address, which is logged: the headers of every request; for browsers, which
cannot set headers, the subprotocols `signalbox`, `token.…`, `tenant.…`; or a first message `{"token", "tenant"}`. With
headers a refusal is an HTTP answer. In a browser nobody could read that: the socket opens, and closes with a code.
"""

import asyncio
from typing import Any, cast

import structlog
from litestar import Router, websocket

from libs.common.clock import new_id
from libs.common.errors import SignalboxError, Unauthenticated
from libs.common.problems import problem_for
from services.gateway.auth import AnyConnection, Authenticator, check_scope, presented_by
from services.gateway.identity import Presented
from services.gateway.live import LiveStreams
from services.gateway.parts import GatewayParts
from services.gateway.sockets import (
    BROKEN,
    GONE,
    LEFT,
    AnySocket,
    Ending,
    Message,
    Session,
    ending_for,
    read_message,
    say_goodbye,
)
from services.gateway.tenant_feed import TenantFeeds

SUBPROTOCOL = "signalbox"

_HELLO_SECONDS = 10.0
_log = structlog.get_logger(__name__)


@websocket("/executions/ws")
async def follow_executions(socket: AnySocket) -> None:
    """Tells what happens to the tenant's executions until one side closes it."""
    if "authorization" in socket.headers:
        await _follow_by_headers(socket)
        return
    streams: LiveStreams = socket.app.state["live_streams"]
    await socket.accept(_subprotocol(socket))
    try:
        with streams.followers.greet():
            async with asyncio.timeout(_HELLO_SECONDS):
                presented, first = await _introduced(socket)
        await _follow(socket, presented, first)
        return
    except TimeoutError:
        ending = Ending(4408, f"no credential came within {_HELLO_SECONDS:.0f} seconds")
    except SignalboxError as error:
        ending = ending_for(error)
    except GONE:
        ending = LEFT
    await say_goodbye(socket, ending)


async def _follow_by_headers(socket: AnySocket) -> None:
    try:
        await _follow(socket, presented_by(cast("AnyConnection", socket)), None)
    except SignalboxError as error:
        if socket.connection_state == "init":
            await _refuse(socket, error)
        else:
            await say_goodbye(socket, ending_for(error))


async def _follow(socket: AnySocket, presented: Presented, first: Message | None) -> None:
    """To the end. Raises `SignalboxError` for whoever may not follow."""
    authenticator: Authenticator = socket.app.state["authenticator"]
    streams: LiveStreams = socket.app.state["live_streams"]
    feeds: TenantFeeds = socket.app.state["tenant_feeds"]
    limits = cast("GatewayParts", socket.app.state["parts"]).limits

    async def check() -> None:
        await authenticator.identify(presented)

    async def admit() -> None:
        await limits.admit_call(caller.tenant_id)

    caller = await authenticator.identify(presented)
    check_scope(caller, cast("AnyConnection", socket), writes=False)
    await admit()
    followers = streams.followers
    with followers.admit(caller.tenant_id, "socket"):
        async with feeds.of(caller.tenant_id) as feed:
            if socket.connection_state == "init":
                await socket.accept(_subprotocol(socket))
            try:
                ending = await Session(socket, feed, check, admit, followers.closing).run(first)
            except Exception:  # noqa: BLE001 - whatever it was, it is logged, and the other side is told
                _log.exception("a socket failed", tenant_id=caller.tenant_id)
                ending = BROKEN
            await say_goodbye(socket, ending)


async def _introduced(socket: AnySocket) -> tuple[Presented, Message | None]:
    """Who it is, by the subprotocols or by the first message, which may subscribe as well."""
    offered = dict(one.split(".", 1) for one in _offered(socket) if "." in one)
    if "token" in offered:
        return Presented(f"Bearer {offered['token']}", offered.get("tenant")), None
    first = read_message(await socket.receive_text())
    if first.token is None:
        raise Unauthenticated("The first message must hold a token and a tenant.")
    return Presented(f"Bearer {first.token}", first.tenant), first


def _offered(socket: AnySocket) -> list[str]:
    return socket.scope["subprotocols"]


def _subprotocol(socket: AnySocket) -> str | None:
    return SUBPROTOCOL if SUBPROTOCOL in _offered(socket) else None


async def _refuse(socket: AnySocket, error: SignalboxError) -> None:
    """The answer that an ordinary request would have had."""
    await socket.receive()
    status, headers, body = problem_for(error, str(new_id()))
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    send = cast("Any", socket.send)
    await send({"type": "websocket.http.response.start", "status": status, "headers": raw})
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})


ROUTER = Router("/api/v1", route_handlers=[follow_executions])
