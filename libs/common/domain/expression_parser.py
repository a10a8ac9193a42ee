"""Taking an expression apart: which parts are paths, calls of our functions and loops, and what is left for CEL.

    upper(input.name) + "!"   ─▶   CEL: __sb_0 + "!"     with __sb_0 = call upper(path input.name)

Works on tokens and matched brackets only; precedence is CEL's business, as no part that is taken out contains a free
operator.
"""

from collections.abc import Mapping

from libs.common.domain.expression_nodes import (
    LOOPS,
    PART_PREFIX,
    CallNode,
    CelNode,
    DefaultNode,
    HasNode,
    LoopNode,
    Node,
    PathNode,
)
from libs.common.domain.expression_tokens import MAX_NESTING, SourceError, Token, match_brackets, tokenize
from libs.common.domain.functions import FUNCTIONS, INSTANT_FUNCTIONS
from libs.common.domain.paths import Segments, near_names, parse_path

STANDARD_FUNCTIONS = frozenset({"has", "double", "uint", "bool", "timestamp", "duration", "dyn", "type"})
STANDARD_METHODS = frozenset(
    "contains startsWith endsWith getFullYear getMonth getDate getDayOfMonth getDayOfWeek getDayOfYear getHours "
    "getMinutes getSeconds getMilliseconds".split()
)
_OWN = frozenset(FUNCTIONS) | {"default"}
_LITERALS = frozenset({"true", "false", "null"})
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")


def parse_expression(source: str) -> Node:
    """The node for an expression. Raises `SourceError`; `TemplateError` for what CEL refuses."""
    return _Parser(source).whole()


