"""A client of the socket that tells what happens to a tenant's executions."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp
from aiohttp import ClientWebSocketResponse, WSMsgType

from libs.common.clock import new_id
from libs.common.db.executions import change_executions
from tests.factories import action_row, execution_change
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow
from tests.integration.gateway.following import Gateway


@dataclass
class Client:
    """One open socket. `last_id`: of the last event."""

    socket: ClientWebSocketResponse
    last_id: str = ""
    told: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    async def say(self, **message: Any) -> None:
        await self.socket.send_str(json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        """The next message that is no ping."""
        while True:
            message = json.loads(await self.socket.receive_str())
            if message["type"] != "ping":
                self.last_id = message.get("id", self.last_id)
                return message

    async def subscribe(self, last_event_id: str | None = None, **wanted: Any) -> dict[str, Any]:
        more = {} if last_event_id is None else {"last_event_id": last_event_id}
        await self.say(subscribe=wanted, **more)
        answer = await self.hear()
        assert answer["type"] == "subscribed", answer
        return answer

    async def next_event(self) -> tuple[str, str]:
        """Id and status of the execution that the next event is about."""
        message = await self.hear()
        assert message["type"] == "execution", message
        return message["execution"]["id"], message["execution"]["status"]

    async def end(self) -> tuple[int | None, str]:
        """Code and reason with which the other side closes it; the reason was said before."""
        reason = ""
        while True:
            message = await self.socket.receive()
            if message.type is WSMsgType.TEXT:
                said = json.loads(message.data)
                reason = said["reason"] if said["type"] == "closing" else reason
            else:
                assert message.extra in (None, "", reason[:123])
                return self.socket.close_code, reason


@asynccontextmanager
async def connected(served: Gateway, role: str = "owner", slug: str = "acme", **options: Any) -> AsyncGenerator[Client]:
    """A socket with the credentials in the headers, unless `options` of the client say otherwise."""
    options = options or {"headers": served.world.headers(slug, role)}
    url = f"http://127.0.0.1:{served.port}/api/v1/executions/ws"
    async with aiohttp.ClientSession() as session:
        untyped: Any = session
        async with untyped.ws_connect(url, **options) as socket:
            yield Client(socket)


class Runs:
    """Executions of a tenant, and what becomes of them."""

    def __init__(self, world: World, slug: str = "acme") -> None:
        self._world, self._slug, self._workflow = world, slug, ""
        self._tenant = UUID(int=0)

    async def begin(self, workflow_id: str | None = None) -> str:
        """A new one."""
        if not self._workflow:
            made = await self._world.made(workflow(f"Followed {new_id()}"), slug=self._slug)
            self._workflow = made["id"]
        path = f"/workflows/{workflow_id or self._workflow}/execute"
        started = (await self._world.call("POST", path, {"input": {}}, slug=self._slug)).json()["execution_id"]
        (row,) = await self._world.fetch("SELECT tenant_id FROM executions WHERE id = $1", started)
        self._tenant = row["tenant_id"]
        return started

    async def become(self, status: str, *execution_ids: str) -> None:
        """Written as an executor does. One that is not pending cannot change any more."""
        records = [action_row("waiting" if status == "waiting" else "completed")]
        changes = [
            execution_change(self._tenant, UUID(one), 1, status, claims=True, records=records) for one in execution_ids
        ]
        async with self._world.parts.database.connection() as connection:
            assert len(await change_executions(connection, new_id(), changes)) == len(execution_ids)
