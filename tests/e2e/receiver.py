"""A receiver of traces (OTLP over HTTP) on a private port, and the trees of what it got."""

import json
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

from tests.servers import free_port

Tree = tuple[str, str, "list[Tree]"]
"""Who, what, and what that caused, in the order of their names."""


class Received(msgspec.Struct, frozen=True):
    """A span as it came. Ids are hexadecimal; `links`: ids of spans."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    nanoseconds: int
    attributes: dict[str, str]
    links: list[str]
    failed: bool


class Receiver:
    """Keeps every span. `raw`: all bytes that came; `headers`: of the latest request; `status`: its answer."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.spans: list[Received] = []
        self.raw = b""
        self.headers: Mapping[str, str] = {}
        self.status = 200

    async def answer(self, request: web.Request) -> web.Response:
        body, self.headers = await request.read(), request.headers
        if self.status == 200:
            self.raw += body
            for resource in json.loads(body)["resourceSpans"]:
                service = _texts(resource["resource"]["attributes"])["service.name"]
                for scope in resource["scopeSpans"]:
                    self.spans += [_received(service, one) for one in scope["spans"]]
        return web.Response(status=self.status)

    def of(self, trace_id: str) -> list[Received]:
        """The spans of a trace."""
        return [span for span in self.spans if span.trace_id == trace_id]

    def tree(self, trace_id: str, parent_id: str = "") -> list[Tree]:
        """What the span (empty: nobody) has caused."""
        children: defaultdict[str, list[Received]] = defaultdict(list)
        for span in self.of(trace_id):
            children[span.parent_id].append(span)

        def below(span_id: str) -> list[Tree]:
            found = [(span.service.removeprefix("signalbox-"), span.name, below(span.span_id))
                     for span in children[span_id]]  # fmt: skip
            return sorted(found, key=lambda tree: (tree[1], tree[0], str(tree[2])))

        return below(parent_id)


@asynccontextmanager
async def receiver() -> AsyncGenerator[Receiver]:
    """One that listens."""
    made = Receiver(port := free_port())
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/traces", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield made
    await runner.cleanup()


def _received(service: str, span: Any) -> Received:
    return Received(
        service, span["name"], span["traceId"], span["spanId"], span["parentSpanId"],
        int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"]), _texts(span["attributes"]),
        [link["spanId"] for link in span["links"]], span["status"]["code"] == 2,
    )  # fmt: skip


def _texts(attributes: list[Any]) -> dict[str, str]:
    return {one["key"]: str(next(iter(one["value"].values()))) for one in attributes}
