"""JSON from outside, read strictly: UTF-8, no NaN, no trailing bytes, and never deeper than a bound; on demand no name
twice in one object.
"""

import json
import re
from typing import Any, cast

import msgspec

from libs.common.errors import MalformedInput

MAX_DEPTH = 64

_decode = msgspec.json.Decoder().decode
_NAMES = re.compile(rb'"[ \t\r\n]*:')


def decode_json(raw: bytes) -> Any:
    """The value of a JSON text. Raises `MalformedInput` with one sentence."""
    try:
        value = _decode(raw)
    except UnicodeDecodeError:
        raise MalformedInput("The body is not UTF-8.") from None
    except RecursionError:
        raise _too_deep() from None
    except msgspec.DecodeError as error:
        raise MalformedInput(f"The body is not JSON: {error}.") from None
    _check_depth(raw, value)
    return value


def check_unique_names(raw: bytes, value: object) -> None:
    """Raises `MalformedInput` when an object of the text, whose value this is, has a name twice: which one counts
    would depend on the reader (RFC 8259, section 4).
    """
    # Names that are told apart are as many as the text has colons behind a quotation mark, unless a text within it
    # looks like that; so most bodies need not be read a second time.
    if len(_NAMES.findall(raw)) != _count_names(value):
        # Numbers stay text here: turning one with thousands of digits into an int is slow, and refused by Python.
        json.loads(raw, object_pairs_hook=_unique, parse_int=str, parse_float=str)


def _count_names(value: object) -> int:
    names, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            names += len(cast("dict[str, object]", one))
            waiting += cast("dict[str, object]", one).values()
        elif isinstance(one, list):
            waiting += cast("list[object]", one)
    return names


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise MalformedInput(f"The name {twice[:100]!r} stands twice in one object of the body.")
    return names


def _check_depth(raw: bytes, value: object) -> None:
    # The count of brackets bounds the depth from above, so an ordinary body is not walked at all.
    if raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH:
        return
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    if any(isinstance(leaf, dict | list) for leaf in level):
        raise _too_deep()


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(cast("dict[str, object]", value).values())
    return cast("list[object]", value) if isinstance(value, list) else []


def _too_deep() -> MalformedInput:
    return MalformedInput(f"The body is nested deeper than {MAX_DEPTH} levels.")
