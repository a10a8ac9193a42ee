"""Records: the tenant's own JSON objects, in collections. What one may hold, and how one comes to be and changes.

Pure values. What passes `data_faults` and `tags_faults` is taken by the database as it is.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from libs.common.domain.dates import rfc3339
from libs.common.domain.faults import is_array, is_object
from libs.common.domain.paths import kind_of
from libs.common.errors import Fault

NAME_PATTERN = "^[A-Za-z][A-Za-z0-9_-]{0,62}$"
"""Names of collections."""
STANDARD_COLLECTIONS = frozenset({"tasks", "deals", "leads"})
"""Collections that every tenant has: they are made when something is first written to them."""

MAX_RECORD_BYTES = 262_144
MAX_TAGS = 50
MAX_TAG = 100
MAX_DEPTH = 64
MAX_FAULTS = 50
MAX_VERSION = 2**31 - 1

_NAME = re.compile(NAME_PATTERN)


class RecordKey(NamedTuple):
    """Where a record is. Keys sort, and whoever locks several locks them in that order."""

    tenant_id: UUID
    collection: str
    id: UUID


class Record(msgspec.Struct, frozen=True):
    """A record at one version. `created_by`, `updated_by`: a user as the tenant names it, or `execution:<id>`."""

    tenant_id: UUID
    collection: str
    id: UUID
    version: int
    data: dict[str, Any]
    tags: list[str]
    created_by: str | None
    updated_by: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def key(self) -> RecordKey:
        return RecordKey(self.tenant_id, self.collection, self.id)


class RecordChange(msgspec.Struct, frozen=True):
    """What became of one record: `old` is None when it is new, `new` when it was deleted."""

    old: Record | None
    new: Record | None


def is_collection_name(name: str) -> bool:
    """Whether a collection may have that name."""
    return _NAME.fullmatch(name) is not None


def revised(old: Record, data: dict[str, Any], tags: list[str], actor: str | None, now: datetime) -> Record:
    """The next version of a record."""
    return msgspec.structs.replace(
        old, version=old.version + 1, data=data, tags=tags, updated_by=actor, updated_at=now
    )  # fmt: skip


def is_same(old: Record, data: dict[str, Any], tags: list[str]) -> bool:
    """Whether a record holds this already. By its JSON: true is not 1."""
    return old.tags == tags and _sorted_json(old.data) == _sorted_json(data)


def record_document(record: Record) -> dict[str, Any]:
    """The record as clients and templates see it: plain JSON values."""
    return {
        "id": str(record.id),
        "collection": record.collection,
        "version": record.version,
        "data": record.data,
        "tags": record.tags,
        "created_by": record.created_by,
        "updated_by": record.updated_by,
        "created_at": rfc3339(record.created_at),
        "updated_at": rfc3339(record.updated_at),
    }


def data_faults(data: object, path: str) -> list[Fault]:
    """What is wrong with the data of a record: no object, too large or deep, or holding what cannot be stored."""
    if not is_object(data):
        return [Fault(path, f"must be an object, not {kind_of(data)}")]
    faults: list[Fault] = []
    for fault in _value_faults(data, path):
        faults.append(fault)
        if len(faults) == MAX_FAULTS:
            break
    if faults:
        return faults
    try:
        size = len(msgspec.json.encode(data))
    except (ValueError, TypeError, OverflowError):
        return [Fault(path, "cannot be written as JSON")]
    return [Fault(path, f"is larger than {MAX_RECORD_BYTES // 1024} KiB")] if size > MAX_RECORD_BYTES else []


def tags_faults(tags: object, path: str) -> list[Fault]:
    """What is wrong with the tags of a record."""
    if not is_array(tags):
        return [Fault(path, f"must be a list of texts, not {kind_of(tags)}")]
    if len(tags) > MAX_TAGS:
        return [Fault(path, f"has more than {MAX_TAGS} tags")]
    return [fault for number, tag in enumerate(tags) for fault in _tag_faults(tag, f"{path}[{number}]")]


def united(tags: list[str], more: list[str]) -> list[str]:
    """Both lists, each tag once, in order."""
    return list(dict.fromkeys([*tags, *more]))


def text_problem(text: str) -> str | None:
    """Why a text cannot be stored, if so."""
    if "\0" in text:
        return "must not hold the character U+0000"
    return None if text.isascii() or _is_unicode(text) else "is not Unicode"


def _tag_faults(tag: object, path: str) -> list[Fault]:
    if not isinstance(tag, str) or not tag.strip() or len(tag) > MAX_TAG:
        return [Fault(path, f"must be a text of 1 to {MAX_TAG} characters")]
    problem = text_problem(tag)
    return [Fault(path, problem)] if problem else []


def _value_faults(root: object, path: str) -> Iterator[Fault]:
    """The faults of every value inside, without recursion: what a template renders may be nested at will."""
    waiting: list[tuple[object, str, int]] = [(root, path, 1)]
    while waiting:
        value, where, depth = waiting.pop()
        if depth > MAX_DEPTH:
            yield Fault(where[:200], f"is nested deeper than {MAX_DEPTH} levels")
        elif isinstance(value, str):
            if problem := text_problem(value):
                yield Fault(where, problem)
        elif is_object(value):
            for name, item in value.items():
                if problem := _name_problem(name):
                    yield Fault(where, f"has a name that {problem}")
                else:
                    waiting.append((item, f"{where}.{name[:64]}", depth + 1))
        elif is_array(value):
            waiting += [(item, f"{where}[{number}]", depth + 1) for number, item in enumerate(value)]
        elif problem := _scalar_problem(value):
            yield Fault(where, problem)


def _name_problem(name: object) -> str | None:
    return text_problem(name) if isinstance(name, str) else "is no text"


def _scalar_problem(value: object) -> str | None:
    if isinstance(value, float):
        return None if value - value == 0 else "must be a finite number"
    return None if value is None or isinstance(value, bool | int) else f"must be a JSON value, not {kind_of(value)}"


def _sorted_json(data: dict[str, Any]) -> bytes:
    return msgspec.json.encode(data, order="sorted")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
