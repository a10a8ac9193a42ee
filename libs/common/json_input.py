"""JSON from outside, read strictly: UTF-8, no NaN, no trailing bytes, and never deeper than a bound."""

from typing import Any, cast

import msgspec

from libs.common.errors import MalformedInput

MAX_DEPTH = 64

_decode = msgspec.json.Decoder().decode


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
