"""Sends spans to a receiver of OTLP over HTTP (a collector, Jaeger, Tempo …), with OpenTelemetry's SDK.

Only a process that is to export imports this module: the SDK takes some 12 MB. Spans wait in a bounded queue and go out
in batches from a thread of the SDK's. A receiver that is slow, wrong or away costs spans, oldest first, and nothing
else: no station waits, and a process that ends waits two seconds at most.
"""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from libs.common.clock import new_id
from libs.common.errors import OperatorError
from libs.common.settings import Settings
from libs.common.telemetry import metrics, spans
from libs.common.telemetry.otlp_json import JsonExporter
from libs.common.telemetry.spans import Span
from libs.common.version import __version__

QUEUE = 4_096
"""Spans that wait; beyond, the oldest are dropped. Some 3 KB each."""
_BATCH = 512
_PAUSE_MILLISECONDS = 1_000
_LAST_BATCH_SECONDS = 2.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_FAILED, _UNSET = Status(StatusCode.ERROR), Status()
_KINDS = {
    "internal": SpanKind.INTERNAL, "server": SpanKind.SERVER, "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER, "consumer": SpanKind.CONSUMER,
}  # fmt: skip

_log = structlog.get_logger(__name__)


class SpanExport:
    """The spans of this process on their way. Made once; `close` sends what waits."""

    def __init__(self, settings: Settings, service: str) -> None:
        """`service`: what the process is. Raises `OperatorError` for headers that are none."""
        self._exporter = _Watched(
            JsonExporter(settings.otlp_endpoint, read_headers(settings.otlp_headers.reveal()))
        )  # fmt: skip
        self._processor = BatchSpanProcessor(
            self._exporter, max_queue_size=QUEUE, schedule_delay_millis=_PAUSE_MILLISECONDS,
            max_export_batch_size=_BATCH,
        )  # fmt: skip
        who = {
            "service.namespace": "signalbox", "service.name": f"signalbox-{service}",
            "service.version": __version__, "service.instance.id": str(new_id()),
        }  # fmt: skip
        self._resource, self._scope = Resource(who), InstrumentationScope("signalbox", __version__)
        spans.export_to(self._take, settings.traces_ratio)

    async def close(self) -> None:
        """No more spans; those that wait are sent, if the receiver takes them soon."""
        spans.export_to(None)
        # A daemon: a receiver that does not answer must not hold up the end of the process.
        thread = threading.Thread(target=self._processor.shutdown, daemon=True)
        thread.start()
        loop = asyncio.get_running_loop()
        end = loop.time() + _LAST_BATCH_SECONDS
        while thread.is_alive() and loop.time() < end:  # noqa: ASYNC110 - the SDK's thread has no event for it
            await asyncio.sleep(0.01)
        if thread.is_alive():
            self._exporter.give_up()

    def _take(self, span: Span) -> None:
        """Never raises: what goes wrong with a span is not the station's affair. The span is made as it is, without the
        SDK's tracer, sampler and clock, which take five times as long.
        """
        try:
            made = ReadableSpan(
                span.name, _context_of(span.place), _context_of(span.parent) if span.parent else None, self._resource,
                {**span.attributes, "error.type": span.error} if span.error else span.attributes, (),
                [Link(_context_of(link)) for link in span.links], _KINDS[span.kind],
                status=_FAILED if span.error else _UNSET, start_time=_nanoseconds(span.started_at),
                end_time=_nanoseconds(span.ended_at), instrumentation_scope=self._scope,
            )  # fmt: skip
            self._processor.on_end(made)
        except Exception:  # noqa: BLE001 - see above
            _log.debug("a span is lost", name=span.name, exc_info=True)


def read_headers(text: str) -> Mapping[str, str]:
    """`name=value`, comma-separated. Raises `OperatorError`, which shows nothing of them."""
    headers: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if not part.strip():
            continue
        if not (equals and name.strip() and part.isascii() and part.isprintable()):
            raise OperatorError("SIGNALBOX_OTLP_HEADERS: must be name=value, comma-separated.")
        headers[name.strip()] = value.strip()
    return headers


class _Watched(SpanExporter):
    """Counts what is sent, and says once when that goes wrong and once when it goes right again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter, self._failing, self._ended = exporter, False, False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        metrics.count_spans("failed" if failed else "exported", len(spans))
        if failed != self._failing and not self._ended:
            self._failing = failed
            if failed:
                _log.warning("the receiver of traces takes no spans")
            else:
                _log.info("the receiver of traces takes spans again")
        return result

    def give_up(self) -> None:
        """What is under way or waits is lost."""
        self._ended = True
        self._exporter.shutdown()

    def shutdown(self) -> None:
        self.give_up()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


def _context_of(place: str) -> SpanContext:
    return SpanContext(int(place[3:35], 16), int(place[36:52], 16), is_remote=True, trace_flags=_SAMPLED)


def _nanoseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND * 1_000
