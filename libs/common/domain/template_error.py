"""The error of templates, expressions and conditions."""

from typing import ClassVar

from libs.common.errors import SignalboxError


class TemplateError(SignalboxError):
    """A template or condition cannot be compiled or evaluated: `expression` is its source, `reason` a sentence."""

    slug: ClassVar[str] = "template-error"

    def __init__(self, expression: str, reason: str) -> None:
        shown = expression if len(expression) <= 200 else expression[:200] + "…"
        super().__init__(f"{shown}: {reason}" if shown else reason)
        self.expression = expression
        self.reason = reason


class MissingName(TemplateError):
    """A name or a part of a path is not there: what `default()` catches."""
