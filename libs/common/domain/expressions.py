"""Expressions: CEL behind one small interface, with bounds that hold against an author who means harm.

    compile_expression(source) ─▶ Expression ─▶ evaluate(scope) ─▶ a JSON value, or TemplateError

What an expression finds is data; it is never evaluated again. Bounds: source 2 KiB, result 256 KiB (a plain path,
which copies nothing, 1 MiB), one allowance of work for each evaluation (`functions`), the input of CEL
(`expression_nodes`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from libs.common.domain.expression_nodes import Node, PathNode
from libs.common.domain.expression_parser import parse_expression
from libs.common.domain.expression_tokens import SourceError
from libs.common.domain.functions import begin_evaluation
from libs.common.domain.paths import Segments
from libs.common.domain.template_error import TemplateError
from libs.common.domain.weighing import TooLarge, json_result

MAX_RESULT = 262_144
MAX_PATH_RESULT = 1_048_576

Evaluate = Callable[[Mapping[str, Any]], Any]


class Expression:
    """A compiled expression.

    `evaluate(scope)` gives its value, of a JSON kind, or raises `TemplateError`; it may be a part of the scope
    itself, so do not change it. `paths` are the plain paths that it names.
    """

    __slots__ = ("evaluate", "paths", "source")

    def __init__(self, source: str, evaluate: Evaluate, paths: tuple[Segments, ...]) -> None:
        self.source = source
        self.evaluate = evaluate
        self.paths = paths


def compile_expression(source: str) -> Expression:
    """Compile an expression, given without its braces. Raises `TemplateError`."""
    text = source.strip()
    try:
        node = parse_expression(text)
    except SourceError as error:
        raise TemplateError(text or source, str(error)) from None
    reader = _path_reader(node) if isinstance(node, PathNode) else _reader(text, node)
    return Expression(text, reader, node.paths)


def _path_reader(node: PathNode) -> Evaluate:
    read_node, source = node.evaluate, node.source

    def read(scope: Mapping[str, Any]) -> Any:
        value = read_node(scope)
        kind = type(value)  # pyright: ignore[reportUnknownVariableType]
        if kind is str or kind is int or kind is bool or value is None:
            return value
        try:
            return json_result(value, MAX_PATH_RESULT)
        except TooLarge as error:
            raise TemplateError(source, str(error)) from None

    return read


def _reader(source: str, node: Node) -> Evaluate:
    read_node = node.evaluate

    def read(scope: Mapping[str, Any]) -> Any:
        begin_evaluation()
        try:
            return json_result(read_node(scope), MAX_RESULT)
        except TooLarge as error:
            raise TemplateError(source, str(error)) from None

    return read
