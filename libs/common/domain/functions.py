"""The functions of our own that expressions may call beside CEL's: texts, numbers, lists, dates.

Every one is pure and bounded: what it reads and builds is charged to the allowance of the evaluation under way, and
is refused before it is built when it would be too large. Each is callable as `upper(x)` and as `x.upper()`. A wrong
argument is a `ValueError` with a sentence.

    upper lower trim(s)                                       json(x)          x as JSON text
    replace(s, old, new)                                      join(list, sep)  sep is ", " when left out
    split(s, sep)        at most 100 parts                    size(x)          of a text, list or object
    matches(s, pattern)  RE2                                  sum(list)
    abs floor ceil(x)                                         min max(list)    min max(a, b)
    round(x)             round(x, digits)                     pluck(list, "a.b")  that part of every item
    int(x) string(x)     of anything that can be read so      keys(object)  first last(list)  null when empty
    date("2026-11-21")   date(now, "+3 days")                 format(now, "%H:%M")  format(now, "%H:%M", zone)

`default(x, y)` and `has(x.y)`, which take what is missing, are in `expression_nodes`.
"""

import math
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from libs.common.domain.cel_engine import pattern_size, text_matches
from libs.common.domain.dates import format_instant, read_instant, rfc3339, shift
from libs.common.domain.paths import MISSING, follow, kind_of, parse_path

MAX_TEXT = 262_144
MAX_PARTS = 100
ALLOWANCE = 2_097_152
"""Characters and items (each as 16) that the functions of one evaluation may read and build."""

_ITEM = 16
_CALL = 64


class _Allowance(threading.local):
    left = ALLOWANCE


_allowance = _Allowance()


def begin_evaluation() -> None:
    """Start the allowance of a new evaluation on this thread."""
    _allowance.left = ALLOWANCE


def spend(amount: int) -> None:
    """Charge the evaluation under way. Raises `ValueError` when its allowance is used up."""
    _allowance.left -= amount
    if _allowance.left < 0:
        raise ValueError("the expression does too much work")


