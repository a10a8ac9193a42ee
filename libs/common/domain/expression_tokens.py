"""Cutting the source of an expression into tokens, with CEL's lexical rules.

What is not needed (comments, byte strings, triple quotes, quoted identifiers) is refused here, so that this reading
and CEL's agree on every source that passes.
"""

import re
from dataclasses import dataclass

MAX_SOURCE = 2048
MAX_NESTING = 24

_TOKEN = re.compile(
    r"""(?P<space>[\t\n\r\f ]+)
    |(?P<string>[rR]"[^"\r\n]*"|[rR]'[^'\r\n]*'|"(?:[^"\\\r\n]|\\.)*"|'(?:[^'\\\r\n]|\\.)*')
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?[uU]?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<mark>&&|\|\||[=!<>]=|[-+*/%!<>?:.,()\[\]{}])""",
    re.VERBOSE,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


class SourceError(Exception):
    """The source is not an expression that is read here; the message says why."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token at `start` in the source; `kind` is string, number, name or mark."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """The position behind it."""
        return self.start + len(self.text)


def tokenize(source: str) -> list[Token]:
    """The tokens of an expression. Raises `SourceError`."""
    if len(source) > MAX_SOURCE:
        raise SourceError(f"an expression has at most {MAX_SOURCE} characters")
    tokens: list[Token] = []
    position = 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            raise SourceError(_unexpected(source[position], position + 1))
        kind, text = match.lastgroup or "", match.group()
        position = match.end()
        if kind != "space":
            _check(kind, text, source[position : position + 1])
            tokens.append(Token(kind, text, match.start()))
    return tokens


def _unexpected(character: str, place: int) -> str:
    if character in "\"'":
        return f"the text that begins at character {place} does not end; a line break within it is written \\n"
    return f"unexpected {character!r} at character {place}"


def _check(kind: str, text: str, following: str) -> None:
    """Refuse what CEL would read otherwise together with the character that follows."""
    quoted = following != "" and following in "\"'"
    if kind == "string" and quoted:
        raise SourceError("triple quotes are not available; write a text in one pair of quotes")
    if kind in ("name", "number") and quoted:
        raise SourceError(f"unexpected quote after {text!r}; byte strings are not available")
    if kind == "number" and (following.isalnum() or following == "_"):
        raise SourceError(f"{text}{following} is not a number")
    if text == "/" and following == "/":
        raise SourceError("comments are not available")


def match_brackets(tokens: list[Token]) -> dict[int, int]:
    """For every opening bracket the index of its closing one. Raises `SourceError`."""
    pairs: dict[int, int] = {}
    open_at: list[int] = []
    for index, token in enumerate(tokens):
        if token.kind != "mark":
            continue
        if token.text in _CLOSING:
            if len(open_at) >= MAX_NESTING:
                raise SourceError(f"brackets are nested deeper than {MAX_NESTING}")
            open_at.append(index)
        elif token.text in ")]}":
            if not open_at or _CLOSING[tokens[open_at[-1]].text] != token.text:
                raise SourceError(f"{token.text!r} closes nothing")
            pairs[open_at.pop()] = index
    if open_at:
        raise SourceError(f"{tokens[open_at[-1]].text!r} is never closed")
    return pairs
