"""Spans: what the stations of a trace say of themselves, for whoever exports them. Off unless `export_to` was called.

A station gives the traceparent that it came by and gets one to hand on. Off, or in a trace that is not sampled, that
is the same one, and nothing is made or kept. A span is told when it has ended, as a value; what becomes of it is the
exporter's business and never the station's. Attributes are ids, kinds and numbers: never a header, a body, an address
with a path, or anything that a template made.

    around("accept", parent)     a block of code        place_of(parent, id, 3)   the place of something that has a
    record(Span(…))              what is known whole                              name, for whoever knows that name
"""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from datetime import datetime
from hashlib import blake2b
from types import TracebackType
from typing import Any, Literal
from uuid import UUID

import msgspec

from libs.common.clock import SystemClock, random_token
from libs.common.errors import SignalboxError
from libs.common.telemetry.tracing import Trace, format_traceparent, new_trace, parse_traceparent

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Value = str | int | float | bool

_SAMPLED = "-01"
_RANGE = 1 << 64
_SERVER_ERROR = 500
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_CLOCK = SystemClock()


class Span(msgspec.Struct, frozen=True):
    """What happened at one station. `place`: its own traceparent; `parent`: that of what caused it, or empty; `links`:
    of what it goes on from; `error`: the class of what went wrong, or empty.
    """

    name: str
    place: str
    parent: str
    started_at: datetime
    ended_at: datetime
    kind: Kind = "internal"
    attributes: Mapping[str, Value] = {}
    links: Sequence[str] = ()
    error: str = ""


Exporter = Callable[[Span], None]
"""Takes a span at once and never raises."""


class _Exporting(msgspec.Struct, frozen=True):
    exporter: Exporter
    ratio: float


_exporting: _Exporting | None = None
_asked: ContextVar[str] = ContextVar("asked", default="")
"""The place of the request that is being answered."""


def export_to(exporter: Exporter | None, ratio: float = 1.0) -> None:
    """Every span of this process goes there from now on, None: nowhere. `ratio`: of the traces that begin here."""
    global _exporting
    _exporting = None if exporter is None else _Exporting(exporter, ratio)


def is_on() -> bool:
    """Whether spans go anywhere."""
    return _exporting is not None


def wants(place: str) -> bool:
    """Whether a span in that trace would be exported."""
    return _exporting is not None and place.endswith(_SAMPLED)


def record(span: Span) -> None:
    """The span has ended. Nothing when nobody wants it."""
    if _exporting is not None and span.place.endswith(_SAMPLED):
        _exporting.exporter(span)


def record_beginning(name: str, place: str, started_at: datetime, **ids: object) -> None:
    """A trace has begun at that place, by what nobody has asked for; it ends now."""
    if wants(place):
        record(Span(name, place, "", started_at, _CLOCK.now(), attributes=attributes_of(**ids)))


def attributes_of(**ids: object) -> dict[str, Value]:
    """Ids by kind, as attributes."""
    return {f"signalbox.{kind}.id": str(value) for kind, value in ids.items()}


def first_place(made: UUID | None = None) -> str:
    """The place where a trace begins. `made`: a fresh id of what begins it, for a trace of that id."""
    trace = new_trace(random_token(24) if made is None else made.bytes + made.bytes[8:])
    if _exporting is not None and _lot(trace.trace_id) >= _exporting.ratio * _RANGE:
        trace = Trace(trace.trace_id, trace.span_id, sampled=False)
    return format_traceparent(trace)


def _lot(trace_id: str) -> int:
    """Below 2**64. Ids made by time are alike in a burst, and a burst must not be all or nothing."""
    return int.from_bytes(blake2b(trace_id.encode(), digest_size=8).digest(), "big")


def place_of(parent: str, *name: object) -> str:
    """The place, in the parent's trace, of something that has a name: whoever knows that finds the same place. The
    parent's own when nobody wants it.
    """
    if not wants(parent):
        return parent
    digest = blake2b("/".join(map(str, name)).encode(), digest_size=8).hexdigest()
    return f"{parent[:36]}{digest}{_SAMPLED}"


