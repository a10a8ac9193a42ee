"""The registry of a process, and how series come into it: `signalbox_` is put before every name.

Prometheus gets its text format, or OpenMetrics when it asks for that, which alone carries exemplars.
"""

from collections.abc import Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Summary, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector

from libs.common.telemetry.histogram import Histogram

PREFIX = "signalbox_"

disable_created_metrics()  # a second series for every counter, which nobody asks
REGISTRY = CollectorRegistry(auto_describe=False)
ProcessCollector(registry=REGISTRY)


class Declared(NamedTuple):
    """A series as the documentation has it. `kind`: counter, gauge, histogram or summary."""

    name: str
    kind: str
    labels: Sequence[str]
    text: str


DECLARED: list[Declared] = []
"""All of them, in the order in which they came."""


def declare(name: str, kind: str, text: str, labels: Sequence[str]) -> Declared:
    """Make it known."""
    DECLARED.append(Declared(PREFIX + name, kind, labels, text))
    return DECLARED[-1]


def counter(name: str, text: str, *labels: str) -> Counter:
    """A number that only grows."""
    return Counter(declare(name, "counter", text, labels).name, text, labels, registry=REGISTRY)


def gauge(name: str, text: str, *labels: str) -> Gauge:
    """A number that stands for now."""
    return Gauge(declare(name, "gauge", text, labels).name, text, labels, registry=REGISTRY)


def summary(name: str, text: str, *labels: str) -> Summary:
    """How many values there were, and their sum."""
    return Summary(declare(name, "summary", text, labels).name, text, labels, registry=REGISTRY)


def histogram(name: str, text: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
    """How values are spread."""
    made = Histogram(declare(name, "histogram", text, labels).name, text, bounds, labels)
    REGISTRY.register(made)
    return made


def render_metrics(accept: str = "") -> tuple[bytes, str]:
    """All series, and their content type, as the `Accept` header asks for."""
    encode, content_type = choose_encoder(accept)
    return encode(REGISTRY), content_type
