"""The parts of a compiled expression, each of which gives its value over a scope.

Paths, our own functions and the loops (`map`, `all` …) are done here; only what is left, operators, literals and
CEL's own functions, goes to CEL, with no more of the scope than it names. Three reasons: CEL knows nothing of sizes,
so a loop in it could copy lists or double texts without end; its Python binding (0.1.3) leaks the arguments and
result of every Python function that it calls; and most expressions need no CEL at all this way. All work is charged
to one allowance for each evaluation.

A node raises `TemplateError`; `MissingName` when what it needs is not there.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol, cast

from libs.common.domain.cel_engine import EvaluationError, MixedNumbers, compile_source
from libs.common.domain.faults import is_array, is_object
from libs.common.domain.functions import spend
from libs.common.domain.paths import MISSING, Segments, explain_missing, follow, kind_of
from libs.common.domain.template_error import MissingName, TemplateError
from libs.common.domain.weighing import ITEM, TooLarge, Weigher, for_cel, without_nul

MAX_INPUT = 524_288
"""Weight of the data that one CEL expression may use, each use counted."""

_EVALUATION = 256
"""Charge for one evaluation by CEL; with the allowance it bounds the iterations of loops."""
_ITERATION = 256

Scope = Mapping[str, Any]


class Node(Protocol):
    """A part of an expression. `paths` are the plain paths that it reads from the scope; `source` is its text."""

    source: str
    paths: tuple[Segments, ...]

    def evaluate(self, scope: Scope) -> Any:
        """Its value."""
        ...


class PathNode:
    """A plain path."""

    __slots__ = ("paths", "segments", "source")

    def __init__(self, source: str, segments: Segments) -> None:
        self.source, self.segments, self.paths = source, segments, (segments,)

    def evaluate(self, scope: Scope) -> Any:
        value = follow(self.segments, scope)
        if value is MISSING and (value := derived(self.segments, scope)) is MISSING:
            raise MissingName(self.source, explain_missing(self.segments, scope))
        return value


def derived(path: Segments, scope: Scope) -> Any:
    """`date`, today's date in UTC, which follows from `now`; or `MISSING`."""
    now = scope.get("now") if path == ("date",) else None
    return now.date().isoformat() if isinstance(now, datetime) else MISSING


class HasNode:
    """`has(path)`: whether there is something, be it null."""

    __slots__ = ("paths", "segments", "source")

    def __init__(self, source: str, segments: Segments) -> None:
        self.source, self.segments, self.paths = source, segments, (segments,)

    def evaluate(self, scope: Scope) -> bool:
        return follow(self.segments, scope) is not MISSING


class DefaultNode:
    """`default(x, y)`: x, or y when x is missing or null."""

    __slots__ = ("fallback", "paths", "source", "wanted")

    def __init__(self, source: str, wanted: Node, fallback: Node) -> None:
        self.source, self.wanted, self.fallback = source, wanted, fallback
        self.paths = (*wanted.paths, *fallback.paths)

    def evaluate(self, scope: Scope) -> Any:
        try:
            value = self.wanted.evaluate(scope)
        except MissingName:
            value = None
        return self.fallback.evaluate(scope) if value is None else value


class CallNode:
    """A call of one of our functions."""

    __slots__ = ("arguments", "call", "paths", "source")

    def __init__(self, source: str, call: Callable[..., Any], arguments: list[Node]) -> None:
        self.source, self.call, self.arguments = source, call, arguments
        self.paths = tuple(path for argument in arguments for path in argument.paths)

    def evaluate(self, scope: Scope) -> Any:
        values = [argument.evaluate(scope) for argument in self.arguments]
        try:
            return self.call(*values)
        except ValueError as error:
            raise TemplateError(self.source, str(error)) from None
        except (TypeError, OverflowError, AttributeError) as error:
            raise TemplateError(self.source, f"wrong argument ({type(error).__name__})") from None


