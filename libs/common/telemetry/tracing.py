"""Trace context as the W3C recommendation "Trace Context" (level 1) has it: reading and writing `traceparent`.

Pure values: random bytes come in. Exporting spans is not this module's business.
"""

import re

import msgspec

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED = 0x01


class Trace(msgspec.Struct, frozen=True):
    """A place in a trace. Both ids are lower-case hexadecimal and never all zero."""

    trace_id: str
    """32 digits, the same for everything that one cause set off."""
    span_id: str
    """16 digits, the caller's own part."""
    sampled: bool = True


def parse_traceparent(header: str) -> Trace | None:
    """The caller's trace, or `None` for a header that must be ignored: malformed, all zero, of version ff."""
    match = _TRACEPARENT.fullmatch(header.strip(" \t"))
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest is not None):
        return None
    if trace_id == "0" * 32 or span_id == "0" * 16:
        return None
    return Trace(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def new_trace(random: bytes) -> Trace:
    """A trace of its own, from 24 random bytes."""
    return Trace(_digits(random[:16], 16), _digits(random[16:24], 8))


def format_traceparent(trace: Trace) -> str:
    """The header that hands the trace on."""
    return f"00-{trace.trace_id}-{trace.span_id}-{'01' if trace.sampled else '00'}"


def _digits(random: bytes, size: int) -> str:
    if len(random) != size:
        raise ValueError("too few random bytes for a trace context")
    return (random if any(random) else b"\x01" * size).hex()
