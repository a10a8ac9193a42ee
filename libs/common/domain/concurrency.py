"""The key under which executions of a workflow hold slots, and how one ends that finds none.

A key is a text of at most 255 characters that PostgreSQL can store: one that is longer or holds what it can't keeps its
beginning and ends in a digest, so different values stay different.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from libs.common.domain.execution import Failure
from libs.common.domain.functions import plain_text
from libs.common.domain.template_error import TemplateError
from libs.common.domain.templates import compile_template
from libs.common.domain.workflow import Concurrency

MAX_KEY = 255
_KEPT = 180

KeyOf = Callable[[Mapping[str, Any]], str]
"""From the scope of a run to its key. Raises `TemplateError`."""


def compile_key(concurrency: Concurrency) -> KeyOf:
    """How a run's key is found; without a template all runs of the workflow have the key "". Raises `TemplateError`."""
    source = concurrency.key or ""
    template = compile_template(source)

    def key_of(scope: Mapping[str, Any]) -> str:
        try:
            return _storable(plain_text(template.render(scope)))
        except ValueError as error:
            raise TemplateError(source, str(error)) from None

    return key_of


def skipped(holder: UUID | None) -> Failure:
    """Why a run was not let in; it ends `cancelled` with this."""
    who = "another execution" if holder is None else f"execution {holder}"
    return Failure("concurrency_skipped", f"{who} holds the place, and the workflow's concurrency says to skip")


def _storable(text: str) -> str:
    plain = text.encode(errors="replace").decode().replace("\0", "?")
    if plain == text and len(text) <= MAX_KEY:
        return text
    return f"{plain[:_KEPT]}…{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}"
