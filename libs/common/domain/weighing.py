"""Weighing the values that go into an expression and come out of it, so that neither can be larger than allowed.

A weight is about the number of characters of the value as JSON, with a fixed charge for every item. Values that
neither CEL nor JSON can hold as they are (instants, whole numbers past 64 bits, tuples, read-only mappings) are
noticed on the way and replaced.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from math import isfinite
from typing import Any, cast
from uuid import UUID

from libs.common.domain.dates import rfc3339

MAX_DEPTH = 64
ITEM = 16

_INT64 = range(-(2**63), 2**63)


class TooLarge(Exception):
    """The value is larger or deeper than allowed, or of no JSON kind; the message says so."""


class Weigher:
    """Adds up values. `longest` is the length of the longest list or object met; `foreign` whether one must be
    replaced.
    """

    __slots__ = ("foreign", "limit", "longest", "weight")

    def __init__(self, limit: int) -> None:
        self.limit, self.weight, self.longest, self.foreign = limit, 0, 0, False

    def add(self, value: Any, depth: int = 0) -> None:
        """Add a value. Raises `TooLarge` as soon as the limit is passed."""
        kind = type(value)  # pyright: ignore[reportUnknownVariableType]
        if kind is str:
            self.weight += len(value) + ITEM
            self.foreign |= "\0" in value
        elif kind is float:
            self.weight += ITEM
            self.foreign |= not isfinite(value)
        elif value is None or kind is bool:
            self.weight += ITEM
        elif kind is int:
            self.weight += ITEM
            self.foreign |= not -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF
        elif kind is dict:
            self._enter(len(value), depth)
            for key, item in value.items():
                self.foreign |= type(key) is not str or "\0" in key
                self.weight += len(key) if type(key) is str else ITEM
                self.add(item, depth + 1)
        elif kind is list:
            self._enter(len(value), depth)
            for item in value:
                self.add(item, depth + 1)
        else:
            self.foreign = True
            self.weight += ITEM
            if isinstance(value, Mapping | tuple):
                self.add(dict(value) if isinstance(value, Mapping) else list(value), depth)  # pyright: ignore
        if self.weight > self.limit:
            raise TooLarge(f"the data is larger than {self.limit // 1024} KiB")

    def _enter(self, length: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise TooLarge(f"the data is nested deeper than {MAX_DEPTH}")
        self.weight += ITEM
        self.longest = max(self.longest, length)


def for_cel(value: Any) -> Any:
    """The value with what CEL cannot take replaced: instants become RFC 3339 text, whole numbers past 64 bits
    decimals, U+0000 becomes U+FFFD.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value not in _INT64:
        return _as_float(value)
    if isinstance(value, str):
        return without_nul(value)
    return _replaced(value, for_cel)


def for_json(value: Any) -> Any:
    """The value with what JSON cannot hold replaced by its usual text. Raises `TooLarge` for bytes, NaN and so on."""
    if isinstance(value, float) and not isfinite(value):
        raise TooLarge("the result is not a finite number")
    return _replaced(value, for_json)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise TooLarge("a whole number is too large") from None


def _replaced(value: Any, each: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        mapping = cast("Mapping[object, Any]", value)
        return {_key(key): each(item) for key, item in mapping.items()}
    if isinstance(value, list | tuple):
        return [each(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, date | UUID):
        return str(value)
    raise TooLarge(f"a value of kind {type(value).__name__} is not JSON")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TooLarge("the names of an object must be texts")
    return without_nul(key)


def without_nul(text: str) -> str:
    """The text with U+FFFD for U+0000: CEL's binding would cut it there, and PostgreSQL refuses it."""
    return str(text).replace("\0", "\ufffd")


def json_result(value: Any, limit: int) -> Any:
    """A result as a value that JSON can hold, of at most `limit`. Returns the value itself when nothing must be
    replaced.
    """
    kind = type(value)  # pyright: ignore[reportUnknownVariableType]
    if kind is str:
        if len(value) > limit:
            raise TooLarge(f"the result is larger than {limit // 1024} KiB")
        return value
    if kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return for_json(value)
    weigher = Weigher(limit)
    weigher.add(value)
    return for_json(value) if weigher.foreign else value