def place_of_request(header: str) -> str:
    """The place at which what a request causes continues: of the request's own span, else its caller's, else a new
    trace.
    """
    if place := _asked.get():
        return place
    trace = parse_traceparent(header) if header else None
    return first_place() if trace is None else format_traceparent(trace)


class Around:
    """A span while it is under way, as a block of code. `place` is what the block hands on; `name` may change."""

    __slots__ = ("_attributes", "_error", "_is_recorded", "_kind", "_parent", "_started_at", "_token", "name", "place")

    def __init__(self, name: str, parent: str, place: str, kind: Kind, token: "Token[str] | None" = None) -> None:
        self.name, self.place, self._parent, self._token = name, place, parent, token
        self._kind: Kind = kind
        self._is_recorded = place != parent and wants(place)
        if self._is_recorded:
            self._attributes: dict[str, Value] = {}
            self._error = ""
            self._started_at = _CLOCK.now()

    def note(self, name: str, value: Value) -> None:
        """An attribute."""
        if self._is_recorded:
            self._attributes[name] = value

    def note_ids(self, **ids: object) -> None:
        """What it is about, by kind: `tenant`, `execution` …"""
        if self._is_recorded:
            self._attributes |= attributes_of(**ids)

    def answered(self, method: str, route: str, status: int) -> None:
        """It was a request over HTTP; only methods that there are become part of the name."""
        if self._is_recorded:
            method = known_method(method)
            self.name = f"{method} {route}"
            self._attributes |= {
                "http.request.method": method, "http.route": route, "http.response.status_code": status
            }  # fmt: skip
            if status >= _SERVER_ERROR:
                self._error = str(status)

    def failed(self, error: str) -> None:
        """What it is about has failed, by a class such as `timeout`."""
        if self._is_recorded:
            self._error = error

    def __enter__(self) -> "Around":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._token is not None:
            _asked.reset(self._token)
        if not self._is_recorded:
            return
        if error is not None and not self._error:
            self._error = error.slug if isinstance(error, SignalboxError) else type(error).__name__
        record(
            Span(
                self.name, self.place, self._parent, self._started_at, _CLOCK.now(), self._kind, self._attributes,
                error=self._error,
            )
        )  # fmt: skip


def around(name: str, parent: str, kind: Kind = "internal") -> Around:
    """A block that hands its own place on: a new one in the parent's trace, or the parent's when nobody wants it."""
    return Around(name, parent, _child(parent) if wants(parent) else parent, kind)


def known_method(method: str) -> str:
    """The method, `_OTHER` for one that nobody knows: what anybody may write names no span."""
    return method if method in _METHODS else "_OTHER"


def traceparent_header(scope: Mapping[str, Any]) -> str:
    """The `traceparent` of a request (ASGI), or empty; more than one is none, and so is any while nobody exports."""
    return "" if _exporting is None else given_traceparent(scope)


def given_traceparent(scope: Mapping[str, Any]) -> str:
    """The `traceparent` of a request (ASGI), or empty; more than one is none."""
    given = [value for name, value in scope["headers"] if name == b"traceparent"]
    return given[0].decode("latin-1") if len(given) == 1 else ""


def around_request(name: str, header: str, kind: Kind = "server") -> Around:
    """A block that answers a request with this `traceparent`, if it has one: a trace goes on, or begins. Inside,
    `place_of_request` is its place. Off, it has none.
    """
    if _exporting is None:
        return Around(name, "", "", kind)
    trace = parse_traceparent(header) if header else None
    parent = "" if trace is None else format_traceparent(trace)
    place = first_place() if trace is None else _child(parent) if trace.sampled else parent
    return Around(name, parent, place, kind, _asked.set(place))


def _child(parent: str) -> str:
    return f"{parent[:36]}{random_token(8).hex()}{_SAMPLED}"
