"""What differs between two states of a thing, as the audit log keeps it: paths with the values before and after.

No credential is kept: what stands under a telling name, in a part about authentication or in an address is `***`,
before as after, so that the log says that it changed and not what it was.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec

from libs.common.domain.faults import is_array, is_object
from libs.common.domain.masking import MASK, is_telling, mask_address

MOST_CHANGES = 100
LONGEST_VALUE = 1_000

_AUTH = frozenset({"auth", "authentication"})
_AUTH_SHOWN = frozenset({"type", "header", "algorithm", "name"})
_ABSENT: Any = object()

_encode = msgspec.json.encode


class Changed(msgspec.Struct, frozen=True):
    """One place that differs; null where there was or is nothing."""

    path: str
    before: Any
    after: Any


def changes(before: object, after: object) -> list[Changed]:
    """Every place that differs, at most `MOST_CHANGES`; long values are cut. None: it was not there, or is gone."""
    found: list[Changed] = []
    for one in _differences(_or_absent(before), _or_absent(after), "", masked=False):
        if len(found) == MOST_CHANGES:
            found.append(Changed("…", None, "there is more"))
            break
        found.append(one)
    return found


def _or_absent(value: object) -> object:
    return _ABSENT if value is None else value


def _differences(before: Any, after: Any, path: str, *, masked: bool) -> Iterator[Changed]:
    if type(before) is type(after) and before == after:
        return
    names = _names(before, after)
    if names is None:
        yield Changed(path, _shown(before, masked=masked), _shown(after, masked=masked))
        return
    for name in names:
        inner = masked or _is_secret(path, name)
        yield from _differences(_item(before, name), _item(after, name), _join(path, name), masked=inner)


def _names(before: Any, after: Any) -> Sequence[str | int] | None:
    """The names or places of either; None for what is compared whole."""
    sides = [side for side in (before, after) if side is not _ABSENT]
    if all(is_object(side) and side for side in sides):
        return list(dict.fromkeys(name for side in sides for name in side))
    if all(is_array(side) and side for side in sides):
        return range(max(len(side) for side in sides))
    return None


def _item(value: Any, name: str | int) -> Any:
    if isinstance(value, dict):
        return cast("dict[str | int, Any]", value).get(name, _ABSENT)
    if isinstance(value, list) and isinstance(name, int):
        items = cast("list[Any]", value)
        return items[name] if name < len(items) else _ABSENT
    return _ABSENT


def _join(path: str, name: str | int) -> str:
    if isinstance(name, int):
        return f"{path}[{name}]"
    return f"{path}.{name}" if path else name


def _is_secret(path: str, name: str | int) -> bool:
    if isinstance(name, int):
        return False
    within_auth = path.rpartition(".")[2] in _AUTH
    return is_telling(name) or (within_auth and name not in _AUTH_SHOWN)


def _shown(value: Any, *, masked: bool) -> Any:
    if value is _ABSENT or value is None:
        return None
    if masked:
        return MASK
    if isinstance(value, str):
        return mask_address(value)[:LONGEST_VALUE]
    # What is compared whole although it has parts was or is something else; its parts were not looked at.
    return f"({len(_encode(value))} bytes)" if value and isinstance(value, dict | list) else value
