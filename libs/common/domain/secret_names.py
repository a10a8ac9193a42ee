"""Which secrets a definition uses, and where: what has to be known before it runs.

An expression names every secret that it uses (`secrets.NAME`); validation refuses any other use, so what is found
here is all that a run can ever see.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from libs.common.domain.paths import Segments
from libs.common.domain.templates import SECRET_NAME
from libs.common.domain.used_names import used_names
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
    yield from ((where, _name(used)) for where, used in used_names(raw, path) if used[0] == _ROOT)


def _name(used: Segments) -> str:
    return used[1] if len(used) > 1 and isinstance(used[1], str) else ""
