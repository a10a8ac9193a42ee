"""Templates: any JSON value with `{{ expression }}` or `${ expression }` inside its texts.

Compiled once, rendered many times. A text that is one expression keeps the type of its value; mixed text is joined. A
value without expressions renders to itself at no cost. What is rendered in is data: it is never looked at for
expressions again. The names of objects are left as they are.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from libs.common.domain.expressions import Expression, compile_expression
from libs.common.domain.functions import plain_text
from libs.common.domain.paths import Segments, near_names
from libs.common.domain.template_error import TemplateError
from libs.common.domain.weighing import TooLarge, Weigher
from libs.common.errors import Fault

__all__ = [
    "Expression",
    "Template",
    "TemplateError",
    "compile_expression",
    "compile_template",
    "has_template",
    "template_faults",
    "used_paths",
]

MAX_JOINED = 1_048_576
MAX_RENDERED = 4_194_304
"""Weight of a whole rendered value; looked at only when there are more expressions than `FEW`, since each is bounded
too.
"""
FEW = 4
MAX_TEMPLATE_DEPTH = 64

KNOWN_NAMES = frozenset(
    "input trigger webhook event actions workflow execution tenant secrets vars now date item index".split()
)
SECRET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
"""What a secret may be called; names that expressions can write after a dot."""
RESULT_NAME = re.compile(r"action_\d+_result")
"""What an action's output is called by its place."""
_OPENING = re.compile(r"\{\{|\$\{")
_SKIP = re.compile(r"""[rR]"[^"\r\n]*"|[rR]'[^'\r\n]*'|"(?:[^"\\\r\n]|\\.)*"|'(?:[^'\\\r\n]|\\.)*'|[{}]""")

Render = Callable[[Mapping[str, Any]], Any]


class Template:
    """A compiled template. `render(scope)` gives the value, or raises `TemplateError`; treat it as read-only.

    `is_constant`: it holds no expression, and renders to the very value it was made from.
    """

    __slots__ = ("is_constant", "render")

    def __init__(self, render: Render, *, is_constant: bool) -> None:
        self.render = render
        self.is_constant = is_constant


def compile_template(raw: Any) -> Template:
    """Compile a JSON value. Raises `TemplateError` for the first expression that cannot be compiled."""
    render = _compile(raw, 0)
    if render is None:
        return Template(lambda scope: raw, is_constant=True)
    few = isinstance(raw, str) or sum(1 for _, text in _texts(raw, "", 0) for _ in _OPENING.finditer(text)) <= FEW
    return Template(render if few else _bounded(render), is_constant=False)


def _bounded(render: Render) -> Render:
    def render_bounded(scope: Mapping[str, Any]) -> Any:
        rendered = render(scope)
        try:
            Weigher(MAX_RENDERED).add(rendered)
        except TooLarge as error:
            raise TemplateError("", f"the whole rendered value: {error}") from None
        return rendered

    return render_bounded


def has_template(text: str) -> bool:
    """Whether a text holds an expression."""
    return _OPENING.search(text) is not None


def _compile(raw: Any, depth: int) -> Render | None:
    """How to render `raw`; None when it is constant."""
    if isinstance(raw, str):
        return _compile_text(raw) if has_template(raw) else None
    if isinstance(raw, dict | list) and depth > MAX_TEMPLATE_DEPTH:
        raise TemplateError("", f"the template is nested deeper than {MAX_TEMPLATE_DEPTH}")
    if isinstance(raw, dict):
        return _compile_object(raw, depth)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(raw, list):
        return _compile_list(raw, depth)  # pyright: ignore[reportUnknownArgumentType]
    return None


def _compile_object(raw: dict[str, Any], depth: int) -> Render | None:
    parts = [(name, render) for name, item in raw.items() if (render := _compile(item, depth + 1)) is not None]
    if not parts:
        return None

    def render_object(scope: Mapping[str, Any]) -> dict[str, Any]:
        rendered = raw.copy()
        for name, render in parts:
            rendered[name] = render(scope)
        return rendered

    return render_object


def _compile_list(raw: list[Any], depth: int) -> Render | None:
    parts = [(index, render) for index, item in enumerate(raw) if (render := _compile(item, depth + 1)) is not None]
    if not parts:
        return None

    def render_list(scope: Mapping[str, Any]) -> list[Any]:
        rendered = raw.copy()
        for index, render in parts:
            rendered[index] = render(scope)
        return rendered

    return render_list