class LoopNode:
    """`all`, `exists`, `exists_one`, `map` or `filter` over a list or the names of an object."""

    __slots__ = ("body", "kind", "listed", "paths", "source", "test", "variable")

    def __init__(self, source: str, kind: str, listed: Node, variable: str, test: Node | None, body: Node) -> None:
        self.source, self.kind, self.listed, self.variable, self.test, self.body = (
            source, kind, listed, variable, test, body,
        )  # fmt: skip
        inner = (*(test.paths if test else ()), *body.paths)
        self.paths = (*listed.paths, *(path for path in inner if path[0] != variable))

    def evaluate(self, scope: Scope) -> Any:
        listed = self.listed.evaluate(scope)
        if isinstance(listed, list):
            items = cast("list[Any]", listed)
        elif isinstance(listed, Mapping):
            items = list(cast("Mapping[str, Any]", listed))
        else:
            raise TemplateError(self.source, f"{self.kind}() goes over a list or an object, not {kind_of(listed)}")
        return _LOOPS[self.kind](self, items, dict(scope))

    def truths(self, items: list[Any], scope: dict[str, Any], node: Node) -> Iterator[tuple[Any, bool]]:
        """Each item with whether `node` holds for it."""
        for item in items:
            self.charge(_ITERATION)
            scope[self.variable] = item
            truth = node.evaluate(scope)
            if not isinstance(truth, bool):
                raise TemplateError(self.source, f"{self.kind}() needs true or false, not {kind_of(truth)}")
            yield item, truth

    def values(self, items: list[Any], scope: dict[str, Any]) -> list[Any]:
        """What the body gives for each item, or for those for which the test holds."""
        found: list[Any] = []
        for item in items:
            self.charge(_ITERATION)
            scope[self.variable] = item
            if self.test is not None and self.test.evaluate(scope) is not True:
                continue
            found.append(self.body.evaluate(scope))
            self.charge(_size(found[-1]))
        return found

    def charge(self, amount: int) -> None:
        """Charge the evaluation under way."""
        try:
            spend(amount)
        except ValueError as error:
            raise TemplateError(self.source, str(error)) from None


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, list | dict):
        return ITEM
    weigher = Weigher(MAX_INPUT)
    try:
        weigher.add(value)
    except TooLarge:
        return MAX_INPUT
    return weigher.weight


def _exists_one(loop: LoopNode, items: list[Any], scope: dict[str, Any]) -> bool:
    return sum(truth for _, truth in loop.truths(items, scope, loop.body)) == 1


_LOOPS: Mapping[str, Callable[[LoopNode, list[Any], dict[str, Any]], Any]] = {
    "all": lambda loop, items, scope: all(truth for _, truth in loop.truths(items, scope, loop.body)),
    "exists": lambda loop, items, scope: any(truth for _, truth in loop.truths(items, scope, loop.body)),
    "exists_one": _exists_one,
    "map": lambda loop, items, scope: loop.values(items, scope),
    "filter": lambda loop, items, scope: [item for item, truth in loop.truths(items, scope, loop.body) if truth],
}
LOOPS = frozenset(_LOOPS)

Tree = dict[str, Any]


