"""Finding every fault of a JSON object against a struct, where a plain conversion would stop at the first.

Each field is converted alone, so one wrong field hides no other. Nothing here raises for any JSON value.
"""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, TypeGuard

import msgspec

from libs.common.domain.paths import kind_of, near_names
from libs.common.errors import Fault

_MAX_UNKNOWN = 20


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a parsed JSON value is an object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[Any]]:
    """Whether a parsed JSON value is a list (or the tuple of a struct turned back into plain values)."""
    return isinstance(value, list | tuple)


def struct_faults(
    raw: object, struct: type[msgspec.Struct], path: str, *, skip: Collection[str] = (), later: Collection[str] = ()
) -> list[Fault]:
    """Every fault of `raw` read as `struct`: unknown and missing fields, wrong types, values out of bounds.

    Fields in `skip` are known but are judged by the caller; those in `later` are refused as not supported yet.
    """
    if not is_object(raw):
        return [Fault(path, f"must be an object, not {kind_of(raw)}")]
    fields = _fields(struct)
    faults = _name_faults(raw, {*fields, *skip}, path, later)
    for name, field in fields.items():
        if name in skip:
            continue
        if name in raw:
            faults += value_faults(raw[name], field.type, join_path(path, name))
        elif field.required:
            faults.append(Fault(join_path(path, name), "is required"))
    return faults


def _name_faults(raw: Mapping[str, Any], known: Collection[str], path: str, later: Collection[str]) -> list[Fault]:
    faults: list[Fault] = []
    for name in raw:
        where = join_path(path, name[:64])
        if name in known:
            continue
        if name in later:
            faults.append(Fault(where, "is not supported yet"))
        elif len(faults) < _MAX_UNKNOWN:
            faults.append(Fault(where, f"is not a known field{near_names(name[:64], known)}"))
    return faults


def value_faults(value: object, wanted: Any, path: str) -> list[Fault]:
    """The fault, if any, of a value read as the type `wanted`."""
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        return [Fault(f"{path}{where.rstrip('`')}", _sentence(message))]
    except (RecursionError, OverflowError):
        return [Fault(path, "is too deep or too large")]
    return []


def _sentence(message: str) -> str:
    plain = message.replace("`", "")
    return plain[:1].lower() + plain[1:]


def join_path(path: str, name: str) -> str:
    """`path.name`, or `name` at the top."""
    return f"{path}.{name}" if path else name


@cache
def _fields(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}
