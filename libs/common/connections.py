"""What a connection may send before anybody looks at it: the head of a request of bounded size, and each request within
bounded time. The server beneath bounds neither, so one caller could fill the memory with a header that never ends, or
hold a connection for ever by sending a byte now and then.

A request that comes in one piece costs nothing more than three flags; a timer runs only while one is incomplete.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 131_072
"""Of a head that is not complete yet. What a service lets in at last is a setting, and less."""
HEAD_SECONDS = 30.0
"""From the first byte to the last one of a head; also from the connection to its first request."""
BODY_SECONDS = 300.0


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 that ends connections which send too much or too slowly."""

    _deadline: asyncio.TimerHandle | None = None
    _in_message = _in_head = _has_begun = False
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_come()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._has_begun = False
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self.send_400_response("The head of the request is too large.")
            else:
                self._expect(HEAD_SECONDS)
        elif self._in_message:
            self._expect(BODY_SECONDS)
        elif not self._has_begun:
            self._expect(HEAD_SECONDS)  # empty lines between requests, which are no end of waiting

    def on_message_begin(self) -> None:
        self._in_message = self._in_head = self._has_begun = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._has_come()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_message = False
        self._has_come()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._in_message = False
        self._has_come()
        super().handle_websocket_upgrade()

    def _expect(self, seconds: float) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(seconds, self._give_up)

    def _has_come(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        transport: Any = self.transport
        transport.close()
