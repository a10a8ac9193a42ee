"""The match of an action that waits for an event: which of the events of that name it is.

A match is a template (`{{ event.data.order == input.order }}`) or conditions. It is judged when an event comes, long
after its run was put aside; so what it needs of the run is taken out of the run's scope when the wait begins, and
nothing else is kept. Secrets are not: what is kept is stored as it is.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from itertools import takewhile
from typing import Any

import msgspec

from libs.common.domain.conditions import compile_conditions, condition_faults
from libs.common.domain.faults import is_array, is_object
from libs.common.domain.paths import MISSING, Segments, follow, parse_path
from libs.common.domain.planner import Guard
from libs.common.domain.secret_names import secret_uses
from libs.common.domain.template_error import TemplateError
from libs.common.domain.templates import compile_template, has_template, template_faults, used_paths
from libs.common.errors import Fault

MAX_KEPT_BYTES = 65_536
_OF_THE_MOMENT = frozenset({"event", "now", "date", "secrets"})
"""What comes with the event, or must not be kept."""


def match_faults(
    match: object, path: str, names: Collection[str] | None = None, action_keys: Collection[str] | None = None
) -> list[Fault]:
    """Every fault of a match; the names are judged as in `template_faults`."""
    if isinstance(match, str):
        if not has_template(match):
            return [Fault(path, "must be a template such as {{ event.data.id == input.id }}, or conditions")]
        faults = template_faults(match, path, names, action_keys)
    else:
        faults = condition_faults(match, path, names, action_keys)
    return faults + [Fault(use, "a match cannot use secrets") for use, _ in secret_uses(match, path)]


def kept_scope(match: object, scope: Mapping[str, Any]) -> dict[str, Any]:
    """What a faultless match needs of the run's scope, each value at its path. What is not there is left out: a match
    that needs it does not hold. Raises `TemplateError` when it is too large to be kept.
    """
    kept = _Part()
    for names in sorted({_names(path) for path in _paths(match)}, key=len):  # the whole of something before its parts
        if names[0] not in _OF_THE_MOMENT and (value := follow(names, scope)) is not MISSING:
            _put(kept, names, value)
    if len(msgspec.json.encode(kept)) > MAX_KEPT_BYTES:
        raise TemplateError("match", f"it uses more than {MAX_KEPT_BYTES // 1024} KiB of the run's values")
    return kept


def match_holds(match: str | None, kept: Mapping[str, Any], event: Mapping[str, Any], now: datetime) -> bool:
    """Whether the event is one that was waited for. `match` is JSON text, None fits any; `kept`: as `kept_scope` gave
    it. A match that this event lets nobody judge does not hold.
    """
    if match is None:
        return True
    try:
        return _compiled(match).holds({**kept, "event": event, "now": now})
    except TemplateError:
        return False


@lru_cache(maxsize=1024)
def _compiled(match: str) -> Guard:
    raw: Any = msgspec.json.decode(match)
    if isinstance(raw, str):
        return Guard(compile_template(raw), None, raw)
    return Guard(None, compile_conditions(raw), "its match")


def _paths(raw: object) -> Iterator[Segments]:
    """Every plain path that the templates and conditions of a match read."""
    if isinstance(raw, str):
        yield from used_paths(raw)
    elif is_object(raw):
        field = raw.get("field")
        if "operator" in raw and isinstance(field, str) and (path := parse_path(field, loose=True)):
            yield path
        for value in raw.values():
            yield from _paths(value)
    elif is_array(raw):
        for item in raw:
            yield from _paths(item)


def _names(path: Segments) -> tuple[str, ...]:
    """The path as far as it leads through objects: a list is kept as a whole."""
    return tuple(str(segment) for segment in takewhile(lambda segment: isinstance(segment, str), path))


class _Part(dict[str, Any]):
    """An object of which only some names are kept."""


def _put(kept: _Part, names: tuple[str, ...], value: Any) -> None:
    """Put a value at its place, unless the whole of what it is a part of is there."""
    for name in names[:-1]:
        inner: object = kept.setdefault(name, _Part())
        if not isinstance(inner, _Part):
            return
        kept = inner
    kept.setdefault(names[-1], value)
