"""`traceparent` as the W3C recommendation has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.telemetry.tracing import Trace, format_traceparent, new_trace, parse_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"00-{TRACE}-{SPAN}-01", Trace(TRACE, SPAN, True)),
        (f"00-{TRACE}-{SPAN}-00", Trace(TRACE, SPAN, False)),
        (f"00-{TRACE}-{SPAN}-03", Trace(TRACE, SPAN, True)),
        (f" 00-{TRACE}-{SPAN}-01\t", Trace(TRACE, SPAN, True)),
        (f"cc-{TRACE}-{SPAN}-01", Trace(TRACE, SPAN, True)),
        (f"cc-{TRACE}-{SPAN}-01-what-may-come", Trace(TRACE, SPAN, True)),
        (f"00-{TRACE}-{SPAN}-01-no", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"cc-{TRACE}-{SPAN}-01.what", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE[:-1]}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        (f"00-{TRACE}-{SPAN}-01\n", None),
        ("", None),
    ],
)
def test_parsing(header: str, expected: Trace | None) -> None:
    assert parse_traceparent(header) == expected


@given(st.binary(min_size=24, max_size=24))
def test_what_is_made_can_be_parsed(random: bytes) -> None:
    trace = new_trace(random)
    assert parse_traceparent(format_traceparent(trace)) == trace


def test_too_few_random_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        new_trace(b"short")
