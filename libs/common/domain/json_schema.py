"""JSON Schema with the bounds that a stranger's schema needs: nothing is ever fetched, patterns are linear, size is
capped.

By default the library follows `$ref` to files and to any address (reliability.md 5.4); here every reference must stay
inside the schema.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jsonschema_rs
import msgspec

from libs.common.domain.faults import is_array, is_object
from libs.common.errors import Fault

MAX_SCHEMA_BYTES = 65_536
MAX_SCHEMA_DEPTH = 32
MAX_SUBSCHEMAS = 500
MAX_PATTERN = 512
MAX_INSTANCE_FAULTS = 50

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def schema_faults(raw: object, path: str) -> list[Fault]:
    """Every fault of a JSON Schema (an object or a boolean)."""
    if isinstance(raw, bool):
        return []
    if not is_object(raw):
        return [Fault(path, "must be a JSON Schema: an object or a boolean")]
    faults = _cap_faults(raw, path)
    if faults:
        return faults
    try:
        _compile(raw)
    except Exception as error:  # noqa: BLE001  the binding raises ValidationError, ReferencingError, ValueError …
        return [Fault(path, f"is not a valid JSON Schema: {_first_line(error)}")]
    return []


def instance_faults(schema: dict[str, Any] | bool, value: Any, path: str) -> list[Fault]:
    """What is wrong with `value` by an accepted schema, at most 50 faults."""
    faults: list[Fault] = []
    for error in _compiled(msgspec.json.encode(schema)).iter_errors(value):
        where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
        faults.append(Fault((path + where).lstrip("."), error.message[:500]))
        if len(faults) == MAX_INSTANCE_FAULTS:
            break
    return faults


@lru_cache(maxsize=256)
def _compiled(encoded: bytes) -> Any:
    return _compile(msgspec.json.decode(encoded))


def _compile(schema: dict[str, Any] | bool) -> Any:
    return jsonschema_rs.validator_for(schema, retriever=_refuse, pattern_options=jsonschema_rs.RegexOptions())


def _refuse(uri: str) -> Any:
    raise ValueError(f"references outside of the schema are not followed: {uri[:100]}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["unreadable"])[0][:300]


def _cap_faults(raw: dict[str, Any], path: str) -> list[Fault]:
    for objects, (node, depth) in enumerate(_nodes(raw), start=1):
        if depth > MAX_SCHEMA_DEPTH:
            return [Fault(path, f"is nested deeper than {MAX_SCHEMA_DEPTH}")]
        if objects > MAX_SUBSCHEMAS:
            return [Fault(path, f"has more than {MAX_SUBSCHEMAS} parts")]
        for name in _REFERENCES:
            reference = node.get(name)
            if isinstance(reference, str) and not reference.startswith("#"):
                return [Fault(path, f"{name} must stay inside the schema (#/…), not {reference[:100]!r}")]
        pattern = node.get("pattern")
        if isinstance(pattern, str) and len(pattern) > MAX_PATTERN:
            return [Fault(path, f"a pattern has at most {MAX_PATTERN} characters")]
    try:
        size = len(msgspec.json.encode(raw))
    except (UnicodeEncodeError, TypeError, RecursionError):
        return [Fault(path, "cannot be written as JSON")]
    return [Fault(path, f"is larger than {MAX_SCHEMA_BYTES // 1024} KiB")] if size > MAX_SCHEMA_BYTES else []


def _nodes(raw: dict[str, Any]) -> Iterator[tuple[dict[str, Any], int]]:
    """Every object in the schema with its depth."""
    waiting: list[tuple[Any, int]] = [(raw, 1)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_SCHEMA_DEPTH + 1:
            continue
        if is_object(value):
            yield value, depth
            waiting += [(item, depth + 1) for item in value.values()]
        elif is_array(value):
            waiting += [(item, depth + 1) for item in value]
