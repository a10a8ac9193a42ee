"""Credentials in what is recorded: values under telling names are masked before a config becomes a record."""

import re
from functools import lru_cache
from typing import Any, cast

MASK = "***"

_TELLING = re.compile(r"authorization|token|secret|password|api[-_]?key|cookie", re.IGNORECASE)
_AUTH_FIELDS = ("token", "password", "value")


def mask_config(config: dict[str, Any]) -> dict[str, Any]:
    """The config of an effect as its record shows it: telling names masked at any depth, and the value of a header
    credential.
    """
    masked = cast("dict[str, Any]", _mask(config))
    auth = masked.get("auth")
    if isinstance(auth, dict):
        masked["auth"] = {
            name: MASK if name in _AUTH_FIELDS else value for name, value in cast("dict[str, Any]", auth).items()
        }
    return masked


def _mask(value: Any) -> Any:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {name: MASK if _is_telling(name) and inner is not None else _mask(inner) for name, inner in items}
    if isinstance(value, list):
        return [_mask(inner) for inner in cast("list[Any]", value)]
    return value


@lru_cache(maxsize=4096)
def _is_telling(name: str) -> bool:
    return _TELLING.search(name) is not None
