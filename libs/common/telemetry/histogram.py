"""Histograms for a process with one event loop: counting is a binary search and two additions, 0.2 µs, where the
client library's walks its buckets under a lock for each.

An observation may name the trace that it belongs to. Of each bucket the latest such trace is kept as an exemplar,
renewed once a second at most, so that a busy series pays for it once a second. Not for use from several threads.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from time import monotonic

from prometheus_client.core import Exemplar, HistogramMetricFamily
from prometheus_client.registry import Collector

from libs.common.clock import SystemClock
from libs.common.telemetry.tracing import parse_traceparent

_EXEMPLAR_SECONDS = 1.0
_INFINITE = float("inf")

_clock = SystemClock()


class Series:
    """One histogram with its labels."""

    __slots__ = ("_bounds", "_counts", "_due", "_exemplars", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._exemplars: dict[int, Exemplar] = {}
        self._due: dict[int, float] = {}

    def observe(self, value: float, traceparent: str = "") -> None:
        """One value; `traceparent`: of what took so long, as it came, so it need not be one."""
        bucket = bisect_left(self._bounds, value)
        self._counts[bucket] += 1
        self._sum += value
        if traceparent:
            now = monotonic()
            if now >= self._due.get(bucket, 0.0):
                self._keep(bucket, value, traceparent)
                self._due[bucket] = now + _EXEMPLAR_SECONDS

    def buckets(self) -> Iterator[tuple[str, float] | tuple[str, float, Exemplar]]:
        """Upper bound, values up to it, and its exemplar if it has one."""
        total = 0
        for bucket, bound in enumerate([*self._bounds, _INFINITE]):
            total += self._counts[bucket]
            name, exemplar = "+Inf" if bound == _INFINITE else repr(float(bound)), self._exemplars.get(bucket)
            yield (name, total) if exemplar is None else (name, total, exemplar)

    @property
    def sum(self) -> float:
        """Of all values."""
        return self._sum

    def _keep(self, bucket: int, value: float, traceparent: str) -> None:
        trace = parse_traceparent(traceparent)
        if trace is not None:
            now = _clock.now().timestamp()
            self._exemplars[bucket] = Exemplar({"trace_id": trace.trace_id}, value, now)


class Histogram(Collector):
    """A family of them, for a registry. Without labels it is there at once, else each with its first value."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> None:
        self._name, self._text, self._bounds, self._labels = name, text, tuple(bounds), tuple(labels)
        self._series: dict[tuple[str, ...], Series] = {}
        if not labels:
            self.labels()

    def labels(self, *values: str) -> Series:
        """The series of these labels."""
        series = self._series.get(values)
        if series is None:
            series = self._series[values] = Series(self._bounds)
        return series

    def describe(self) -> list[HistogramMetricFamily]:
        """Its name, which must not be taken twice."""
        return [HistogramMetricFamily(self._name, self._text, labels=self._labels)]

    def collect(self) -> list[HistogramMetricFamily]:
        """All of it, as it stands."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for values, series in self._series.items():
            family.add_metric(values, list(series.buckets()), series.sum)
        return [family]
