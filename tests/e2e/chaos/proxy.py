"""A network that can be cut: a TCP proxy in front of one server, for those who are told its port.

Cut, it keeps every connection and passes nothing on, in both directions or in one, as a network does that loses every
packet; what was sent meanwhile arrives when it is mended. Dropped, every connection is reset and nobody gets through.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from tests.servers import free_port

_CHUNK = 65_536


class Proxy:
    """Between `port` and the server at `target`. `up`: towards the server, `down`: towards its clients; set: open."""

    def __init__(self, target: int) -> None:
        self.port, self._target = free_port(), target
        self.up, self.down = asyncio.Event(), asyncio.Event()
        self.mend()
        self._refuses = False
        self._writers: set[asyncio.StreamWriter] = set()

    def mend(self) -> None:
        """Everything passes, what waited first."""
        self.up.set()
        self.down.set()
        self._refuses = False

    def cut(self) -> None:
        """Nothing passes, and nobody is told."""
        self.up.clear()
        self.down.clear()

    def drop(self) -> None:
        """Every connection is reset, and new ones are until it is mended."""
        self._refuses = True
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        if self._refuses:
            writer.transport.abort()
            return
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, there[1]}
        self._writers |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass_on(reader, there[1], self.up))
                group.create_task(_pass_on(there[0], writer, self.down))
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: asyncio.Event) -> None:
    """Until the sender has ended, or one of the two is gone."""
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            await passes.wait()
            writer.write(data)
            await writer.drain()
        await passes.wait()
        writer.write_eof()


@asynccontextmanager
async def proxy(target: int) -> AsyncGenerator[Proxy]:
    """In front of the server at this port of the loopback interface."""
    made = Proxy(target)
    tasks = set[asyncio.Task[None]]()

    def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(made.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(client, "127.0.0.1", made.port)
    try:
        yield made
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
