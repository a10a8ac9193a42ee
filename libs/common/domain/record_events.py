"""The events that changes of records raise: `deal_created`, `deal_updated`, `deal_stage_changed`, `deal_deleted` for
the collection `deals`, and the like for any other.

Their data is the record's data, so that its names are on top, and the whole `record`. An update adds the `previous`
data and the names of what `changed`; each plain field of them raises an event of its own with `old` and `new`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec

from libs.common.domain.events import MAX_DATA_BYTES, NewEvent
from libs.common.domain.records import Record, RecordChange, record_document

MAX_FIELD_EVENTS = 20
"""Of one change."""

_FIELD = re.compile(r"[A-Za-z0-9_]{1,48}")
_MISSING = object()


def record_events(
    change: RecordChange, new_id: Callable[[], UUID], *, chain: tuple[UUID, ...] = (),
    execution_id: UUID | None = None, actor: str | None = None, traceparent: str = "",
) -> list[NewEvent]:  # fmt: skip
    """What a change raises. `new_id` names the events; `chain`, `execution_id`: of the execution that made it, if one
    did.
    """
    record = change.new or change.old
    assert record is not None  # every change has one of them
    return [
        NewEvent(record.tenant_id, new_id(), f"{singular(record.collection)}_{what}", _encoded(record, data), "record",
                 chain, None, execution_id, actor, traceparent)
        for what, data in _happenings(change, record)
    ]  # fmt: skip


def singular(collection: str) -> str:
    """One of them: `deals` → `deal`, `companies` → `company`; a name of another form stays."""
    if collection.endswith("ies") and len(collection) > len("ies"):
        return f"{collection[:-3]}y"
    plain = collection.endswith("s") and not collection.endswith(("ss", "us", "is")) and len(collection) > 1
    return collection[:-1] if plain else collection


def _happenings(change: RecordChange, record: Record) -> Iterator[tuple[str, dict[str, Any]]]:
    base = {**record.data, "record": record_document(record)}
    if change.old is None:
        yield "created", base
    elif change.new is None:
        yield "deleted", base
    else:
        old, new = change.old.data, change.new.data
        changed = [name for name in sorted({*old, *new}) if old.get(name, _MISSING) != new.get(name, _MISSING)]
        yield "updated", {**base, "previous": old, "changed": changed}
        for name in _plain_fields(changed, old, new):
            yield f"{name}_changed", {**base, "field": name, "old": old.get(name), "new": new.get(name)}


def _plain_fields(names: Sequence[str], old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    plain = [name for name in names if _FIELD.fullmatch(name) and _is_plain(old.get(name)) and _is_plain(new.get(name))]
    return plain[:MAX_FIELD_EVENTS]


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _encoded(record: Record, data: dict[str, Any]) -> str:
    """The data as JSON text; of a record that is too large for an event only which one it is."""
    encoded = msgspec.json.encode(data)
    if len(encoded) > MAX_DATA_BYTES:
        place = {"id": str(record.id), "collection": record.collection, "version": record.version}
        encoded = msgspec.json.encode({"record": place, "too_large": True})
    return encoded.decode()
