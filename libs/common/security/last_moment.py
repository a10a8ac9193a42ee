"""A question that is asked at the last moment before a request goes out. Until then it may have waited long: for a free
connection of the pool, for a name, for a server that is slow to accept.
"""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

from aiohttp import ClientRequest, ClientResponse
from aiohttp.connector import Connection

Question = Callable[[], Awaitable[None]]
"""Raises whatever keeps the request from going out; nothing of it was sent then."""

_question: ContextVar[Question | None] = ContextVar("question", default=None)


@contextmanager
def asking(question: Question) -> Generator[None]:
    """Every request that this task sends within the block, each hop of a redirect too, asks first."""
    token = _question.set(question)
    try:
        yield
    finally:
        _question.reset(token)


class AskingRequest(ClientRequest):
    """A request of aiohttp (`ClientSession(request_class=…)`) that asks."""

    async def send(self, conn: Connection) -> ClientResponse:
        """`conn`: is given up when something is raised."""
        if (question := _question.get()) is not None:
            await question()
        return await super().send(conn)
