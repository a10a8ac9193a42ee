"""The way of spans to their receiver: in batches, in the background, bounded, and nobody's trouble when it fails."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from time import perf_counter

import pytest
from aiohttp import web

from libs.common.errors import OperatorError
from libs.common.settings import load_settings
from libs.common.telemetry import spans
from libs.common.telemetry.otlp import QUEUE, SpanExport, read_headers
from libs.common.telemetry.spans import Span, first_place, place_of
from tests.e2e.receiver import Receiver, receiver
from tests.servers import ROOT, free_port
from tests.waiting import until

PLACE = f"00-{'a' * 32}-{'b' * 16}-01"
START = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
async def traces() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


@pytest.fixture
async def hanging() -> AsyncIterator[str]:
    """Address of a receiver that never answers."""
    until_closed = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await until_closed.wait()
        return web.Response()

    app, port = web.Application(), free_port()
    app.router.add_post("/v1/traces", hang)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}"
    until_closed.set()
    await runner.cleanup()


def export(url: str, **settings: str) -> SpanExport:
    given = {f"SIGNALBOX_{name.upper()}": value for name, value in settings.items()}
    return SpanExport(load_settings({"SIGNALBOX_OTLP_ENDPOINT": url, **given}), "test")


def span(number: int) -> Span:
    return Span(f"s{number}", place_of(PLACE, number), PLACE, START, START, attributes={"n": number})


async def test_spans_come_as_they_were_told(traces: Receiver) -> None:
    export_ = export(f"{traces.url}/", otlp_headers="X-Key=k=1, x-other = two")
    end, link = START.replace(microsecond=1), place_of(PLACE, 1)
    spans.record(Span("run", PLACE, "", START, end, "consumer", {"a": "b"}, [link], error="timeout"))
    spans.record(span(2))
    await export_.close()
    first, second = traces.spans
    assert (first.service, first.name, first.parent_id, first.nanoseconds) == ("signalbox-test", "run", "", 1_000)
    assert (first.trace_id, first.span_id, first.failed) == (PLACE[3:35], PLACE[36:52], True)
    assert (first.attributes, first.links) == ({"a": "b", "error.type": "timeout"}, [link[36:52]])
    assert (second.parent_id, second.failed) == (PLACE[36:52], False)
    assert (traces.headers["x-key"], traces.headers["x-other"]) == ("k=1", "two")
    spans.record(span(3))
    assert len(traces.spans) == 2, "closed"


async def test_what_a_hanging_receiver_does_not_take_is_bounded_and_a_process_ends_all_the_same(hanging: str) -> None:
    export_ = export(hanging)
    started = perf_counter()
    for number in range(3 * QUEUE):
        spans.record(span(number))
    assert perf_counter() - started < 20, "telling a span waits for nobody"
    started = perf_counter()
    await export_.close()
    assert perf_counter() - started < 20


async def test_a_receiver_that_is_not_there_is_nobodys_trouble() -> None:
    export_ = export(f"http://127.0.0.1:{free_port()}")
    spans.record(span(1))
    started = perf_counter()
    await export_.close()
    assert perf_counter() - started < 20


async def test_what_a_receiver_cannot_take_just_now_is_sent_again(traces: Receiver) -> None:
    traces.status = 503
    export_ = export(traces.url)
    spans.record(span(1))

    async def was_asked() -> bool:
        return bool(traces.headers)

    await until(was_asked)
    traces.status = 200
    await export_.close()
    assert [one.name for one in traces.spans] == ["s1"]


def test_whoever_does_not_export_does_not_load_what_it_takes() -> None:
    services = ", ".join(f"services.{name}.app" for name in ("gateway", "webhooks", "scheduler", "executor"))
    look = f"import sys, services.one, {services}; print(sorted(m for m in sys.modules if 'opentelemetry' in m))"
    found = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


async def test_callers_decide_for_their_traces(traces: Receiver) -> None:
    export_ = export(traces.url, traces_ratio="0")
    assert first_place().endswith("-00")
    spans.record(span(1))
    spans.record(Span("quiet", PLACE.replace("-01", "-00"), "", START, START))
    await export_.close()
    assert [one.name for one in traces.spans] == ["s1"]


@pytest.mark.parametrize("text", ["secret", "=secret", "a=b,secret", "a=s\necret", "ä=secret"])
def test_headers_that_are_none_are_refused_and_not_shown(text: str) -> None:
    with pytest.raises(OperatorError) as refused:
        read_headers(text)
    assert "secret" not in refused.value.detail


def test_an_empty_part_of_the_headers_is_none() -> None:
    assert read_headers("") == read_headers(" , ") == {}
    assert read_headers("a=1,,b=,") == {"a": "1", "b": ""}
