"""Which names the templates and conditions of a JSON value use, and where."""

from collections.abc import Iterator
from typing import Any

from libs.common.domain.faults import is_array, is_object
from libs.common.domain.paths import Segments, parse_path
from libs.common.domain.template_error import TemplateError
from libs.common.domain.templates import has_template, used_paths


def used_names(raw: Any, path: str) -> Iterator[tuple[str, Segments]]:
    """Every path that a template or a condition names: where it stands, and the path."""
    if isinstance(raw, str):
        yield from ((path, used) for used in _paths(raw))
    elif is_object(raw):
        if (field := _condition_field(raw)) is not None:
            yield f"{path}.field", field
        for name, item in raw.items():
            yield from used_names(item, f"{path}.{name}")
    elif is_array(raw):
        for index, item in enumerate(raw):
            yield from used_names(item, f"{path}[{index}]")


def _paths(text: str) -> list[Segments]:
    # What does not compile is no template: validation has seen those.
    if not has_template(text):
        return []
    try:
        return used_paths(text)
    except TemplateError:
        return []


def _condition_field(raw: dict[str, Any]) -> Segments | None:
    """The path that a condition looks at; None for any other object."""
    field = raw.get("field")
    return parse_path(field, loose=True) if isinstance(field, str) and "operator" in raw else None
