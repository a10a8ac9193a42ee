"""What is sent when, and not later: a question right before a request goes out, and an end to what was given up.

Before it goes out a request may have waited long: for a free connection of the pool, for a name, for a server that is
slow to accept. And what could not be written yet would be written still, after whoever sent it has given up.
"""

from asyncio import Transport
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from aiohttp import ClientRequest, ClientResponse
from aiohttp.connector import Connection

Question = Callable[[], Awaitable[None]]
"""Raises whatever keeps the request from going out; nothing of it was sent then."""


@dataclass(slots=True)
class _Sending:
    question: Question
    transport: Transport | None = None
    """Of the request that was sent last."""


_sending: ContextVar[_Sending | None] = ContextVar("sending", default=None)


@contextmanager
def asking(question: Question) -> Generator[None]:
    """Every request that this task sends within the block, each hop of a redirect too, asks first. When the block ends
    by an exception, of a cancellation too, nothing more of them is sent.
    """
    sending = _Sending(question)
    token = _sending.set(sending)
    try:
        yield
    except BaseException:
        # One that is not closing has been given back to the pool, and may be somebody else's by now.
        if sending.transport is not None and sending.transport.is_closing():
            sending.transport.abort()
        raise
    finally:
        _sending.reset(token)


class AskingRequest(ClientRequest):
    """A request of aiohttp (`ClientSession(request_class=…)`) that asks."""

    async def send(self, conn: Connection) -> ClientResponse:
        """`conn`: is given up when something is raised."""
        if (sending := _sending.get()) is not None:
            await sending.question()
            sending.transport = conn.transport
        return await super().send(conn)
