"""Conditions: every operator, the groups, and the laws that hold between them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.conditions import OPERATORS, compile_conditions, condition_faults
from libs.common.domain.templates import TemplateError

SCOPE: dict[str, Any] = {
    "n": 5,
    "f": 5.0,
    "t": "5",
    "word": "hello world",
    "yes": True,
    "none": None,
    "list": [1, "2", "x"],
    "obj": {"k": 1},
    "webhook": {"headers": {"x-event": "paid"}, "items": [{"id": 7}]},
}


def holds(raw: Any, scope: dict[str, Any] = SCOPE) -> bool:
    return compile_conditions(raw).matches(scope)


@pytest.mark.parametrize(
    ("field", "operator", "value", "expected"),
    [
        ("n", "equals", 5, True),
        ("n", "equals", 5.0, True),
        ("n", "equals", "5", True),
        ("t", "equals", 5, True),
        ("t", "equals", "5.0", False),
        ("n", "equals", True, False),
        ("yes", "equals", True, True),
        ("yes", "equals", 1, False),
        ("none", "equals", None, True),
        ("list", "equals", [1, "2", "x"], True),
        ("n", "not_equals", 6, True),
        ("n", "not_equals", 5, False),
        ("n", "greater_than", 4, True),
        ("n", "greater_than", "4.5", True),
        ("t", "greater_than", 10, False),
        ("t", "greater_than", "10", True),
        ("word", "greater_than", 1, False),
        ("none", "less_than", 1, False),
        ("yes", "greater_or_equal", 0, False),
        ("n", "greater_or_equal", 5, True),
        ("n", "less_than", 5, False),
        ("n", "less_or_equal", 5, True),
        ("word", "contains", "lo w", True),
        ("word", "contains", 5, False),
        ("list", "contains", 2, True),
        ("list", "contains", "1", True),
        ("obj", "contains", "k", True),
        ("n", "contains", 5, False),
        ("word", "not_contains", "zzz", True),
        ("word", "starts_with", "hello", True),
        ("word", "ends_with", "world", True),
        ("n", "starts_with", "5", False),
        ("word", "matches", "^h.*d$", True),
        ("word", "matches", "^x", False),
        ("n", "matches", "5", False),
        ("n", "in", [4, 5], True),
        ("n", "in", ["5"], True),
        ("n", "in", [], False),
        ("n", "not_in", [4], True),
        ("webhook.headers.x-event", "equals", "paid", True),
        ("webhook.items[0].id", "equals", 7, True),
        ("n", "equals", "{{ f }}", True),
        ("word", "equals", "{{ 'hello' + ' ' }}world", True),
        ("n", "in", "{{ [5] }}", True),
    ],
)
def test_operators(field: str, operator: str, value: Any, expected: bool) -> None:
    assert holds({"field": field, "operator": operator, "value": value}) is expected


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_missing_field(operator: str) -> None:
    test: dict[str, Any] = {"field": "nope.at.all", "operator": operator}
    if "exists" not in operator:
        test["value"] = [1] if operator.endswith("in") else "1"
    assert holds(test) is (operator in ("not_exists", "not_equals", "not_in", "not_contains"))


def test_null_is_there() -> None:
    assert holds({"field": "none", "operator": "exists"})
    assert not holds({"field": "none", "operator": "not_exists"})


def test_nothing_and_an_empty_list_always_hold() -> None:
    assert holds(None)
    assert holds([])


def test_an_unknown_name_in_a_value_is_an_error() -> None:
    with pytest.raises(TemplateError, match="unknown name"):
        holds({"field": "n", "operator": "equals", "value": "{{ nope }}"})


FAULTY: list[tuple[Any, str]] = [
    (5, "c"),
    ("x", "c"),
    ([5], "c[0]"),
    ([{}], "c[0].field"),
    ([{"field": "a..b", "operator": "equals", "value": 1}], "c[0].field"),
    ([{"field": "a", "operator": "eq", "value": 1}], "c[0].operator"),
    ([{"field": "a", "operator": "equals"}], "c[0].value"),
    ([{"field": "a", "operator": "in", "value": 5}], "c[0].value"),
    ([{"field": "a", "operator": "exists", "value": 5}], "c[0].value"),
    ([{"field": "a", "operator": "matches", "value": "("}], "c[0].value"),
    ([{"field": "a", "operator": "matches", "value": 5}], "c[0].value"),
    ([{"field": "a", "operator": "equals", "value": "{{ 1 + }}"}], "c[0].value"),
    ([{"field": "a", "operator": "equals", "value": 1, "x": 1}], "c[0].x"),
    ({"any": []}, "c.any"),
    ({"all": 5}, "c.all"),
    ({"all": [{"field": "a", "operator": "exists"}], "any": []}, "c.any"),
    ({"not": {"any": [{"field": 5, "operator": "exists"}]}}, "c.not.any[0].field"),
]


@pytest.mark.parametrize(("raw", "path"), FAULTY)
def test_faults(raw: Any, path: str) -> None:
    assert path in [fault.path for fault in condition_faults(raw, "c")]
    with pytest.raises(TemplateError):
        compile_conditions(raw)


def test_depth_and_number_are_bounded() -> None:
    deep: Any = {"field": "a", "operator": "exists"}
    for _ in range(50):
        deep = {"not": deep}
    assert "nested deeper" in condition_faults(deep, "c")[0].message
    many = [{"field": "a", "operator": "exists"}] * 1000
    assert [fault.message for fault in condition_faults(many, "c")] == ["there are more than 200 conditions"]


scalars = st.none() | st.booleans() | st.integers(-20, 20) | st.floats(-5, 5) | st.text("ab15.", max_size=3)
values = scalars | st.lists(scalars, max_size=3)
fields = st.sampled_from(["a", "b", "c", "a.b"])


@st.composite
def single_tests(draw: st.DrawFn) -> dict[str, Any]:
    operator = draw(st.sampled_from([name for name in OPERATORS if name != "matches"]))
    test: dict[str, Any] = {"field": draw(fields), "operator": operator}
    if operator in ("in", "not_in"):
        test["value"] = draw(st.lists(scalars, max_size=3))
    elif "exists" not in operator:
        test["value"] = draw(values)
    return test


groups = st.recursive(
    single_tests(),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda items: {"all": items}),
        st.lists(inner, min_size=1, max_size=3).map(lambda items: {"any": items}),
        inner.map(lambda item: {"not": item}),
    ),
    max_leaves=5,
)
scopes = st.dictionaries(st.sampled_from(["a", "b", "c"]), values | st.dictionaries(st.just("b"), scalars, max_size=1))


@given(groups, groups, scopes)
def test_the_laws_of_not_all_and_any(first: Any, second: Any, scope: dict[str, Any]) -> None:
    left, right = holds(first, scope), holds(second, scope)
    assert holds({"not": first}, scope) is (not left)
    assert holds({"all": [first, second]}, scope) is (left and right)
    assert holds([first, second], scope) is (left and right)
    assert holds({"any": [first, second]}, scope) is (left or right)
    assert holds({"not": {"any": [first, second]}}, scope) is holds({"all": [{"not": first}, {"not": second}]}, scope)


@given(single_tests(), scopes)
def test_a_negated_operator_is_the_negation(test: dict[str, Any], scope: dict[str, Any]) -> None:
    opposites = {"equals": "not_equals", "in": "not_in", "contains": "not_contains", "exists": "not_exists"}
    opposite = opposites.get(test["operator"])
    if opposite is not None:
        assert holds(test, scope) is not holds({**test, "operator": opposite}, scope)
