"""The order of a list of schedules, and where its pages start: a cursor holds the order that it belongs to, and the
value and id of the last schedule of its page, so that schedules that come, go or move elsewhere shift no page.
"""

import json
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec
from litestar.params import QueryParameter

from libs.common.db.schedule_views import ListedAfter, ListedSchedule
from libs.common.errors import Fault, InvalidInput

Order: TypeAlias = Literal[
    "next_run_at", "-next_run_at", "name", "-name", "last_run_at", "-last_run_at", "last_lag_ms", "-last_lag_ms"
]  # fmt: skip
Sort: TypeAlias = Annotated[
    Order, QueryParameter(description="`name` is the workflow's; `-` in front: the last first. What has none is last")
]

_read = msgspec.json.Decoder(tuple[str, UUID, str | int | float | None]).decode


def read_after(cursor: str | None, order: Order) -> ListedAfter | None:
    """Where a page starts, by its opened cursor. Raises `InvalidInput` when it is not one of this order."""
    if cursor is None:
        return None
    try:
        given, trigger_id, place = _read(cursor)
    except (msgspec.DecodeError, UnicodeError):
        raise _bad_cursor() from None
    is_text = isinstance(place, str)
    if given != order or is_text != (order.removeprefix("-") == "name") or (is_text and "\0" in str(place)):
        raise _bad_cursor()
    return ListedAfter(trigger_id, json.dumps(place))


def cursor_position(listed: ListedSchedule, order: Order) -> str:
    """What `read_after` reads, in ASCII."""
    return json.dumps([order, str(listed.view.trigger_id), json.loads(listed.place)])


def _bad_cursor() -> InvalidInput:
    return InvalidInput([Fault("cursor", "is not a `next_cursor` of this list in this order")])
