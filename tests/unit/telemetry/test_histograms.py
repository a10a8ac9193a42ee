"""Histograms count as those of the client library do, and carry traces as exemplars."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import Histogram as LibraryHistogram
from prometheus_client.core import Exemplar, Sample
from prometheus_client.openmetrics import parser

from libs.common.telemetry import metrics
from libs.common.telemetry.histogram import Histogram
from libs.common.telemetry.registry import render_metrics

BOUNDS = (0.1, 1, 10)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4"


def samples(made: Histogram | LibraryHistogram) -> list[Sample]:
    return [sample for family in made.collect() for sample in family.samples]


def exemplar_of(made: Histogram, bound: str) -> Exemplar | None:
    [found] = [one for one in samples(made) if one.labels.get("le") == bound]
    return found.exemplar


@given(st.lists(st.floats(min_value=0, max_value=100) | st.sampled_from(BOUNDS)))
def test_values_are_counted_as_the_library_counts_them(values: list[float]) -> None:
    ours = Histogram("x_seconds", "text", BOUNDS, ["kind"])
    theirs = LibraryHistogram("x_seconds", "text", ["kind"], buckets=BOUNDS, registry=CollectorRegistry())
    mine, other = ours.labels("a"), theirs.labels("a")
    for value in values:
        mine.observe(value)
        other.observe(value)
    assert samples(ours) == [one for one in samples(theirs) if not one.name.endswith("_created")]


def test_of_each_bucket_one_trace_a_second_is_kept() -> None:
    made = Histogram("x_seconds", "text", BOUNDS)
    for number in range(100):
        made.labels().observe(0.5, f"00-{number + 1:032x}-00f067aa0ba902b7-01")
    made.labels().observe(5, f"00-{TRACE}-00f067aa0ba902b7-01")
    first, slow = exemplar_of(made, "1.0"), exemplar_of(made, "10.0")
    assert first is not None and slow is not None
    assert (first.labels, first.value, slow.labels, slow.value) == (
        {"trace_id": f"{1:032x}"}, 0.5, {"trace_id": TRACE}, 5,
    )  # fmt: skip
    assert exemplar_of(made, "0.1") is None


def test_what_is_no_trace_context_becomes_no_exemplar() -> None:
    made = Histogram("x_seconds", "text", BOUNDS)
    for header in ('"} 1\nevil 1', "00-" + "0" * 32 + "-00f067aa0ba902b7-01", "00-" + "A" * 200):
        made.labels().observe(0.5, header)
    assert exemplar_of(made, "1.0") is None
    assert samples(made)[-2].value == 3


def test_prometheus_gets_exemplars_when_it_asks_for_openmetrics() -> None:
    metrics.observe_http("test", "GET", "/traced", 200, 0.003, f"00-{TRACE}-00f067aa0ba902b7-01")
    body, content_type = render_metrics(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert f'route="/traced",service="test"}} 1.0 # {{trace_id="{TRACE}"}} 0.003 ' in body.decode()
    families: list[object] = list(parser.text_string_to_metric_families(body.decode()))  # pyright: ignore
    assert len(families) > 30, "all of it is well-formed"
    plain, content_type = render_metrics("text/plain")
    assert (content_type.split(";")[0], TRACE in plain.decode()) == ("text/plain", False)
