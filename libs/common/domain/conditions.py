"""Conditions: field / operator / value tests over the scope of a run, and their groups `all`, `any`, `not`. A list
means all.

`field` is a path into the scope (`webhook.body.amount`, `webhook.headers.x-event`). Rules that hold for every operator:
- where the field is missing, `not_exists`, `not_equals`, `not_in` and `not_contains` hold and nothing else does; null
  is not missing;
- a number and a text that holds a number compare as numbers; otherwise values of different kinds are unequal and
  unordered;
- `value` may be a template; `matches` is RE2.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from libs.common.domain.cel_engine import text_matches
from libs.common.domain.faults import is_array, is_object
from libs.common.domain.paths import MISSING, Segments, follow, kind_of, near_names, parse_path
from libs.common.domain.template_error import TemplateError
from libs.common.domain.templates import compile_template, has_template, name_problem, template_faults
from libs.common.errors import Fault

MAX_CONDITIONS = 200
MAX_GROUP_DEPTH = 10

Test = Callable[[Mapping[str, Any]], bool]


class Conditions:
    """Compiled conditions. `matches(scope)` tells whether they hold; it raises `TemplateError` when one cannot be
    evaluated.
    """

    __slots__ = ("matches",)

    def __init__(self, matches: Test) -> None:
        self.matches = matches


def compile_conditions(raw: Any) -> Conditions:
    """Compile conditions that `condition_faults` finds no fault in; None means always. Raises `TemplateError` for
    others.
    """
    if faults := condition_faults(raw, "conditions"):
        raise TemplateError(faults[0].path, faults[0].message)
    return Conditions(_compile(raw))


def _compile(raw: Any) -> Test:
    if raw is None:
        return lambda scope: True
    if is_array(raw):
        return _all([_compile(item) for item in raw])
    if "all" in raw:
        return _all([_compile(item) for item in raw["all"]])
    if "any" in raw:
        tests = [_compile(item) for item in raw["any"]]
        return lambda scope: any(test(scope) for test in tests)
    if "not" in raw:
        inner = _compile(raw["not"])
        return lambda scope: not inner(scope)
    return _compile_test(raw)


def _all(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda scope: all(test(scope) for test in tests)


def _compile_test(raw: Mapping[str, Any]) -> Test:
    path, operator = parse_path(raw["field"], loose=True) or (), raw["operator"]
    if operator in ("exists", "not_exists"):
        wanted = operator == "exists"
        return lambda scope: (follow(path, scope) is not MISSING) is wanted
    compare, negated = _OPERATORS[operator]
    template = compile_template(raw.get("value"))
    if template.is_constant:
        return _constant_test(path, compare, raw.get("value"), negated=negated)

    def test(scope: Mapping[str, Any]) -> bool:
        found = follow(path, scope)
        return negated if found is MISSING else compare(found, template.render(scope)) is not negated

    return test


def _constant_test(path: Segments, compare: Callable[[Any, Any], bool], value: Any, *, negated: bool) -> Test:
    def test(scope: Mapping[str, Any]) -> bool:
        found = follow(path, scope)
        return negated if found is MISSING else compare(found, value) is not negated

    return test


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_number(value: Any) -> Any:
    """The number that a text holds, or the value itself."""
    if not isinstance(value, str) or len(value) > 64:
        return value
    try:
        number = float(value)
        return int(value) if number.is_integer() and "." not in value and "e" not in value.lower() else number
    except (ValueError, OverflowError):
        return value


def _alike(first: Any, second: Any) -> tuple[Any, Any]:
    """Both values, a text turned into its number where the other is a number."""
    if _is_number(first) and isinstance(second, str):
        return first, _as_number(second)
    if _is_number(second) and isinstance(first, str):
        return _as_number(first), second
    return first, second


def _equals(first: Any, second: Any) -> bool:
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    left, right = _alike(first, second)
    return bool(left == right)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(first: Any, second: Any) -> bool:
        left, right = _alike(first, second)
        if (_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str)):
            return compare(left, right)
        return False

    return test


def _contains(whole: Any, part: Any) -> bool:
    if isinstance(whole, str):
        return isinstance(part, str) and part in whole
    if is_array(whole):
        return any(_equals(item, part) for item in whole)
    return is_object(whole) and isinstance(part, str) and part in whole


def _matches(text: Any, pattern: Any) -> bool:
    if not isinstance(text, str):
        return False
    if not isinstance(pattern, str):
        raise TemplateError("matches", f"the pattern is {kind_of(pattern)}, not a text")
    try:
        return text_matches(text, pattern)
    except ValueError as error:
        raise TemplateError(pattern, str(error)) from None


_OPERATORS: Mapping[str, tuple[Callable[[Any, Any], bool], bool]] = {
    "equals": (_equals, False),
    "not_equals": (_equals, True),
    "greater_than": (_ordered(lambda left, right: left > right), False),
    "greater_or_equal": (_ordered(lambda left, right: left >= right), False),
    "less_than": (_ordered(lambda left, right: left < right), False),
    "less_or_equal": (_ordered(lambda left, right: left <= right), False),
    "contains": (_contains, False),
    "not_contains": (_contains, True),
    "starts_with": (
        lambda text, part: isinstance(text, str) and isinstance(part, str) and text.startswith(part),
        False,
    ),
    "ends_with": (lambda text, part: isinstance(text, str) and isinstance(part, str) and text.endswith(part), False),
    "matches": (_matches, False),
    "in": (lambda item, items: _contains(items, item) if isinstance(items, list) else False, False),
    "not_in": (lambda item, items: _contains(items, item) if isinstance(items, list) else False, True),
}
OPERATORS = (*_OPERATORS, "exists", "not_exists")


def condition_faults(
    raw: Any, path: str, extra_names: Collection[str] | None = None, action_keys: Collection[str] | None = None
) -> list[Fault]:
    """Every fault of raw conditions; the names are judged as in `template_faults`."""
    if raw is None:
        return []
    if not is_array(raw) and not is_object(raw):
        return [Fault(path, "must be a list of conditions or a group")]
    return _Judge(extra_names, action_keys).judge(raw, path, 0)


class _Judge:
    """Looks through conditions and counts them."""

    def __init__(self, extra_names: Collection[str] | None, action_keys: Collection[str] | None) -> None:
        self.names, self.keys, self.count = extra_names, action_keys, 0

    def judge(self, raw: Any, path: str, depth: int) -> list[Fault]:
        self.count += 1
        if self.count > MAX_CONDITIONS:
            return (
                [Fault(path, f"there are more than {MAX_CONDITIONS} conditions")]
                if self.count == MAX_CONDITIONS + 1
                else []
            )
        if depth > MAX_GROUP_DEPTH:
            return [Fault(path, f"groups are nested deeper than {MAX_GROUP_DEPTH}")]
        if is_array(raw):
            return self._each(raw, path, depth)
        if not is_object(raw):
            return [Fault(path, f"must be a condition or a group, not {kind_of(raw)}")]
        groups = [name for name in ("all", "any", "not") if name in raw]
        return self._group(raw, groups[0], path, depth) if groups else self._test(raw, path)

    def _each(self, items: list[Any], path: str, depth: int) -> list[Fault]:
        return [fault for index, item in enumerate(items) for fault in self.judge(item, f"{path}[{index}]", depth + 1)]

    def _group(self, raw: dict[str, Any], name: str, path: str, depth: int) -> list[Fault]:
        faults = [Fault(f"{path}.{other[:64]}", f"may not stand beside {name!r}") for other in raw if other != name]
        inner, where = raw[name], f"{path}.{name}"
        if name == "not":
            return faults + self.judge(inner, where, depth + 1)
        if not is_array(inner) or not inner:
            return [*faults, Fault(where, "must be a list of at least one condition")]
        return faults + self._each(inner, where, depth)

    def _test(self, raw: dict[str, Any], path: str) -> list[Fault]:
        faults = [
            Fault(f"{path}.{name[:64]}", f"is not a known field{near_names(name[:64], _FIELDS)}")
            for name in raw
            if name not in _FIELDS
        ]
        return faults + self._field_faults(raw, path) + self._operator_faults(raw, path)

    def _field_faults(self, raw: dict[str, Any], path: str) -> list[Fault]:
        field = raw.get("field")
        if "field" not in raw:
            return [Fault(f"{path}.field", "is required")]
        segments = parse_path(field, loose=True) if isinstance(field, str) else None
        if segments is None:
            return [Fault(f"{path}.field", "must be a path such as webhook.body.amount")]
        problem = name_problem(segments, self.names, self.keys)
        return [Fault(f"{path}.field", problem)] if problem else []

    def _operator_faults(self, raw: dict[str, Any], path: str) -> list[Fault]:
        operator, value, where = raw.get("operator"), raw.get("value"), f"{path}.value"
        if "operator" not in raw:
            return [Fault(f"{path}.operator", "is required")]
        if not isinstance(operator, str) or operator not in OPERATORS:
            return [Fault(f"{path}.operator", f"must be one of {', '.join(OPERATORS)}")]
        if operator in ("exists", "not_exists"):
            return [] if value is None else [Fault(where, f"{operator} takes no value")]
        if "value" not in raw:
            return [Fault(where, "is required")]
        if isinstance(value, str) and has_template(value):
            return template_faults(value, where, self.names, self.keys)
        if operator in ("in", "not_in") and not isinstance(value, list):
            return [Fault(where, "must be a list")]
        if operator == "matches":
            return _pattern_faults(value, where)
        return template_faults(value, where, self.names, self.keys)


_FIELDS = ("field", "operator", "value")


def _pattern_faults(pattern: Any, path: str) -> list[Fault]:
    if not isinstance(pattern, str):
        return [Fault(path, "must be a pattern (RE2)")]
    try:
        text_matches("", pattern)
    except ValueError as error:
        return [Fault(path, str(error))]
    return []
