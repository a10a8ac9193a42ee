"""Spans: which are made, in which trace, and that nothing is made while nobody wants them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from libs.common.clock import new_id
from libs.common.errors import Unavailable
from libs.common.telemetry import spans
from libs.common.telemetry.spans import Span, around, around_request, first_place, place_of, place_of_request
from libs.common.telemetry.tracing import parse_traceparent

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, QUIET = f"00-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}-00"


@pytest.fixture
def told() -> Iterator[list[Span]]:
    """What is exported, of all traces."""
    made: list[Span] = []
    spans.export_to(made.append)
    yield made
    spans.export_to(None)


def test_off_everything_keeps_its_place() -> None:
    with around("a", SAMPLED) as span, around_request("b", SAMPLED) as request:
        span.note("x", 1)
        request.answered("GET", "/", 500)
        assert (span.place, request.place, place_of_request(SAMPLED)) == (SAMPLED, "", SAMPLED)
    assert place_of(SAMPLED, 1, 2) == SAMPLED
    assert parse_traceparent(place_of_request("nonsense")) is not None
    assert (spans.is_on(), spans.wants(SAMPLED)) == (False, False)


def test_a_block_is_a_child_with_what_it_noted(told: list[Span]) -> None:
    with around("accept", SAMPLED, "producer") as span:
        span.note("n", 1)
        span.note_ids(tenant=UUID(int=7))
        assert told == []
    (made,) = told
    assert (made.name, made.place, made.parent, made.kind, made.error) == (
        "accept", span.place, SAMPLED, "producer", ""
    )  # fmt: skip
    assert made.attributes == {"n": 1, "signalbox.tenant.id": str(UUID(int=7))}
    assert (span.place[:36], span.place[-3:]) == (SAMPLED[:36], "-01")
    assert span.place != SAMPLED
    assert made.started_at <= made.ended_at


def test_an_error_is_told_by_its_class_alone(told: list[Span]) -> None:
    for error in (Unavailable("a secret"), ValueError("a secret")):
        with pytest.raises(type(error)), around("x", SAMPLED):
            raise error
    assert [made.error for made in told] == ["unavailable", "ValueError"]
    assert "secret" not in repr(told)


@pytest.mark.parametrize("parent", [QUIET, "", "nonsense"])
def test_nobody_wants_a_trace_that_is_not_sampled(told: list[Span], parent: str) -> None:
    with around("x", parent) as span:
        assert span.place == parent
    assert (place_of(parent, 1), told) == (parent, [])


@pytest.mark.parametrize(
    ("header", "parent", "trace_id", "sends"),
    [(SAMPLED, SAMPLED, TRACE, True), (QUIET, QUIET, TRACE, False), ("nonsense", "", None, True), ("", "", None, True),
     (SAMPLED.replace("-01", "-03"), SAMPLED, TRACE, True)],
)  # fmt: skip
def test_a_request_goes_on_or_begins(
    told: list[Span], header: str, parent: str, trace_id: str | None, sends: bool
) -> None:
    with around_request("x", header) as request:
        assert place_of_request("another header") == request.place
        assert trace_id in (None, request.place[3:35])
        request.answered("GET", "/a/{b}", 503)
    assert place_of_request(SAMPLED) == SAMPLED
    assert [(made.name, made.parent, made.error) for made in told] == [("GET /a/{b}", parent, "503")] * sends


def test_methods_that_anybody_may_write_name_nothing(told: list[Span]) -> None:
    with around_request("x", SAMPLED) as request:
        request.answered("S3CRET", "/", 405)
    assert [(made.name, made.attributes["http.request.method"]) for made in told] == [("_OTHER /", "_OTHER")]


def test_a_place_with_a_name_is_found_again(told: list[Span]) -> None:
    places = {place_of(SAMPLED, *name) for name in [(1, 2), (12,), ("a", 1, 2), (1, 2)]}
    assert len(places) == 3
    assert all(parse_traceparent(place) is not None and place[:36] == SAMPLED[:36] for place in places)
    assert place_of(f"00-{TRACE}-{'1' * 16}-01", 1, 2) in places


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_so_many_of_the_traces_that_begin_here_are_sampled(ratio: float) -> None:
    spans.export_to(lambda _: None, ratio)
    try:
        places = [first_place(new_id() if number % 2 else None) for number in range(4_000)]
    finally:
        spans.export_to(None)
    sampled = sum(place.endswith("-01") for place in places)
    assert abs(sampled / 4_000 - ratio) < 0.05  # seven standard deviations
    assert ratio not in (0.0, 1.0) or sampled == 4_000 * ratio


def test_what_nobody_asked_for_begins_a_trace_of_its_id(told: list[Span]) -> None:
    made = new_id()
    spans.record_beginning("schedule", first_place(made), datetime.now(UTC), execution=made)
    assert [(one.name, one.parent, one.place[3:35]) for one in told] == [("schedule", "", made.hex)]
