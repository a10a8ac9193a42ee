"""Templates: what they give, what they refuse, and what holds for any text at all."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.faults import is_array, is_object
from libs.common.domain.templates import TemplateError, compile_expression, compile_template, template_faults

NOW = datetime(2026, 11, 21, 4, 5, 6, tzinfo=UTC)
SCOPE: dict[str, Any] = {
    "input": {"a": 1, "f": 5.0, "s": "x", "none": None, "list": [1, 2, 3], "big": 2**70, "long": list(range(600))},
    "webhook": {"body": {"amount": 100, "customer": {"id": "c1"}}, "headers": {"x-event": "paid"}},
    "actions": {"save": {"output": {"items": [7], "rows": [{"p": 2, "q": 1.5}, {"p": 3}]}}},
    "workflow": {"last_execution_time": datetime(2026, 1, 1, tzinfo=UTC)},
    "now": NOW,
    "deal_title": "Big deal",
}


def render(raw: Any, scope: dict[str, Any] = SCOPE) -> Any:
    return compile_template(raw).render(scope)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ webhook.body.amount }}", 100),
        ("${webhook.body.amount}", 100),
        ("{{ webhook.headers['x-event'] }}", "paid"),
        ("{{ actions.save.output.items[0] }}", 7),
        ("{{ deal_title }}", "Big deal"),
        ("{{ input.none }}", None),
        ("{{ input.f }}", 5.0),
        ("{{ input.big }}", 2**70),
        ("{{ webhook.body.amount * 1.2 }}", 120.0),
        ("{{ 1 + 1.5 - 0.5 }}", 2.0),
        ("{{ 7 / 2.0 }}", 3.5),
        ("{{ 7 / 2 }}", 3),
        ("{{ input.a + 1 }}", 2),
        ("{{ input.big + 1 }}", float(2**70)),
        ("{{ webhook.body.amount > 50 && deal_title == 'Big deal' }}", True),
        ("id={{ actions.save.output.items[0] }}/${input.s}", "id=7/x"),
        ("<{{ input.none }}|{{ input.f }}|{{ true }}|{{ input.list }}>", "<|5|true|[1,2,3]>"),
        ("{{ {'a': {'b': [1]}} }}", {"a": {"b": [1]}}),
        ("{{ '}}' + \"{{\" }}", "}}{{"),
        ("{{ r'\\d' }}", "\\d"),
        ("no braces { } $ at all", "no braces { } $ at all"),
        ("{{ default(input.nope, 'd') }}", "d"),
        ("{{ default(nope.at.all[0], 'd') }}", "d"),
        ("{{ default(input.none, 'd') }}", "d"),
        ("{{ default(input.a, 9) }}", 1),
        ("{{ has(input.a) && !has(input.nope) && !has(nope.x.y) }}", True),
        ("{{ actions.save.output.rows.map(r, default(r.q, 0.0)) }}", [1.5, 0.0]),
        ("{{ actions.save.output.rows.filter(r, has(r.q)).size() }}", 1),
        ("{{ sum(pluck(actions.save.output.rows, 'p')) }}", 5),
        ("{{ input.list.exists(x, x == 2) }}", True),
        ("{{ upper(input.s) + input.s.upper() + trim(' y ') }}", "XXy"),
        ("{{ round(2.5) }}", 3),
        ("{{ round(2.345, 1) }}", 2.3),
        ("{{ int('42') + int(4.9) + int('3.7') }}", 49),
        ("{{ string(5.0) + string(null) + string([1, 'a']) }}", '5[1,"a"]'),
        ("{{ json(input.list) }}", "[1,2,3]"),
        ("{{ join(input.list, '-') + join(['a', 'b']) }}", "1-2-3a, b"),
        ("{{ split('a,b', ',')[1] + replace('aXa', 'X', '-') }}", "ba-a"),
        ("{{ min(1, 2.5) + max(input.list) + abs(-1) + floor(1.9) + ceil(1.1) }}", 8),
        ("{{ first(input.list) + last(input.list) }}", 4),
        ("{{ 'abc'.matches('^a.c$') && matches('abc', 'b') }}", True),
        ("{{ now }}", "2026-11-21T04:05:06Z"),
        ("{{ date }}", "2026-11-21"),
        ("{{ now.getFullYear() }}", 2026),
        ("{{ date(now, '+3 days') }}", "2026-11-24T04:05:06Z"),
        ("{{ date('2026-01-31', '+1 month') }}", "2026-02-28T00:00:00Z"),
        ("{{ date(now, '+1 week') > now }}", True),
        ("{{ now - duration('65s') }}", "2026-11-21T04:04:01Z"),
        ("{{ format(now, '%d.%m.%Y %H:%M', 'Europe/Paris') }}", "21.11.2026 05:05"),
        ("{{ workflow.last_execution_time }}", "2026-01-01T00:00:00Z"),
        ("{{ false ? nope : 1 }}", 1),
        ("{{ false ? upper(nope) : 'a' }}", "a"),
        ("{{ has(input.nope) ? upper(input.nope) : 'none' }}", "none"),
        ("{{ default(input.nope + 1, 7) }}", 7),
        ("{{ size(input.list) * 1.5 }}", 4.5),
        ("{{ input.list.map(x, x > 1, x * 2) }}", [4, 6]),
        ("{{ input.list.map(x, [1, 2].map(y, x * y)) }}", [[1, 2], [2, 4], [3, 6]]),
        ("{{ input.list.map(x, upper('a' + string(x))).join('') }}", "A1A2A3"),
        ("{{ input.list.filter(x, x != 2).map(x, x + 1).size() }}", 2),
        ("{{ input.list.exists_one(x, x == 2) && !input.list.all(x, x == 2) }}", True),
        ("{{ webhook.body.map(k, k) }}", ["amount", "customer"]),
        ("{{ [upper('a'), {'k': lower('B')}.k][1] }}", "b"),
        ("{{ split('a b', ' ')[1].upper() + ('x' + 'y').upper() }}", "BXY"),
        ("{{ date('2026-01-01') < timestamp('2026-01-02T00:00:00Z') }}", True),
        ("{{ -webhook.body.amount * 0.5 }}", -50.0),
        ("{{ {'n': 1, 'v': [1.5 * 2]} }}", {"n": 1.0, "v": [3.0]}),
    ],
)
def test_rendering(text: str, expected: Any) -> None:
    rendered = render(text)
    assert rendered == expected
    assert type(rendered) is type(expected)
    assert msgspec.json.encode(rendered)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ deal_titel }}", "unknown name 'deal_titel' (did you mean deal_title?)"),
        ("{{ deal_titel + 'x' }}", "unknown name 'deal_titel' (did you mean deal_title?)"),
        ("{{ webhook.body.amont }}", "webhook.body has no 'amont' (did you mean amount?)"),
        ("{{ webhook.body.amont + 1 }}", "webhook.body has no 'amont' (did you mean amount?)"),
        ("{{ input.a.b }}", "input.a is a number, so it has no 'b'"),
        ("{{ input.list[5] }}", "input.list has 3 items, so there is no [5]"),
        ("{{ 'a' + 1 }}", "'+' does not work on text and whole number"),
        ("{{ 1 / 0 }}", "divide by zero"),
        ("{{ 1 / 0.0 }}", "the result is not a finite number"),
        ("{{ input.list.map(x, x + 'a') }}", "'+' does not work on whole number and text"),
        ("{{ input.list.all(x, x) }}", "all() needs true or false, not a number"),
        ("{{ input.a.map(x, x) }}", "map() goes over a list or an object, not a number"),
        ("{{ upper(input.nope) + 'x' }}", "input has no 'nope'"),
        ("{{ 1.0 / 0.0 }}", "the result is not a finite number"),
        ("{{ type(1) }}", "not JSON"),
        ("{{ {1: 2} }}", "the names of an object must be texts"),
        ("{{ upper(1) }}", "upper() takes a text, not a number"),
        ("{{ date(now, 'tomorrow') }}", "is not a shift"),
        ("{{ date('x') }}", "'x' is not a date or time"),
        ("{{ 9223372036854775807 + 1 }}", "overflow"),
        ("{{ 'a'.matches('(') }}", "invalid regular expression"),
    ],
)
def test_errors_at_rendering(text: str, reason: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(text)
    assert reason in caught.value.reason
    assert caught.value.expression in text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{", "never closed"),
        ("a ${ b", "never closed"),
        ("{{ }}", "empty"),
        ("{{ 1 + }}", "Syntax error"),
        ("{{ foo(1) }}", "unknown function 'foo'"),
        ("{{ uper('x') }}", "did you mean upper?"),
        ("{{ 'x'.foo() }}", "unknown function 'foo'"),
        ("{{ b'x' }}", "byte strings"),
        ("{{ '''x''' }}", "triple quotes"),
        ("{{ join([], '\n') }}", "a line break within it is written \\n"),
        ("{{ 1 // 2 }}", "comments"),
        ("{{ google.protobuf.Struct{} }}", "message literals"),
        ("{{ .input }}", "'.' stands where"),
        ("{{ (1 ]}}", "closes nothing"),
        ("{{ upper() }}", "takes 1 argument, not 0"),
        ("{{ [1].map(x) }}", "takes a name and an expression"),
        ("{{ has(input) }}", "takes a path with a dot"),
        ("{{ date(now,) }}", "an argument is missing"),
        ("{{ input.`a` }}", "unexpected '`'"),
        ("{{ __sb_0(1) }}", "unknown function"),
        ("{{ __sb_0 + 1 }}", "reserved"),
        ("{{ __sb_0 }}", "reserved"),
        ("{{ [1].map(a.b, 1) }}", "plain name"),
        ("{{ '" + "x" * 3000 + "' }}", "2048 characters"),
    ],
)
def test_errors_at_compiling(text: str, reason: str) -> None:
    with pytest.raises(TemplateError) as caught:
        compile_template(text)
    assert reason in caught.value.reason


def test_nested_values_keep_their_shape_and_types() -> None:
    raw = {"a": [1, "{{ input.a }}", {"b": "n={{ input.a }}"}], "c": None, "{{ input.a }}": True}
    assert render(raw) == {"a": [1, 1, {"b": "n=1"}], "c": None, "{{ input.a }}": True}


def test_a_constant_renders_to_itself() -> None:
    raw = {"a": [1, "x"]}
    template = compile_template(raw)
    assert template.is_constant
    assert template.render({}) is raw


def test_values_are_never_evaluated_again() -> None:
    scope = {"input": {"evil": "{{ secrets.KEY }} ${secrets.KEY}"}, "secrets": {"KEY": "k"}}
    assert render("{{ input.evil }}", scope) == "{{ secrets.KEY }} ${secrets.KEY}"
    assert render("a {{ input.evil + '' }}", scope) == "a {{ secrets.KEY }} ${secrets.KEY}"


def test_rendering_changes_nothing_in_the_scope() -> None:
    before = msgspec.json.encode(SCOPE)
    render(["{{ input.list + [4] }}", "{{ input }}", "{{ input.list.map(i, i) }}"])
    assert msgspec.json.encode(SCOPE) == before


@pytest.mark.parametrize("value", [2**63, -(2**64), 10**300])
def test_whole_numbers_past_64_bits_become_decimals_in_expressions(value: int) -> None:
    assert render("{{ input.n + 1.0 }}", {"input": {"n": value}}) == float(value)


def test_a_number_past_every_decimal_is_an_error() -> None:
    with pytest.raises(TemplateError, match="too large"):
        render("{{ input.n + 1.0 }}", {"input": {"n": 10**400}})


def test_faults_name_path_and_problem() -> None:
    raw = {
        "url": "https://x/{{ nope( }}",
        "deep": [{"a": "{{ actions.sve.output }}"}, "{{ inptu.x }} {{ default(zz, 1) }}"],
    }
    faults = template_faults(raw, "actions[0].config", (), ("save",))
    assert [fault.path for fault in faults] == [
        "actions[0].config.url",
        "actions[0].config.deep[0].a",
        "actions[0].config.deep[1]",
        "actions[0].config.deep[1]",
    ]
    assert "did you mean save?" in faults[1].message
    assert "did you mean input?" in faults[2].message


def test_any_top_level_name_is_fine_where_data_may_bring_it() -> None:
    assert template_faults("{{ deal_title }} {{ action_0_result.x }}", "x") == []
    assert template_faults("{{ deal_title }} {{ action_0_result.x }}", "x", ("deal_title",)) == []


names = st.text(max_size=6).map(lambda text: text.replace("\0", ""))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
PIECES = st.sampled_from(
    [
        *"input input.a .b [0] ['x'] ( ) [ ] { } , + - * / % == != < > && || ! ? : in true null 1 2.5 'a' x".split(" "),
        *"has( default( map( .map(x, .all(x, upper( json( now date( {{ }} ${ } r' ' \" \\ // /* .. size(".split(" "),
        *("\n", "\0", "é", "matches(", ".upper()", ".size()"),
    ]
)


@given(
    st.one_of(
        st.text(max_size=60), st.lists(PIECES, max_size=14).map(" ".join), st.lists(PIECES, max_size=14).map("".join)
    )
)
def test_any_text_gives_a_value_or_a_template_error(text: str) -> None:
    for source in (text, "{{" + text + "}}"):
        try:
            msgspec.json.encode(render(source))
        except TemplateError as error:
            assert error.reason
        assert all(fault.path == "x" for fault in template_faults(source, "x"))
    try:
        compile_expression(text).evaluate(SCOPE)
    except TemplateError as error:
        assert error.detail


@given(json_values)
def test_a_path_gives_what_is_there(value: Any) -> None:
    scope = {"input": {"x": value}}
    try:
        assert render("{{ input.x }}", scope) == value
    except TemplateError as error:
        assert "finite" in error.reason  # JSON has no infinity


@given(json_values)
def test_json_data_passes_through_cel_unharmed(value: Any) -> None:
    try:
        through = render("{{ [input.x][0] }}", {"input": {"x": value}})
    except TemplateError as error:
        assert "finite" in error.reason or "too large" in error.reason
        return
    assert _rounded(through) == _rounded(value)


def test_the_character_nul_hides_nothing() -> None:
    scope = {"input": {"a\0b": 1, "text": "safe\0evil"}}
    assert render("{{ [input][0] }}", scope) == {"a\ufffdb": 1, "text": "safe\ufffdevil"}
    assert render("{{ input.text == 'safe' }}", scope) is False


def _rounded(value: Any) -> Any:
    if is_array(value):
        return [_rounded(item) for item in value]
    if is_object(value):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return float(value)
    return value
