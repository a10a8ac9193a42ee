"""Sends spans by OTLP over HTTP with JSON, which collectors take beside protobuf
(https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).

Protobuf is left out on purpose: once it is installed, every process that evaluates an expression loads it, whether it
sends traces or not. Called in a thread of the SDK's, so it blocks.
"""

import gzip
import ssl
import threading
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

import msgspec
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

_ANSWER_SECONDS = 5.0
_PAUSES = (0.5, 2.0)
"""Seconds before a batch is sent again that the receiver could not take just now."""
_NOT_NOW = frozenset({429, 502, 503, 504})


class JsonExporter(SpanExporter):
    """Sends batches to one receiver."""

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        """`endpoint`: without the path of traces."""
        parts = urlsplit(endpoint)
        self._is_https, self._host, self._port = parts.scheme == "https", parts.hostname or "", parts.port
        self._path = f"{parts.path.rstrip('/')}/v1/traces"
        self._headers = {**headers, "Content-Type": "application/json", "Content-Encoding": "gzip"}
        self._ended = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them; returns whether the receiver has them."""
        body = gzip.compress(encode(spans), compresslevel=1)
        for pause in (*_PAUSES, None):
            status = 0 if self._ended.is_set() else self._post(body)
            if 200 <= status < 300:
                return SpanExportResult.SUCCESS
            if pause is None or status not in {0, *_NOT_NOW} or self._ended.wait(pause):
                break
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Nothing is sent any more; what is under way may end."""
        self._ended.set()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is kept here."""
        return True

    def _post(self, body: bytes) -> int:
        """The status of the answer; 0 when there was none."""
        connection = self._connection()
        try:
            connection.request("POST", self._path, body, self._headers)
            return connection.getresponse().status
        except (OSError, HTTPException, ValueError):
            return 0
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        if self._is_https:
            context = ssl.create_default_context()
            return HTTPSConnection(self._host, self._port, timeout=_ANSWER_SECONDS, context=context)
        return HTTPConnection(self._host, self._port, timeout=_ANSWER_SECONDS)


def encode(spans: Sequence[ReadableSpan]) -> bytes:
    """A request (ExportTraceServiceRequest) with spans of one process: ids in hexadecimal, 64-bit numbers as text."""
    first = spans[0]
    scope = first.instrumentation_scope
    about = {"name": scope.name, "version": scope.version or ""} if scope else {}
    made = {"scope": about, "spans": [_span(span) for span in spans]}
    resource = {"attributes": _attributes(first.resource.attributes)}
    return msgspec.json.encode({"resourceSpans": [{"resource": resource, "scopeSpans": [made]}]})


def _span(span: ReadableSpan) -> dict[str, Any]:
    own = span.get_span_context()
    assert own is not None  # it has ended, so it was there
    return {
        **_place(own),
        "parentSpanId": f"{span.parent.span_id:016x}" if span.parent else "",
        "name": span.name,
        "kind": span.kind.value + 1,  # 0 is "unspecified" there
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _attributes(span.attributes or {}),
        "links": [_place(link.context) for link in span.links],
        "status": {"code": span.status.status_code.value},
    }


def _place(context: Any) -> dict[str, str]:
    return {"traceId": f"{context.trace_id:032x}", "spanId": f"{context.span_id:016x}"}


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: object) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": str(value)}
