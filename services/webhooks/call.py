"""One webhook call as it came in, read from ASGI: bounded in size, not yet judged."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from math import inf
from typing import Any

import msgspec

from libs.common.errors import MalformedInput, TooLarge
from libs.common.security.caller_address import caller_address
from libs.common.settings import Network

_MOST_DIGITS = 15
"""Of a number that is worth reading: Python refuses some thousands of them."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Call(msgspec.Struct, frozen=True):
    """A call without its body. Header names are lower-case; of repeated headers the values are joined by comma (RFC
    9110, 5.3). `peer`: the address at the other end of the connection; `raw_path`: the path to the letter, which
    signatures over the address are made of (`path` is decoded, and without what the application is mounted at).
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    ip: str
    peer: str = ""
    raw_path: str = ""

    def header(self, name: str) -> str:
        """The header's value, empty if it is absent."""
        return self.headers.get(name, "")


def read_call(scope: Scope, max_header_bytes: int, trusted: Sequence[Network] = ()) -> Call:
    """The call's head; its address as proxies in `trusted` networks say. Raises `MalformedInput` when the header block
    is too large.
    """
    raw: list[tuple[bytes, bytes]] = scope["headers"]
    if sum(len(name) + len(value) for name, value in raw) > max_header_bytes:
        raise MalformedInput(f"The headers are larger than {max_header_bytes} bytes.")
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    peer: str = (scope.get("client") or ("", 0))[0]
    ip = caller_address(peer, headers.get("x-forwarded-for", ""), trusted) if trusted else peer
    query: str = scope["query_string"].decode("latin-1")
    raw_path = bytes(scope.get("raw_path") or b"").decode("latin-1")
    return Call(scope["method"], scope["path"], query, headers, ip, peer, raw_path)


async def read_body(call: Call, receive: Receive, limit_bytes: int) -> bytes:
    """The body. Raises `TooLarge` by the declared length and again by what really comes, `MalformedInput` on an early
    close.
    """
    if _declared_length(call) > limit_bytes:
        raise TooLarge(limit_bytes)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit_bytes:
            raise TooLarge(limit_bytes)
        return body
    return await _read_rest(message, receive, limit_bytes)


def _declared_length(call: Call) -> float:
    """What the caller says; 0 when it is no number."""
    text = call.header("content-length")
    if not text.isascii() or not text.isdigit():
        return 0
    digits = text.lstrip("0")
    return int(digits or "0") if len(digits) <= _MOST_DIGITS else inf


async def _read_rest(message: MutableMapping[str, Any], receive: Receive, limit_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise MalformedInput("The connection closed before the body was complete.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit_bytes:
            raise TooLarge(limit_bytes)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()
