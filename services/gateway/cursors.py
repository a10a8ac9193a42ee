"""How far somebody who follows all executions of a tenant was told: the id of an event, made so that any gateway can go
on from it with nothing but the database.

It holds a moment before which everything was told, the oldest execution that was still open then, and marks of what was
told last. The moment lies some seconds back: what is written by several machines does not become visible in the order
of its times. The marks keep what was told since from being told again.
"""

import base64
import binascii
import hashlib
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from libs.common.errors import Fault, InvalidInput

MOST_MARKS = 64

_MARK_BYTES = 6
_HEAD_BYTES = 8 + 16
_LONGEST_MILLISECONDS = 253_402_300_799_999
"""The end of the year 9999."""


class Cursor(msgspec.Struct, frozen=True):
    """`since`: everything before was told; `oldest`: what came before it had ended by then; `marks`: told after."""

    since: datetime
    oldest: UUID
    marks: tuple[bytes, ...]


def mark_of(state: bytes) -> bytes:
    """Stands for one state of one execution."""
    return hashlib.blake2b(state, digest_size=_MARK_BYTES).digest()


def write_cursor(cursor: Cursor) -> str:
    """As the id of an event."""
    moment = int(cursor.since.timestamp() * 1000).to_bytes(8, "big")
    raw = moment + cursor.oldest.bytes + b"".join(cursor.marks)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def read_cursor(text: str) -> Cursor:
    """The cursor that was written so. Raises `InvalidInput`."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
    except (binascii.Error, ValueError):
        raise _bad_cursor() from None
    moment, rest = int.from_bytes(raw[:8], "big"), len(raw) - _HEAD_BYTES
    if not 0 <= rest <= MOST_MARKS * _MARK_BYTES or rest % _MARK_BYTES or moment > _LONGEST_MILLISECONDS:
        raise _bad_cursor()
    marks = tuple(raw[at : at + _MARK_BYTES] for at in range(_HEAD_BYTES, len(raw), _MARK_BYTES))
    return Cursor(datetime.fromtimestamp(moment / 1000, UTC), UUID(bytes=raw[8:_HEAD_BYTES]), marks)


class Told:
    """What one follower was told, as it grows."""

    def __init__(self, marks: Iterable[bytes]) -> None:
        self._marks = deque(marks, MOST_MARKS)

    def add(self, mark: bytes) -> None:
        """One more state was told."""
        self._marks.append(mark)

    def position(self, since: datetime, oldest: UUID) -> str:
        """The id of the event that tells it."""
        return write_cursor(Cursor(since, oldest, tuple(self._marks)))


def _bad_cursor() -> InvalidInput:
    return InvalidInput([Fault("last_event_id", "is not the id of an event of this socket")])
