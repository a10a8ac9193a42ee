"""Calls of the API from pages in browsers (CORS): off unless `SIGNALBOX_CORS_ORIGINS` names origins.

What decides whether a call is let in is its credential, never its origin: these headers merely tell a browser what it
may show to a page. No cookie is ever asked for, and the headers of identity proxies are none that a page may send.
"""

from typing import TypeAlias

from litestar.types import HTTPScope, Message, Send

Headers: TypeAlias = list[tuple[bytes, bytes]]

_ANY = "*"
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_SENT = (
    b"Authorization, Content-Type, X-Tenant-ID, X-User-ID, X-Request-ID, Idempotency-Key, If-Match, If-None-Match,"
    b" Last-Event-ID, traceparent"
)
_SHOWN = (
    b"Location, ETag, X-Request-ID, X-Next-Cursor, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset,"
    b" Idempotent-Replayed, Content-Disposition"
)
_REMEMBER_SECONDS = b"600"


class CrossOrigin:
    """What browsers are told. `origins`: as the setting has them, comma-separated."""

    def __init__(self, origins: str) -> None:
        self._allowed = frozenset(one.strip().lower() for one in origins.split(",") if one.strip())

    def headers(self, scope: HTTPScope) -> Headers:
        """What stands on the answer, good or bad, so that pages of an allowed origin may see it."""
        if not self._allowed:
            return []
        if _ANY in self._allowed:
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _SHOWN)]
        origin = _header(scope, b"origin")
        if origin.decode("latin-1").lower() not in self._allowed:
            return [(b"vary", b"Origin")]
        return [
            (b"vary", b"Origin"),
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _SHOWN),
        ]

    def is_question(self, scope: HTTPScope) -> bool:
        """Whether a browser asks what a page of an allowed origin may call: that is answered without a credential."""
        if scope["method"] != "OPTIONS" or not _header(scope, b"access-control-request-method"):
            return False
        origin = _header(scope, b"origin")
        return bool(origin) and (_ANY in self._allowed or origin.decode("latin-1").lower() in self._allowed)


async def answer_question(send: Send) -> None:
    """204 with what a page may send; the rest of the headers comes with every answer."""
    headers: Headers = [
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", _SENT),
        (b"access-control-max-age", _REMEMBER_SECONDS),
    ]
    start: Message = {"type": "http.response.start", "status": 204, "headers": headers}
    end: Message = {"type": "http.response.body", "body": b"", "more_body": False}
    await send(start)
    await send(end)


def _header(scope: HTTPScope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")