def plain_text(value: Any) -> str:
    """A value as text: null is "", 5.0 is "5", a list or object is JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, int):
        return str(value)
    return rfc3339(value) if isinstance(value, datetime) else to_json(value)


def to_json(value: Any) -> str:
    """A value as compact JSON text. Raises `ValueError` for what JSON cannot hold."""
    try:
        return msgspec.json.encode(value, enc_hook=_encode_other).decode()
    except (TypeError, msgspec.MsgspecError, OverflowError, RecursionError, UnicodeEncodeError):
        raise ValueError("this value cannot be written as JSON") from None


def _encode_other(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    raise ValueError("this value cannot be written as JSON")


def _need_text(value: Any, function: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{function}() takes a text, not {kind_of(value)}")
    spend(len(value) + _CALL)
    return value


def _need_list(value: Any, function: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{function}() takes a list, not {kind_of(value)}")
    spend(len(value) * _ITEM + _CALL)  # pyright: ignore[reportUnknownArgumentType]
    return value  # pyright: ignore[reportUnknownVariableType]


def _need_number(value: Any, function: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{function}() takes a number, not {kind_of(value)}")
    spend(_CALL)
    return value


def _built(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise ValueError(f"the text is longer than {MAX_TEXT} characters")
    spend(len(text))
    return text


def _size(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise ValueError(f"size() takes a text, a list or an object, not {kind_of(value)}")
    spend(_CALL)
    return len(value)  # pyright: ignore[reportUnknownArgumentType]


def _matches(text: Any, pattern: Any) -> bool:
    source, pattern = _need_text(text, "matches"), _need_text(pattern, "matches")
    size = pattern_size(pattern)
    spend(1500 + size + len(source) * size // 16)  # compiling the pattern costs too, each time
    return text_matches(source, pattern)


def _upper(text: Any) -> str:
    return _built(_need_text(text, "upper").upper())


def _lower(text: Any) -> str:
    return _built(_need_text(text, "lower").lower())


def _trim(text: Any) -> str:
    return _need_text(text, "trim").strip()


def _replace(text: Any, old: Any, new: Any) -> str:
    source, old, new = _need_text(text, "replace"), _need_text(old, "replace"), _need_text(new, "replace")
    if not old:
        raise ValueError("replace() needs something to replace")
    if len(source) + source.count(old) * max(0, len(new) - len(old)) > MAX_TEXT:
        raise ValueError(f"the text is longer than {MAX_TEXT} characters")
    return _built(source.replace(old, new))


def _split(text: Any, separator: Any) -> list[str]:
    source, separator = _need_text(text, "split"), _need_text(separator, "split")
    if not separator or source.count(separator) >= MAX_PARTS:
        raise ValueError(f"split() needs a separator and gives at most {MAX_PARTS} parts")
    return source.split(separator)


def _join(items: Any, separator: Any = ", ") -> str:
    separator = _need_text(separator, "join")
    texts: list[str] = []
    size = 0
    for item in _need_list(items, "join"):
        texts.append(_text(item))
        size += len(texts[-1]) + len(separator)
        if size > MAX_TEXT:
            raise ValueError(f"the text is longer than {MAX_TEXT} characters")
    return separator.join(texts)


def _text(value: Any) -> str:
    return _built(plain_text(value))


def _json(value: Any) -> str:
    return _built(to_json(value))


def _int(value: Any) -> int:
    spend(_CALL)
    try:
        if isinstance(value, str):
            return _whole(int(_built(value)[:40]) if _is_digits(value) else float(value))
        return _whole(value.timestamp() if isinstance(value, datetime) else value)
    except (ValueError, OverflowError, TypeError):
        raise ValueError(f"{plain_text(value)[:60]!r} is not a number in range") from None


def _is_digits(text: str) -> bool:
    return text.strip().lstrip("+-").isdigit() and len(text) <= 40


def _whole(value: Any) -> int:
    whole = int(value)
    if not -(2**63) <= whole < 2**63:
        raise ValueError("out of range")
    return whole


def _round(value: Any, digits: Any = None) -> int | float:
    number = _need_number(value, "round")
    if digits is None:
        return _whole(math.floor(number + 0.5)) if isinstance(number, float) else number
    places = _need_number(digits, "round")
    if not isinstance(places, int) or not 0 <= places <= 15:
        raise ValueError("round() takes 0 to 15 digits")
    return round(number, places)


def _abs(value: Any) -> int | float:
    return abs(_need_number(value, "abs"))


def _floor(value: Any) -> int:
    return _whole(math.floor(_need_number(value, "floor")))


def _ceil(value: Any) -> int:
    return _whole(math.ceil(_need_number(value, "ceil")))


def _sum(items: Any) -> int | float:
    return sum(_need_number(item, "sum") for item in _need_list(items, "sum"))


def _least(first: Any, second: Any = MISSING) -> Any:
    return min((_need_number(item, "min") for item in _numbers(first, second, "min")), default=None)


def _greatest(first: Any, second: Any = MISSING) -> Any:
    return max((_need_number(item, "max") for item in _numbers(first, second, "max")), default=None)


def _numbers(first: Any, second: Any, function: str) -> list[Any]:
    return _need_list(first, function) if second is MISSING else [first, second]


def _pluck(items: Any, path: Any) -> list[Any]:
    segments = parse_path(_need_text(path, "pluck"), loose=True)
    if segments is None:
        raise ValueError(f"{path[:60]!r} is not a path")
    found = (follow(segments, item) if isinstance(item, dict) else MISSING for item in _need_list(items, "pluck"))  # pyright: ignore
    return [None if value is MISSING else value for value in found]


def _keys(value: Any) -> list[Any]:
    if not isinstance(value, dict):
        raise ValueError(f"keys() takes an object, not {kind_of(value)}")
    spend(len(value) * _ITEM + _CALL)  # pyright: ignore[reportUnknownArgumentType]
    return list(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _first(items: Any) -> Any:
    listed = _need_list(items, "first")
    return listed[0] if listed else None


def _last(items: Any) -> Any:
    listed = _need_list(items, "last")
    return listed[-1] if listed else None


def _date(when: Any, by: Any = None) -> datetime:
    spend(_CALL)
    instant = read_instant(when)
    return instant if by is None else shift(instant, _need_text(by, "date"))


def _format(when: Any, pattern: Any, zone: Any = "UTC") -> str:
    return format_instant(read_instant(when), _need_text(pattern, "format"), _need_text(zone, "format"))


FUNCTIONS: Mapping[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "size": (_size, (1,)),
    "matches": (_matches, (2,)),
    "upper": (_upper, (1,)),
    "lower": (_lower, (1,)),
    "trim": (_trim, (1,)),
    "replace": (_replace, (3,)),
    "split": (_split, (2,)),
    "join": (_join, (1, 2)),
    "json": (_json, (1,)),
    "string": (_text, (1,)),
    "int": (_int, (1,)),
    "round": (_round, (1, 2)),
    "abs": (_abs, (1,)),
    "floor": (_floor, (1,)),
    "ceil": (_ceil, (1,)),
    "sum": (_sum, (1,)),
    "min": (_least, (1, 2)),
    "max": (_greatest, (1, 2)),
    "pluck": (_pluck, (2,)),
    "keys": (_keys, (1,)),
    "first": (_first, (1,)),
    "last": (_last, (1,)),
    "date": (_date, (1, 2)),
    "format": (_format, (2, 3)),
}
"""Name → implementation and the numbers of arguments it takes."""

INSTANT_FUNCTIONS = frozenset({"date"})
"""Those that give an instant."""
