"""What every way of authenticating a webhook call has in common.

A scheme is made once for a trigger and asked for every call. It answers with a verdict: the name of the check that
failed, which of its secrets matched, and, for a sender that wants to be answered at once, that answer. It compares in
constant time, looks at the bytes that came and at nothing parsed from them, and never raises for anything a caller
sends.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from libs.common.security.credentials import constant_time_equal

SIGNATURE = "signature"
TIMESTAMP = "timestamp"
CERTIFICATE = "certificate"
MISSING_TOKEN = "missing_token"  # noqa: S105 - the name of a check
BAD_TOKEN = "bad_token"  # noqa: S105 - the name of a check

MAX_CANDIDATES = 10
"""So many signatures of one call are looked at."""


class SignedCall(Protocol):
    """What a scheme looks at besides the body. Header names are lower-case; `raw_path` and `query` are as they came;
    `peer` is the address at the other end of the connection.
    """

    @property
    def method(self) -> str: ...
    @property
    def raw_path(self) -> str: ...
    @property
    def query(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def peer(self) -> str: ...


class Challenge(msgspec.Struct, frozen=True):
    """What a sender that tests the address is answered, instead of starting anything."""

    status: int
    content_type: str
    body: bytes


class Verdict(msgspec.Struct, frozen=True):
    """What came of a check: the name of what failed, or None; which secret matched, if there are any; and what to
    answer at once.
    """

    failed_check: str | None = None
    secret_index: int | None = None
    challenge: Challenge | None = None


PASSED = Verdict()


class Scheme(Protocol):
    """One trigger's way of authenticating."""

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """Judge a call by its raw body. Never raises."""
        ...


def compare(presented: str, expected: Sequence[str]) -> Verdict:
    """The verdict on a shared text. With nothing to compare with, nothing passes."""
    if not presented:
        return Verdict(MISSING_TOKEN)
    matches = [index for index, one in enumerate(expected) if constant_time_equal(presented, one) and one]
    return Verdict(None, matches[0]) if matches else Verdict(BAD_TOKEN)


def read_timestamp(text: str, most_digits: int = 12) -> int | None:
    """A time as a whole number of its unit, or None for anything that is not just a few digits."""
    usable = text.isascii() and text.isdigit() and len(text) <= most_digits
    return int(text) if usable else None


def is_near(seconds: float, now: datetime, tolerance_seconds: float) -> bool:
    """Whether a time since 1970 is at most so far from now, before or after."""
    return abs(now.timestamp() - seconds) <= tolerance_seconds


def parse_object(body: bytes) -> dict[str, Any]:
    """A body that has passed as a JSON object; an empty one for anything else."""
    try:
        value: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return msgspec.convert(value, dict[str, Any]) if isinstance(value, dict) else {}


def json_challenge(answer: Mapping[str, Any]) -> Challenge:
    """An answer in JSON, status 200."""
    return Challenge(200, "application/json", msgspec.json.encode(answer))
