"""The only reader of time and the only maker of identifiers.

Pure code takes `now` as a value; everything else takes a `Clock`, so that a test can move time.
"""

import os
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from uuid_utils.compat import uuid7


class Clock(Protocol):
    """Tells the time. Implementers return an aware datetime in UTC."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def new_id() -> UUID:
    """A new time-ordered identifier (UUID version 7, RFC 9562)."""
    return uuid7()


def first_id_at(instant: datetime) -> UUID:
    """The smallest UUIDv7-shaped value of the millisecond of `instant`: the lower bound of a partition or time
    filter.
    """
    milliseconds = int(instant.timestamp() * 1000)
    return UUID(int=milliseconds << 80)


def id_time(identifier: UUID) -> datetime:
    """The instant held in a UUIDv7, to the millisecond."""
    return datetime.fromtimestamp(milliseconds_of(identifier) / 1000, UTC)


def milliseconds_of(identifier: UUID) -> int:
    """The instant held in a UUIDv7, in milliseconds since 1970."""
    return identifier.int >> 80


def random_token(size_bytes: int = 32) -> bytes:
    """Unpredictable bytes for keys and secrets."""
    return os.urandom(size_bytes)