class _Piece:
    """What is collected for CEL: text as it is and in decimals, paths with their numbers of uses, parts taken out."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.decimals: list[str] = []
        self.uses: dict[Segments, int] = {}
        self.parts: dict[str, Node] = {}

    def write(self, text: str, decimal: str | None = None) -> None:
        self.texts.append(text)
        self.decimals.append(text if decimal is None else decimal)

    def use(self, path: Segments) -> None:
        self.uses[path] = self.uses.get(path, 0) + 1

    def take_out(self, node: Node, *, instant: bool) -> None:
        name = f"{PART_PREFIX}{len(self.parts)}"
        self.parts[name] = node
        self.write(f"timestamp({name})" if instant else name)

    def node(self, source: str) -> Node:
        if len(self.texts) == 1 and self.texts[0] in self.parts:
            return self.parts[self.texts[0]]
        return CelNode(source, (" ".join(self.texts), " ".join(self.decimals)), self.uses, self.parts)


class _Parser:
    """One expression. Ranges are of token indexes, the end excluded."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = tokenize(source)
        self.pairs = match_brackets(self.tokens)
        self.depth = 0

    def whole(self) -> Node:
        if not self.tokens:
            raise SourceError("the expression is empty")
        return self._node(0, len(self.tokens))

    def _node(self, start: int, end: int) -> Node:
        if start >= end:
            raise SourceError("an argument is missing")
        if self.depth > MAX_NESTING:
            raise SourceError(f"calls are nested deeper than {MAX_NESTING}")
        source = self._source(start, end)
        if (path := parse_path(source)) is not None:
            _check_name(source)
            return PathNode(source, path)
        if (call := self._sole_call(start, end)) is not None:
            return call
        piece = _Piece()
        self._write(start, end, piece)
        return piece.node(source)

    def _sole_call(self, start: int, end: int) -> Node | None:
        """The node when the range is nothing but one call of ours, which may give an instant."""
        if not self._is_operand(start) or self._chain_end(start, end) != end:
            return None
        cut = self._last_own_call(start, end)
        if cut is None or self.pairs[cut + 1] + 1 != end:
            return None
        return self._own_call(start, cut)

    def _write(self, start: int, end: int, piece: _Piece) -> None:
        """Write a range: operands with what follows them, and the marks between."""
        index = start
        while index < end:
            if self._is_operand(index):
                index = self._write_chain(index, end, piece)
            else:
                if self._text(index) == ".":
                    raise SourceError("'.' stands where a name is expected")
                piece.write(self._text(index))
                index += 1

    def _is_operand(self, index: int) -> bool:
        token = self.tokens[index]
        return (
            token.kind in ("string", "number")
            or token.text in _OPENING
            or (token.kind == "name" and token.text != "in")
        )

    def _chain_end(self, start: int, limit: int) -> int:
        """Where an operand ends, with all `.name`, `.call(…)` and `[…]` behind it before `limit`."""
        index = self._primary_end(start)
        while index < limit:
            if self._text(index) == "[":
                index = self.pairs[index] + 1
            elif self._text(index) == ".":
                if index + 1 >= limit or self.tokens[index + 1].kind != "name":
                    raise SourceError("a name is missing after '.'")
                index += 2
                if self._text(index) == "(":
                    index = self.pairs[index] + 1
                elif self._text(index) == "{":
                    raise SourceError("message literals are not available")
            else:
                break
        return index

    def _primary_end(self, start: int) -> int:
        token = self.tokens[start]
        if token.text in _OPENING and token.kind == "mark":
            return self.pairs[start] + 1
        if token.kind == "name" and self._text(start + 1) == "(":
            return self.pairs[start + 1] + 1
        if token.kind == "name" and self._text(start + 1) == "{":
            raise SourceError("message literals are not available")
        return start + 1

    def _last_own_call(self, start: int, end: int) -> int | None:
        """The index of the name of the last call in a chain that is ours or a loop."""
        found = None
        if self.tokens[start].kind == "name" and self._text(start + 1) == "(" and self._is_own_function(start):
            found = start
        index = self._primary_end(start)
        while index < end:
            if self._text(index) == "[":
                index = self.pairs[index] + 1
                continue
            called = self._text(index + 2) == "("
            if called and self._is_own_method(index + 1):
                found = index + 1
            index = self.pairs[index + 2] + 1 if called else index + 2
        return found

    def _is_own_function(self, index: int) -> bool:
        name = self._text(index)
        known = _OWN | STANDARD_FUNCTIONS
        if name not in known:
            raise SourceError(f"unknown function {name!r}{near_names(name, known)}")
        return name in _OWN or name == "has"

    def _is_own_method(self, index: int) -> bool:
        name = self._text(index)
        known = _OWN | STANDARD_METHODS | LOOPS
        if name not in known:
            raise SourceError(f"unknown function {name!r}{near_names(name, known)}")
        return name not in STANDARD_METHODS

    def _write_chain(self, start: int, limit: int, piece: _Piece) -> int:
        end = self._chain_end(start, limit)
        cut = self._last_own_call(start, end)
        if cut is None:
            index = self._write_primary(start, end, piece)
        else:
            piece.take_out(self._own_call(start, cut), instant=self._text(cut) in INSTANT_FUNCTIONS)
            index = self.pairs[cut + 1] + 1
        self._write_rest(index, end, piece)
        return end

    def _write_primary(self, start: int, limit: int, piece: _Piece) -> int:
        token, end = self.tokens[start], self._primary_end(start)
        if token.kind == "name" and end == start + 1 and token.text not in _LITERALS:
            _check_name(token.text)
            return self._write_path(start, limit, piece)
        if token.kind == "number" and token.text.isdigit():
            piece.write(token.text, f"{token.text}.0")
        elif end == start + 1:
            piece.write(token.text)
        else:
            opening = start + 1 if token.kind == "name" else start
            self._write_plain(start, opening + 1, piece)
            self._write(opening + 1, end - 1, piece)
            piece.write(self._text(end - 1))
        return end

    def _write_path(self, start: int, limit: int, piece: _Piece) -> int:
        """Write a name with the fields behind it, and note the path that it is."""
        segments: list[str | int] = [self._text(start)]
        index = start + 1
        while index < limit:
            if self._text(index) == "." and self._text(index + 2) != "(":
                segments.append(self._text(index + 1))
                index += 2
            elif self._text(index) == "[" and (key := self._text_key(index)) is not None:
                segments.append(key)
                index += 3
            else:
                break
        piece.use(tuple(segments))
        self._write_plain(start, index, piece)
        return index

    def _text_key(self, index: int) -> str | None:
        key = self.tokens[index + 1]
        if self.pairs[index] != index + 2 or key.kind != "string" or "\\" in key.text or key.text[0] in "rR":
            return None
        return key.text[1:-1]

    def _write_rest(self, index: int, end: int, piece: _Piece) -> None:
        """Write the `.name`, `.call(…)` and `[…]` that follow an operand; none is ours."""
        while index < end:
            if self._text(index) in _OPENING:
                closing = self.pairs[index]
                piece.write(self._text(index))
                self._write(index + 1, closing, piece)
                piece.write(self._text(closing))
                index = closing + 1
            else:
                piece.write(self._text(index))
                index += 1

    def _write_plain(self, start: int, end: int, piece: _Piece) -> None:
        piece.write("".join(token.text for token in self.tokens[start:end]))

    def _own_call(self, start: int, name_at: int) -> Node:
        """The node for the call whose name is at `name_at`, in a chain that begins at `start`."""
        self.depth += 1
        try:
            return self._call(start, name_at)
        finally:
            self.depth -= 1

    def _call(self, start: int, name_at: int) -> Node:
        name, opening = self._text(name_at), name_at + 1
        source = self._source(start, self.pairs[opening] + 1)
        ranges = self._argument_ranges(opening)
        if name in LOOPS:
            return self._loop(source, name, self._node(start, name_at - 1), ranges)
        target = [(start, name_at - 1)] if name_at > start else []
        if name == "has":
            return self._has(source, ranges)
        arguments = [self._node(*each) for each in target + ranges]
        _check_count(name, len(arguments))
        if name == "default":
            return DefaultNode(source, arguments[0], arguments[1])
        return CallNode(source, FUNCTIONS[name][0], arguments)

    def _argument_ranges(self, opening: int) -> list[tuple[int, int]]:
        closing = self.pairs[opening]
        ranges: list[tuple[int, int]] = []
        start = index = opening + 1
        while index < closing:
            if self._text(index) in _OPENING:
                index = self.pairs[index]
            elif self._text(index) == ",":
                ranges.append((start, index))
                start = index + 1
            index += 1
        return [*ranges, (start, closing)] if closing > opening + 1 else []

    def _has(self, source: str, ranges: list[tuple[int, int]]) -> Node:
        path = parse_path(self._source(*ranges[0])) if len(ranges) == 1 else None
        if path is None or len(path) < 2:
            raise SourceError("has() takes a path with a dot, such as has(input.name)")
        return HasNode(source, path)

    def _loop(self, source: str, kind: str, listed: Node, ranges: list[tuple[int, int]]) -> Node:
        if len(ranges) != 2 and not (kind == "map" and len(ranges) == 3):
            raise SourceError(f"{kind}() takes a name and an expression")
        start, end = ranges[0]
        variable = self.tokens[start]
        if end != start + 1 or variable.kind != "name" or variable.text in _LITERALS:
            raise SourceError(f"{kind}() takes a plain name first")
        _check_name(variable.text)
        test = self._node(*ranges[1]) if len(ranges) == 3 else None
        return LoopNode(source, kind, listed, variable.text, test, self._node(*ranges[-1]))

    def _source(self, start: int, end: int) -> str:
        return self.source[self.tokens[start].start : self.tokens[end - 1].end]

    def _text(self, index: int) -> str:
        """The token as text; nothing beyond the ends and for texts in quotes, which are never marks."""
        if not 0 <= index < len(self.tokens):
            return ""
        token: Token = self.tokens[index]
        return token.text


def _check_name(name: str) -> None:
    if name.startswith(PART_PREFIX):
        raise SourceError(f"names that begin with {PART_PREFIX} are reserved")


def _check_count(name: str, count: int) -> None:
    counts: Mapping[str, tuple[int, ...]] = {"default": (2,), **{known: FUNCTIONS[known][1] for known in FUNCTIONS}}
    if count not in counts[name]:
        expected = " or ".join(map(str, counts[name]))
        raise SourceError(f"{name}() takes {expected} argument{'s' if expected != '1' else ''}, not {count}")
