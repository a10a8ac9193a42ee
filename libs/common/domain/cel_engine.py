"""The one place that knows Google's CEL: compiling, evaluating, RE2, and its errors as sentences.

Facts of the binding (cel-expr-python 0.1.3): an error comes back as a value of type ERROR whose plain value is its
text; datetimes are taken for declared TIMESTAMP names only; texts and names are cut at U+0000; every call of a Python
function leaks its arguments and its result (mended in its repository, not released), so no Python function is given
to it.
"""

import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

from cel_expr_python import cel  # pyright: ignore[reportMissingTypeStubs]

MAX_PATTERN = 512
MAX_PATTERN_WORK = 10_000_000

_COUNTS = re.compile(r"\{(\d{0,4})(?:,(\d{0,4}))?\}")


class EvaluationError(Exception):
    """CEL refused or failed; the message is a sentence. `missing` names what was not found."""

    def __init__(self, reason: str, *, missing: str | None = None) -> None:
        super().__init__(reason)
        self.missing = missing


class MixedNumbers(EvaluationError):
    """An operator met a whole number and a decimal, which CEL does not mix."""


def compile_source(source: str) -> Callable[[dict[str, Any]], Any]:
    """Compile CEL source to a function of its data. Raises `EvaluationError`; so does the function."""
    try:
        compiled = _environment().compile(source, disable_check=True)
    except Exception as error:  # noqa: BLE001  the binding raises RuntimeError, UnicodeError …
        raise EvaluationError(_syntax_sentence(str(error))) from None
    evaluate, error_type = compiled.eval, cel.Type.ERROR

    def run(data: dict[str, Any]) -> Any:
        try:
            outcome = evaluate(data=data)
            value = outcome.plain_value()
            failed = type(value) is str and outcome.type() == error_type
        except Exception as error:  # noqa: BLE001  the binding raises RuntimeError, TypeError … by place
            value, failed = str(error), True
        if failed:
            raise _failure(str(value))
        return value

    return run


@cache
def _environment() -> cel.Env:
    return cel.NewEnv(variables={"now": cel.Type.TIMESTAMP})


def text_matches(text: str, pattern: str) -> bool:
    """Whether RE2 finds `pattern` in `text`. Raises `ValueError` for a bad pattern and for too much work."""
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a pattern has at most {MAX_PATTERN} characters")
    work = len(text) * pattern_size(pattern)
    if work > MAX_PATTERN_WORK:
        raise ValueError("the pattern is too costly for a text of this length")
    found = _matcher().eval(data={"text": text, "pattern": pattern}).plain_value()
    if not isinstance(found, bool):
        raise ValueError(_sentence(str(found)))
    return found


@lru_cache(maxsize=512)
def pattern_size(pattern: str) -> int:
    """An upper bound of the pattern's size with its counted repetitions written out."""
    size = len(pattern) + 4
    for least, most in _COUNTS.findall(pattern):
        size *= max(int(least or 1), int(most or 1), 1)
    return size


@cache
def _matcher() -> cel.Expression:
    return cel.NewEnv().compile("text.matches(pattern)", disable_check=True)


_STATUS = re.compile(r"^[A-Z_]+: ")
_NO_NAME = re.compile(r'No value with name "([^"]*)" found')
_NO_KEY = re.compile(r'Key not found in map : "?([^"]*)"?')
_MIXED = re.compile(r"overloads found : _[-+*/]_\((?:u?int64, double|double, u?int64)\)")
_NO_OVERLOAD = re.compile(r"No matching overloads found : (?P<call>.*)$")
_OPERATOR = re.compile(r"^[_!\-]*(?P<sign>[^_a-z\s(]+)_?\((?P<kinds>.*)\)$")
_KINDS = {
    "int64": "whole number", "uint64": "whole number", "double": "decimal number", "string": "text", "bool": "boolean",
    "null_type": "null", "map": "object", "google.protobuf.Timestamp": "time", "google.protobuf.Duration": "duration",
}  # fmt: skip


def _failure(message: str) -> EvaluationError:
    if _MIXED.search(message):
        return MixedNumbers("whole numbers and decimals are mixed")
    missing = _NO_NAME.search(message) or _NO_KEY.search(message)
    return EvaluationError(_sentence(message), missing=missing[1] if missing else None)


def _sentence(message: str) -> str:
    """CEL's message without its code, places and tokens."""
    text = _STATUS.sub("", message.split(" [")[0] if message.endswith("]") else message)[:400]
    if "Iteration budget" in text:
        return "the expression does too much work"
    if name := _NO_NAME.search(text):
        return f"unknown name {name[1]!r}"
    if key := _NO_KEY.search(text):
        return f"there is no {key[1]!r}"
    if "SELECT to non-message" in text:
        return "a part of a value that is no object was asked for"
    if "jump_condition" in text:
        return "the condition is not true or false"
    if overload := _NO_OVERLOAD.search(text):
        return _overload_sentence(overload["call"])
    return text[:1].lower() + text[1:]


def _overload_sentence(call: str) -> str:
    operator = _OPERATOR.match(call)
    if operator is None:
        return f"no function takes these arguments: {call}"
    kinds = [_KINDS.get(kind.strip(), kind.strip()) for kind in operator["kinds"].split(",")]
    return f"'{operator['sign']}' does not work on {' and '.join(kinds)}"


def _syntax_sentence(message: str) -> str:
    if "recursion" in message:
        return "the expression is nested too deeply"
    found = re.search(r"ERROR: <input>:(?P<line>\d+):(?P<column>\d+): (?P<text>[^\n]*)", message)
    if found is None:
        return "it is not a CEL expression"
    text = found["text"].split(" expecting ")[0]
    return f"{text} (line {found['line']}, character {found['column']})"
