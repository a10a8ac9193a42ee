"""Which records of a collection are wanted, and in which order.

A test names a field of the data (`customer.id` goes into objects; a list matches when one of its items does), one of
the operators below and the values that fit. As in conditions, a missing field satisfies `not_equals`, `not_in` and
`not_exists`, and nothing else. Values of different kinds are unequal and unordered. Everything is bounded, so that no
filter costs more than reading the collection once.
"""

from collections.abc import Iterator
from typing import Literal, TypeAlias, cast, get_args

import msgspec

from libs.common.domain.faults import is_array, is_object
from libs.common.domain.paths import near_names
from libs.common.domain.records import MAX_TAG, text_problem
from libs.common.errors import Fault

Scalar: TypeAlias = str | int | float | bool | None
Operator: TypeAlias = Literal[
    "equals", "not_equals", "greater_than", "greater_or_equal", "less_than", "less_or_equal",
    "in", "not_in", "contains", "starts_with", "exists", "not_exists",
]  # fmt: skip

OPERATORS: tuple[str, ...] = get_args(Operator)
LISTED = frozenset({"in", "not_in"})
TEXTUAL = frozenset({"contains", "starts_with"})
PRESENCE = frozenset({"exists", "not_exists"})
ORDERING = frozenset({"greater_than", "greater_or_equal", "less_than", "less_or_equal"})
_INDEXED = frozenset({"equals", "in"})

MAX_TESTS = 10
MAX_VALUES = 50
MAX_TEXT = 500
MAX_NUMBER = 10**30
MAX_FIELD = 200
MAX_FIELD_DEPTH = 8

NEWEST_FIRST = "-created_at"
SYSTEM_SORTS = frozenset({"created_at", "updated_at"})


class FieldTest(msgspec.Struct, frozen=True):
    """One test. Of several `values` one must satisfy it (for a negative operator: none)."""

    field: tuple[str, ...]
    operator: Operator
    values: tuple[Scalar, ...] = ()


class RecordFilter(msgspec.Struct, frozen=True):
    """Every test holds, and the record has every tag."""

    tests: tuple[FieldTest, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def is_indexed(self) -> bool:
        """Whether an index can find these records: some test is for equality, or there is a tag."""
        return bool(self.tags) or any(test.operator in _INDEXED for test in self.tests)


class RecordOrder(msgspec.Struct, frozen=True):
    """By when it was created or updated, or by a field of the data; equal ones by when they were created."""

    field: tuple[str, ...] = ("created_at",)
    is_system: bool = True
    descending: bool = True

    @property
    def is_newest_first(self) -> bool:
        return self.is_system and self.descending and self.field == ("created_at",)


def read_filter(raw: object, path: str) -> tuple[RecordFilter, list[Fault]]:
    """A filter as actions write it: `{"stage": "won", "amount": {"greater_than": 100}}`; and its faults."""
    if not is_object(raw):
        return RecordFilter(), [Fault(path, "must be an object of fields and the values wanted")]
    tests: list[FieldTest] = []
    faults: list[Fault] = []
    for name, wanted in raw.items():
        where = f"{path}.{name[:MAX_FIELD]}"
        for operator, value in _wanted(wanted):
            test, problem = read_test(name, operator, _values(operator, value))
            if test is None:
                faults.append(Fault(where, problem))
            else:
                tests.append(test)
    if len(tests) > MAX_TESTS:
        faults.append(Fault(path, f"has more than {MAX_TESTS} tests"))
    return RecordFilter(tuple(tests)), faults


def read_test(name: str, operator: str, values: tuple[object, ...]) -> tuple[FieldTest | None, str]:
    """A test, or None and what is wrong with it. `exists` of false is `not_exists`, and the other way round."""
    field = read_field(name)
    if field is None:
        return None, "is not the path of a field"
    if operator not in OPERATORS:
        return None, f"has no operator {operator[:64]!r}{near_names(operator[:64], OPERATORS)}"
    if operator in PRESENCE:
        negated = values[:1] == (False,)
        return FieldTest(field, "exists" if negated == (operator == "not_exists") else "not_exists"), ""
    problem = _values_problem(operator, values)
    if problem is not None:
        return None, problem
    return FieldTest(field, cast("Operator", operator), cast("tuple[Scalar, ...]", values)), ""


def read_field(name: str) -> tuple[str, ...] | None:
    """The segments of a field's path; None when it is none."""
    parts = tuple(name.split("."))
    if len(name) > MAX_FIELD or len(parts) > MAX_FIELD_DEPTH or not all(parts) or text_problem(name):
        return None
    return parts


def read_order(text: str) -> RecordOrder | None:
    """`created_at`, `updated_at` or a field of the data; with `-` in front the largest comes first. None: not one."""
    name = text.removeprefix("-")
    field = read_field(name)
    return None if field is None else RecordOrder(field, name in SYSTEM_SORTS, text.startswith("-"))


def tag_problem(tag: object) -> str | None:
    """Why no record can have that tag, if so."""
    if not isinstance(tag, str) or not 0 < len(tag) <= MAX_TAG:
        return f"must be a text of 1 to {MAX_TAG} characters"
    return text_problem(tag)


def _wanted(wanted: object) -> Iterator[tuple[str, object]]:
    if is_object(wanted):
        yield from wanted.items()
    elif is_array(wanted):
        yield "in", wanted
    else:
        yield "equals", wanted


def _values(operator: str, value: object) -> tuple[object, ...]:
    return tuple(cast("list[object]", value)) if operator in LISTED and is_array(value) else (value,)


def _values_problem(operator: str, values: tuple[object, ...]) -> str | None:
    if not 0 < len(values) <= MAX_VALUES:
        return f"needs 1 to {MAX_VALUES} values"
    return next((problem for value in values if (problem := _value_problem(operator, value))), None)


def _value_problem(operator: str, value: object) -> str | None:
    if isinstance(value, str):
        return f"compares with at most {MAX_TEXT} characters" if len(value) > MAX_TEXT else text_problem(value)
    if operator in TEXTUAL:
        return f"{operator} needs a text"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return None if -MAX_NUMBER <= value <= MAX_NUMBER else "compares with too large a number"
    if operator in ORDERING:
        return f"{operator} needs a number or a text"
    return None if value is None or isinstance(value, bool) else "compares with a text, number, boolean or null"
