"""Plain paths into the data of a run: `webhook.body.customer.id`, `actions.save.output.items[0]`, `headers["x-id"]`.

A path is read once into its segments and then followed many times by dictionary and list look-ups only: no attribute
access, no evaluation of what it finds. Negative indexes are not read.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import Enum
from typing import Any, Final, cast

Segments = tuple[str | int, ...]

MAX_PATH_LENGTH = 512


class Missing(Enum):
    """The type of `MISSING`."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""What following a path gives where there is nothing (null is something)."""

_ROOT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STEP = re.compile(
    r"""\.(?P<name>[A-Za-z_][A-Za-z0-9_]*)|\[(?P<index>\d{1,9})\]|\[(?P<quote>["'])(?P<text>[^"'\\\r\n]*)(?P=quote)\]"""
)
_LOOSE_STEP = re.compile(
    r"""\.(?P<name>[^.\[\]"'\s]+)|\[(?P<index>\d{1,9})\]|\[(?P<quote>["'])(?P<text>[^"'\\\r\n]*)(?P=quote)\]"""
)
_WORDS = frozenset({"true", "false", "null", "in"})


def parse_path(text: str, *, loose: bool = False) -> Segments | None:
    """The segments of `text`, or None when it is not a plain path. `loose` also takes names such as `x-request-id`."""
    root = _ROOT.match(text) if len(text) <= MAX_PATH_LENGTH else None
    if root is None or root.group() in _WORDS:
        return None
    segments: list[str | int] = [root.group()]
    position = root.end()
    pattern = _LOOSE_STEP if loose else _STEP
    while position < len(text):
        step = pattern.match(text, position)
        if step is None or (not loose and step["name"] in _WORDS):
            return None
        segments.append(_segment(step))
        position = step.end()
    return tuple(segments)


def _segment(step: re.Match[str]) -> str | int:
    if step["index"] is not None:
        return int(step["index"])
    return step["name"] if step["name"] is not None else step["text"]


def follow(segments: Segments, scope: Mapping[str, Any]) -> Any:
    """The value at the path, or `MISSING`."""
    value: Any = scope
    for segment in segments:
        try:
            if type(segment) is str:
                if type(value) is not dict and not isinstance(value, Mapping):
                    return MISSING
            elif type(value) is not list:
                return MISSING
            value = cast("Any", value)[segment]
        except (KeyError, IndexError):
            return MISSING
    return value


def show_path(segments: Segments) -> str:
    """The path as its author would write it."""
    head, *rest = segments
    return str(head) + "".join(_show_segment(segment) for segment in rest)


def _show_segment(segment: str | int) -> str:
    if isinstance(segment, int):
        return f"[{segment}]"
    return f".{segment}" if _ROOT.fullmatch(segment) else f'["{segment}"]'


def explain_missing(segments: Segments, scope: Mapping[str, Any]) -> str:
    """One sentence that names the first part of the path that is not there, and names near to it."""
    for length in range(1, len(segments) + 1):
        if follow(segments[:length], scope) is not MISSING:
            continue
        name, owner = segments[length - 1], scope if length == 1 else follow(segments[: length - 1], scope)
        if length == 1:
            return f"unknown name {name!r}{near_names(str(name), scope)}"
        where = show_path(segments[: length - 1])
        if isinstance(owner, Mapping):
            keys = [str(key) for key in cast("Mapping[object, Any]", owner)]
            return f"{where} has no {name!r}{near_names(str(name), keys)}"
        if isinstance(owner, list) and isinstance(name, int):
            return f"{where} has {len(owner)} items, so there is no [{name}]"  # pyright: ignore[reportUnknownArgumentType]
        return f"{where} is {kind_of(owner)}, so it has no {name!r}"
    return f"{show_path(segments)} is not there"


def near_names(name: str, known: Iterable[str]) -> str:
    """` (did you mean …?)` or ` (known: …)`, of at most five names, or nothing."""
    names = sorted(set(known))[:200]
    if close := get_close_matches(name, names, n=3, cutoff=0.6):
        return f" (did you mean {', '.join(close)}?)"
    if not names:
        return ""
    return f" (known: {', '.join(known[:40] for known in names[:8])}{', …' if len(names) > 8 else ''})"


def kind_of(value: Any) -> str:
    """The JSON kind of a value, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "an object"
