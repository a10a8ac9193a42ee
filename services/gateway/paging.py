"""Lists in pages: `limit`, and either `cursor` (stable while rows come and go) or `offset`.

A cursor is opaque to clients: the last id of the page before. A query asks for one row more than the page holds, so
that the last page says so.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Generic, TypeAlias, TypeVar
from uuid import UUID

import msgspec
from litestar.params import QueryParameter

from libs.common.clock import first_id_at
from libs.common.errors import Fault, InvalidInput

DEFAULT_LIMIT = 50

Limit: TypeAlias = Annotated[int, QueryParameter(ge=1, le=200, description="Most items of a page")]
Cursor: TypeAlias = Annotated[str | None, QueryParameter(description="`next_cursor` of the page before")]
Offset: TypeAlias = Annotated[
    int, QueryParameter(ge=0, le=1_000_000, description="Items to leave out; prefer `cursor`")
]

From: TypeAlias = Annotated[datetime | None, QueryParameter(name="from", description="Created at or after (RFC 3339)")]
To: TypeAlias = Annotated[datetime | None, QueryParameter(name="to", description="Created before (RFC 3339)")]

Item = TypeVar("Item")
Stored = TypeVar("Stored")


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """One page of a list; `next_cursor` is null on the last."""

    items: list[Item]
    next_cursor: str | None


class Window(msgspec.Struct, frozen=True):
    """What a query reads for one page: `rows` is one more than the page shows."""

    limit: int
    after: str | None
    offset: int

    @property
    def rows(self) -> int:
        return self.limit + 1

    @property
    def after_id(self) -> UUID | None:
        """The cursor as an id. Raises `InvalidInput` when it is not one of ours."""
        if self.after is None:
            return None
        try:
            return UUID(self.after)
        except ValueError:
            raise _bad_cursor() from None

    @property
    def after_number(self) -> int | None:
        """The cursor as a number. Raises `InvalidInput` when it is not one of ours."""
        if self.after is None:
            return None
        if not (self.after.isascii() and self.after.isdigit() and len(self.after) < 10):
            raise _bad_cursor()
        return int(self.after)

    @property
    def after_name(self) -> str | None:
        """The cursor as a name. Raises `InvalidInput` when it is not one of ours."""
        if self.after is not None and not (self.after.isprintable() and len(self.after) <= 200):
            raise _bad_cursor()
        return self.after


def window(limit: int, cursor: str | None, offset: int) -> Window:
    """What to read for the query parameters. Raises `InvalidInput` for a cursor that we never gave."""
    return Window(limit, None if cursor is None else _open_cursor(cursor), offset)


def id_bound(instant: datetime | None) -> UUID | None:
    """The smallest id of that moment, for lists by time; a time without a zone is UTC."""
    if instant is None:
        return None
    aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
    return first_id_at(max(aware, datetime.fromtimestamp(0, UTC)))


def page(
    rows: Sequence[Stored], wanted: Window, show: Callable[[Stored], Item], position: Callable[[Stored], object]
) -> Page[Item]:
    """The rows that were read as a page; `position` gives what the next page starts after."""
    shown = rows[: wanted.limit]
    more = len(rows) > wanted.limit
    return Page([show(row) for row in shown], make_cursor(str(position(shown[-1]))) if more else None)


def make_cursor(position: str) -> str:
    """What stands for that position in a list."""
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def _open_cursor(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars="-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise _bad_cursor() from None


def _bad_cursor() -> InvalidInput:
    return InvalidInput([Fault("cursor", "is not a `next_cursor` of this list")])