def _compile_text(text: str) -> Render:
    pieces = [piece if literal else compile_expression(piece) for literal, piece in _split(text)]
    if len(pieces) == 1 and isinstance(pieces[0], Expression):
        return pieces[0].evaluate

    def render_text(scope: Mapping[str, Any]) -> str:
        size, texts = 0, list[str]()
        for piece in pieces:
            texts.append(piece if isinstance(piece, str) else _as_text(piece, scope))
            size += len(texts[-1])
            if size > MAX_JOINED:
                raise TemplateError(text, f"the text is longer than {MAX_JOINED // 1024} KiB")
        return "".join(texts)

    return render_text


def _as_text(expression: Expression, scope: Mapping[str, Any]) -> str:
    try:
        return plain_text(expression.evaluate(scope))
    except ValueError as error:
        raise TemplateError(expression.source, str(error)) from None


def _split(text: str) -> Iterator[tuple[bool, str]]:
    """The pieces of a text in order: (True, literal text) or (False, source of an expression)."""
    position = 0
    while (opening := _OPENING.search(text, position)) is not None:
        if opening.start() > position:
            yield True, text[position : opening.start()]
        closing = "}}" if opening.group() == "{{" else "}"
        end = _find_end(text, opening.end(), closing)
        if end < 0:
            raise TemplateError(text[opening.start() :], f"{opening.group()} is never closed by {closing}")
        yield False, text[opening.end() : end]
        position = end + len(closing)
    if position < len(text):
        yield True, text[position:]


def _find_end(text: str, start: int, closing: str) -> int:
    """Where the expression that begins at `start` ends: at the first `closing` outside of its texts and braces; -1
    when nowhere.
    """
    depth = 0
    for mark in _SKIP.finditer(text, start):
        if mark.group() == "{":
            depth += 1
        elif mark.group() == "}":
            if depth == 0 and text.startswith(closing, mark.start()):
                return mark.start()
            depth -= 1
        if depth < 0:
            return -1
    return -1


def template_faults(
    raw: Any, path: str, extra_names: Collection[str] | None = None, action_keys: Collection[str] | None = None
) -> list[Fault]:
    """Every fault of the expressions in `raw`, each at the path of its text.

    `extra_names`: the top-level names beside those of the contract; None allows any. `action_keys`: the actions that
    there are; None allows any.
    """
    faults: list[Fault] = []
    for where, text in _texts(raw, path, 0):
        try:
            expressions = [compile_expression(piece) for literal, piece in _split(text) if not literal]
        except TemplateError as error:
            faults.append(Fault(where, f"template {error.detail}"))
            continue
        for expression in expressions:
            for used in expression.paths:
                if problem := name_problem(used, extra_names, action_keys):
                    faults.append(Fault(where, f"template {expression.source[:200]}: {problem}"))
    return faults


def used_paths(text: str) -> list[Segments]:
    """The plain paths that the expressions of a text name. Raises `TemplateError` when one cannot be compiled."""
    return [path for literal, piece in _split(text) if not literal for path in compile_expression(piece).paths]


def _texts(raw: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(raw, str):
        if has_template(raw):
            yield path, raw
    elif depth > MAX_TEMPLATE_DEPTH:
        return
    elif isinstance(raw, dict):
        for name, item in raw.items():  # pyright: ignore[reportUnknownVariableType]
            yield from _texts(item, f"{path}.{name}" if path else f"{name}", depth + 1)
    elif isinstance(raw, list):
        for index, item in enumerate(raw):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            yield from _texts(item, f"{path}[{index}]", depth + 1)


def name_problem(used: Segments, extra: Collection[str] | None, action_keys: Collection[str] | None) -> str | None:
    """What is wrong with the first names of a path, if anything; the two collections as in `template_faults`."""
    root = str(used[0])
    if root == "secrets":
        return _secret_problem(used)
    if root == "actions" and len(used) > 1 and action_keys is not None and used[1] not in action_keys:
        return f"there is no action {str(used[1])!r}{near_names(str(used[1]), action_keys)}"
    if extra is None or root in KNOWN_NAMES or root in extra or RESULT_NAME.fullmatch(root):
        return None
    return f"unknown name {root!r}{near_names(root, KNOWN_NAMES | set(extra))}"


def _secret_problem(used: Segments) -> str | None:
    """A secret must be named where it stands: what a run may see of them is known before it starts."""
    if len(used) < 2:
        return "secrets are used by name only, as in secrets.NAME"
    if not isinstance(used[1], str) or not SECRET_NAME.fullmatch(used[1]):
        return f"{str(used[1])[:64]!r} is not the name of a secret"
    return None
