"""A line to Redis or Valkey for those who only send a few commands now and then: its usual client costs 15 to 20 MB of
memory, this one nothing to speak of.

One connection, opened when it is needed; one round trip for any number of commands. Whatever goes wrong ends the
connection and is an `OSError`: nothing is tried again here, and nobody waits longer than he says.
"""

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis

Command: TypeAlias = Sequence[str | bytes | int]

_CHUNK_BYTES = 65_536
_PORT = 6379


class Line:
    """Sends commands to the server at `url` (`redis://…`, `rediss://…`, `unix://…`). Not shared between loops."""

    def __init__(self, url: str) -> None:
        self._url, self._turn = urlsplit(url), asyncio.Lock()
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._replies = hiredis.Reader()

    async def ask(self, commands: Sequence[Command], seconds: float) -> list[Any]:
        """The answers to all of them. Raises `OSError` when the server is away, silent for that long, or refuses."""
        async with self._turn:
            try:
                async with asyncio.timeout(seconds):
                    return await self._exchange(commands)
            except BaseException:  # also of one who is cancelled: an answer that comes later belongs to nobody
                self._hang_up()
                raise

    async def close(self) -> None:
        """Nothing is left behind."""
        if self._open is not None:
            (_, writer), self._open = self._open, None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        if self._open is None:
            self._open = await self._call()
            await self._answers(self._greeting())
        return await self._answers(commands)

    async def _call(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._replies = hiredis.Reader()
        url = self._url
        if url.scheme == "unix":
            return await asyncio.open_unix_connection(unquote(url.path))
        secured = self._security() if url.scheme == "rediss" else None
        return await asyncio.open_connection(url.hostname or "localhost", url.port or _PORT, ssl=secured)

    def _security(self) -> ssl.SSLContext:
        wanted = parse_qs(self._url.query)
        context = ssl.create_default_context(cafile=wanted.get("ssl_ca_certs", [None])[0])
        if wanted.get("ssl_cert_reqs") == ["none"]:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def _greeting(self) -> list[Command]:
        url, commands = self._url, list[Command]()
        if url.password:
            commands.append(("AUTH", unquote(url.username or "default"), unquote(url.password)))
        path = "" if url.scheme == "unix" else url.path.strip("/")
        if number := parse_qs(url.query).get("db", [path])[0]:
            commands.append(("SELECT", number))
        return commands

    async def _answers(self, commands: Sequence[Command]) -> list[Any]:
        assert self._open is not None
        reader, writer = self._open
        writer.write(b"".join(map(_packed, commands)))
        answers: list[Any] = []
        while len(answers) < len(commands):
            if (answer := self._replies.gets()) is False:
                self._replies.feed(await _read(reader))
            elif isinstance(answer, hiredis.HiredisError):
                raise OSError(str(answer))
            else:
                answers.append(answer)
        return answers

    def _hang_up(self) -> None:
        if self._open is not None:
            self._open[1].transport.abort()
            self._open = None


def _packed(command: Command) -> bytes:
    return hiredis.pack_command(tuple(command))  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType, reportArgumentType]


async def _read(reader: asyncio.StreamReader) -> bytes:
    if not (data := await reader.read(_CHUNK_BYTES)):
        raise ConnectionResetError("The server has hung up.")
    return data
