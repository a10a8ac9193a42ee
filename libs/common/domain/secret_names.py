"""Which secrets a definition uses, and where: what has to be known before it runs.

An expression names every secret that it uses (`secrets.NAME`); validation refuses any other use, so what is found
here is all that a run can ever see.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from libs.common.domain.faults import is_array, is_object
from libs.common.domain.paths import Segments, parse_path
from libs.common.domain.template_error import TemplateError
from libs.common.domain.templates import SECRET_NAME, has_template, used_paths
from libs.common.domain.workflow import Definition

_ROOT = "secrets"
_NO_TEMPLATES = frozenset({"name", "description", "tags", "triggers", "input_schema", "output_schema"})
"""Fields of a definition that are not rendered in a run; the conditions of triggers are judged before there is one."""


def secret_names(definition: Definition) -> frozenset[str]:
    """The names of all secrets that the templates and conditions of a run of this definition use."""
    fields: dict[str, Any] = msgspec.to_builtins(definition)
    return frozenset(
        name
        for field, value in fields.items()
        if field not in _NO_TEMPLATES
        for _, name in secret_uses(value, field)
        if SECRET_NAME.fullmatch(name)
    )


def secret_uses(raw: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every use of a secret in the templates and conditions of a JSON value: where, and the name; the name is empty
    where it is not told.
    """
    if isinstance(raw, str):
        yield from ((path, _name(used)) for used in _paths(raw) if used[0] == _ROOT)
    elif is_object(raw):
        if (field := _condition_field(raw)) is not None and field[0] == _ROOT:
            yield f"{path}.field", _name(field)
        for name, item in raw.items():
            yield from secret_uses(item, f"{path}.{name}")
    elif is_array(raw):
        for index, item in enumerate(raw):
            yield from secret_uses(item, f"{path}[{index}]")


def _paths(text: str) -> list[Segments]:
    # Most texts are told apart by this one look. What does not compile is no template: validation has seen those.
    if _ROOT not in text or not has_template(text):
        return []
    try:
        return used_paths(text)
    except TemplateError:
        return []


def _condition_field(raw: dict[str, Any]) -> Segments | None:
    """The path that a condition looks at; None for any other object."""
    field = raw.get("field")
    return parse_path(field, loose=True) if isinstance(field, str) and "operator" in raw else None


def _name(used: Segments) -> str:
    return used[1] if len(used) > 1 and isinstance(used[1], str) else ""