class CelNode:
    """What CEL evaluates: its source, the paths in it, and the parts of other kinds that were taken out of it under a
    name.
    """

    __slots__ = ("_parts", "_run", "_run_decimal", "_tree", "_uses", "paths", "source")

    def __init__(
        self, source: str, texts: tuple[str, str], uses: Mapping[Segments, int], parts: Mapping[str, Node]
    ) -> None:
        """`texts`: what CEL gets, and the same with whole numbers written as decimals. Raises `TemplateError`."""
        self.source, self._parts = source, tuple(parts.items())
        self.paths = (*uses, *(path for part in parts.values() for path in part.paths))
        self._tree, self._uses = _leaf_tree({**uses, **{(name,): 1 for name in parts}})
        try:
            self._run = compile_source(texts[0])
            self._run_decimal = self._run if texts[1] == texts[0] else compile_source(texts[1])
        except EvaluationError as error:
            raise TemplateError(source, str(error)) from None

    def evaluate(self, scope: Scope) -> Any:
        failures: dict[str, TemplateError] = {}
        try:
            data = self._bind(scope, failures)
            try:
                return self._run(data)
            except MixedNumbers:
                return self._run_decimal({name: _decimal(value) for name, value in data.items()})
        except EvaluationError as error:
            raise self._explained(error, scope, failures) from None
        except (TooLarge, ValueError) as error:
            raise TemplateError(self.source, str(error)) from None

    def _bind(self, scope: Scope, failures: dict[str, TemplateError]) -> dict[str, Any]:
        """The data for CEL. What is not there or has failed is left out: CEL objects if it needs it."""
        values: dict[str, Any] = {}
        for name, part in self._parts:
            try:
                values[name] = part.evaluate(scope)
            except TemplateError as error:
                failures[name] = error
        cut = _Cut(self._uses)
        data: dict[str, Any] = {}
        for root, branch in self._tree.items():
            value = values.get(root, MISSING) if root.startswith(PART_PREFIX) else scope.get(root, MISSING)
            if value is not MISSING or (value := derived((root,), scope)) is not MISSING:
                data[root] = value if root == "now" else cut.prune(branch, value)
        if cut.used > MAX_INPUT:
            raise TooLarge(f"the expression uses more than {MAX_INPUT // 1024} KiB of data")
        spend(_EVALUATION + cut.used)
        return data

    def _explained(self, error: EvaluationError, scope: Scope, failures: dict[str, TemplateError]) -> TemplateError:
        """The error in terms of what the author wrote."""
        if error.missing is None:
            return TemplateError(self.source, str(error))
        if error.missing in failures:
            return failures[error.missing]
        for path in self.paths:
            if error.missing in path and follow(path, scope) is MISSING:
                return MissingName(self.source, explain_missing(path, scope))
        return MissingName(self.source, str(error))


PART_PREFIX = "__sb_"
"""Names of parts that were taken out of the source for CEL."""


def _leaf_tree(uses: Mapping[Segments, int]) -> tuple[Tree, list[int]]:
    """The names that are used as a tree whose leaves are indexes into the numbers of uses."""
    tree: Tree = {}
    counts: list[int] = []
    for path, count in sorted(uses.items(), key=lambda item: len(item[0])):
        branch: Any = tree
        for name in path[:-1]:
            branch = branch.setdefault(str(name), {})
            if isinstance(branch, int):
                break
        leaf: Any = branch if isinstance(branch, int) else branch.setdefault(str(path[-1]), len(counts))
        if leaf == len(counts):
            counts.append(count)
        else:
            counts[leaf] += count
    return tree, counts


class _Cut:
    """The parts of a scope taken for one evaluation, and their weight with every use counted."""

    __slots__ = ("_uses", "used")

    def __init__(self, uses: list[int]) -> None:
        self._uses, self.used = uses, 0

    def prune(self, branch: Any, value: Any) -> Any:
        """`value` with only what `branch` names."""
        if type(branch) is int:
            return self._take(branch, value)
        if type(value) is dict or isinstance(value, Mapping):
            return {name: self.prune(inner, value[name]) for name, inner in branch.items() if name in value}
        return (
            [] if isinstance(value, list | tuple) else for_cel(value)
        )  # too long a path: CEL objects if it gets there

    def _take(self, leaf: int, value: Any) -> Any:
        kind = type(value)  # pyright: ignore[reportUnknownVariableType]
        if kind is float or kind is bool or value is None or (kind is int and abs(value) < 2**63):
            self.used += ITEM * self._uses[leaf]
            return value
        if kind is str:
            self.used += (len(value) + ITEM) * self._uses[leaf]
            return without_nul(value) if "\0" in value else value
        weigher = Weigher(MAX_INPUT)
        weigher.add(value)
        self.used += weigher.weight * self._uses[leaf]
        return for_cel(value) if weigher.foreign else value


def _decimal(value: Any) -> Any:
    """The value with every whole number as a decimal."""
    if type(value) is int:
        return float(value)
    if is_object(value):
        return {name: _decimal(item) for name, item in value.items()}
    if is_array(value):
        return [_decimal(item) for item in value]
    return value
