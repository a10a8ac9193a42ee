"""A small HTTP balancer as stands before gateways and webhooks: requests go in turn to those whose `/readyz` answered
200 when it looked last. It repeats nothing: a request that its server drops is the caller's 502.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from tests.servers import ServiceProcess, free_port

LOOKS_EVERY_SECONDS = 0.2


class Balancer:
    """Spreads requests over some processes. `dropped`: what became of requests that got no answer."""

    def __init__(self, processes: Sequence[ServiceProcess], session: aiohttp.ClientSession, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.dropped: list[str] = []
        self.answered = 0
        self._processes, self._session, self._turn = processes, session, 0
        self._ready: list[ServiceProcess] = list(processes)

    async def look(self) -> None:
        """Once at each."""
        states = await asyncio.gather(*[self._is_ready(process) for process in self._processes])
        self._ready = [process for process, ready in zip(self._processes, states, strict=True) if ready]

    async def keep_looking(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOKS_EVERY_SECONDS)

    async def forward(self, request: web.Request) -> web.Response:
        """To the next one in turn, once."""
        if not self._ready:
            self.dropped.append("nobody is ready")
            return web.json_response({}, status=503)
        self._turn += 1
        target = self._ready[self._turn % len(self._ready)]
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        try:
            async with self._session.request(
                request.method, target.url + str(request.rel_url), data=await request.read(), headers=headers
            ) as response:
                self.answered += 1
                return web.Response(
                    body=await response.read(), status=response.status, content_type=response.content_type
                )
        except aiohttp.ClientError as error:
            self.dropped.append(f"{request.method} {request.path} at {target.name} {target.port}: {error!r}")
            return web.json_response({}, status=502)

    async def _is_ready(self, process: ServiceProcess) -> bool:
        try:
            async with self._session.get(f"{process.url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def balancer(*processes: ServiceProcess) -> AsyncGenerator[Balancer]:
    """One that listens."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        made = Balancer(processes, session, port := free_port())
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", made.forward)
        runner = web.AppRunner(app, shutdown_timeout=0, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        looking = asyncio.get_running_loop().create_task(made.keep_looking())
        yield made
        looking.cancel()
        await runner.cleanup()
