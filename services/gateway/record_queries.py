"""The query of a list of records: `filter[field]=value`, `filter[field][operator]=value`, `tag`, `sort`, `cursor`.

A query holds only text: `100` asks for the number or the text, `"100"` for the text alone; `true`, `false` and `null`
likewise. `in` and `not_in` take values separated by commas.
"""

import json
import re
from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec

from libs.common.db.record_search import After, Found
from libs.common.domain.record_filters import (
    LISTED,
    MAX_TESTS,
    ORDERING,
    PRESENCE,
    TEXTUAL,
    FieldTest,
    RecordFilter,
    RecordOrder,
    read_order,
    read_test,
    tag_problem,
)
from libs.common.domain.records import MAX_TAGS, text_problem
from libs.common.errors import Fault, InvalidInput

_FILTER = re.compile(r"filter\[([^\[\]]+)\](?:\[([^\[\]]*)\])?")
_read_cursor = msgspec.json.Decoder(tuple[UUID, str]).decode


def read_query(items: Iterable[tuple[str, str]], tags: Sequence[str], sort: str) -> tuple[RecordFilter, RecordOrder]:
    """The filter and order of a list; `items`: all parameters of the query. Raises `InvalidInput` with every fault."""
    tests, faults = _tests([(name, value) for name, value in items if name.startswith("filter")])
    for tag in tags:
        if problem := tag_problem(tag):
            faults.append(Fault("tag", problem))
    if len(tests) > MAX_TESTS:
        faults.append(Fault("filter", f"has more than {MAX_TESTS} tests"))
    if len(tags) > MAX_TAGS:
        faults.append(Fault("tag", f"stands more than {MAX_TAGS} times"))
    order = read_order(sort)
    if order is None:
        faults.append(Fault("sort", "is not created_at, updated_at or the path of a field"))
    if order is None or faults:
        raise InvalidInput(faults, "The parameters have faults.")
    return RecordFilter(tuple(tests), tuple(tags)), order


def read_after(cursor: str | None) -> After | None:
    """Where a page starts, by its opened cursor. Raises `InvalidInput` when it is not one of ours."""
    if cursor is None:
        return None
    try:
        record_id, place = _read_cursor(cursor)
        value: object = msgspec.json.decode(place)
    except (msgspec.DecodeError, UnicodeError):
        raise _bad_cursor() from None
    if isinstance(value, list | dict) or (isinstance(value, str) and text_problem(value)):
        raise _bad_cursor()
    return After(record_id, place)


def cursor_position(found: Found) -> str:
    """What `read_after` reads, in ASCII."""
    return json.dumps([str(found.record.id), found.place])


def _tests(items: list[tuple[str, str]]) -> tuple[list[FieldTest], list[Fault]]:
    tests: list[FieldTest] = []
    faults: list[Fault] = []
    for name, text in items:
        known = _FILTER.fullmatch(name)
        if known is None:
            faults.append(Fault(name[:200], "must be filter[field] or filter[field][operator]"))
            continue
        operator = "equals" if known[2] is None else known[2]
        test, problem = read_test(known[1], operator, _values(operator, text))
        if test is None:
            faults.append(Fault(name[:200], problem))
        else:
            tests.append(test)
    return tests, faults


def _values(operator: str, text: str) -> tuple[object, ...]:
    if operator in LISTED:
        return tuple(value for part in text.split(",") for value in _readings(part.strip()))
    readings = _readings(text)
    if operator in TEXTUAL:
        return (text,)
    if operator in ORDERING:
        return readings[:1] if isinstance(readings[0], int | float) and not isinstance(readings[0], bool) else (text,)
    return readings[:1] if operator in PRESENCE else readings


def _readings(text: str) -> tuple[object, ...]:
    """What a text may mean: a JSON scalar, or itself."""
    try:
        value: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return (text,)
    if isinstance(value, list | dict):
        return (text,)
    return (value,) if isinstance(value, str) else (value, text)


def _bad_cursor() -> InvalidInput:
    return InvalidInput([Fault("cursor", "is not a `next_cursor` of this list")])
