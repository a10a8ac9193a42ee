"""Which secrets a definition uses; and that every use names its secret."""

from typing import Any

import msgspec
import pytest

from libs.common.domain.secret_names import secret_names
from libs.common.domain.validation import ConfigCheck, no_faults, validate_definition
from libs.common.domain.workflow import Definition

TYPES: dict[str, ConfigCheck] = dict.fromkeys(("log", "branch", "for_each"), no_faults)


def workflow(*actions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "w", "triggers": [{"type": "manual"}], "actions": list(actions), **more}


def log(message: Any, **more: Any) -> dict[str, Any]:
    return {"type": "log", "config": {"message": message}, **more}


def names(raw: dict[str, Any]) -> set[str]:
    definition, faults = validate_definition(raw, TYPES)
    assert definition is not None, faults
    stored = msgspec.json.decode(msgspec.json.encode(definition), type=Definition)
    assert secret_names(stored) == secret_names(definition)
    return set(secret_names(definition))


def test_every_place_is_looked_at() -> None:
    nested = {"type": "branch", "config": {
        "cases": [{"if": "{{ secrets.CASE == 'x' }}", "actions": [log("{{ secrets.IN_CASE }}")]}],
        "default": [log("${ secrets.IN_DEFAULT }")],
    }}  # fmt: skip
    loop = {"type": "for_each", "config": {"items": ["{{ secrets.ITEM }}"], "actions": [nested]}}
    condition = [{"any": [
        {"field": "secrets.FIELD", "operator": "exists"},
        {"not": {"field": "input.a", "operator": "equals", "value": "a {{ secrets.VALUE }}"}},
    ]}]  # fmt: skip
    raw = workflow(
        loop,
        log({"deep": [{"er": "{{ secrets.DEEP }}"}]}, **{"if": "{{ secrets.IF == 'x' }}"}),
        log("x", conditions=condition),
        output={"a": "{{ secrets.OUTPUT }}"},
    )
    assert names(raw) == {
        "CASE", "IN_CASE", "IN_DEFAULT", "ITEM", "FIELD", "VALUE", "DEEP", "IF", "OUTPUT",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "used"),
    [
        ("secrets.A", {"A"}),
        ('secrets["A"]', {"A"}),
        ("secrets['A'] + secrets.B", {"A", "B"}),
        ("default(secrets.A, input.x)", {"A"}),
        ("has(secrets.A)", {"A"}),
        ("upper(secrets.A) + 'x'", {"A"}),
        ("secrets.A.contains('x')", {"A"}),
        ("input.list.map(x, x + secrets.A)", {"A"}),
        ("input.secrets.A", set[str]()),
        ("'secrets.A'", set[str]()),
        ("input.list.map(secrets, secrets.A)", set[str]()),
    ],
)
def test_uses_in_expressions(expression: str, used: set[str]) -> None:
    assert names(workflow(log("{{ " + expression + " }}"))) == used


def test_what_is_no_template_is_no_use() -> None:
    assert names(workflow(log("secrets.A"), description="{{ secrets.B }} and {{", tags=["{{ secrets.C }}"])) == set()


def test_no_more_is_found_in_what_an_earlier_release_let_pass() -> None:
    action = {"key": "a", "type": "log", "config": {"x": "{{ secrets[input.x] }} {{ secrets.A }}", "y": "secrets {{"}}
    assert secret_names(msgspec.convert({"name": "w", "actions": [action]}, Definition)) == {"A"}


@pytest.mark.parametrize(
    "expression",
    [
        "secrets[input.x]", "secrets", "json(secrets)", "keys(secrets)", "size(secrets)", "secrets.map(n, n)",
        "'A' in secrets", "(input.x ? secrets : input).A", "secrets[r'A']", "[secrets][0].A",
        "input.list.map(x, secrets[x])", "pluck([secrets], 'A')",
    ],
)  # fmt: skip
def test_a_use_that_names_no_secret_is_a_fault(expression: str) -> None:
    _, faults = validate_definition(workflow(log(1), log({"a": ["{{ " + expression + " }}"]})), TYPES)
    assert [(fault.path, fault.message.rpartition(": ")[2]) for fault in faults] == [
        ("actions[1].config.message.a[0]", "secrets are used by name only, as in secrets.NAME")
    ]


@pytest.mark.parametrize(("expression", "name"), [("secrets['a b']", "a b"), ("secrets[0]", "0"), ("secrets['']", "")])
def test_a_name_that_no_secret_can_have_is_a_fault(expression: str, name: str) -> None:
    _, faults = validate_definition(workflow(log("{{ " + expression + " }}")), TYPES)
    assert [fault.message for fault in faults] == [f"template {expression}: {name!r} is not the name of a secret"]


@pytest.mark.parametrize(("field", "fault"), [("secrets", "by name only"), ("secrets.a-b", "'a-b' is not the name")])
def test_conditions_name_their_secrets_too(field: str, fault: str) -> None:
    conditions = [{"field": field, "operator": "equals", "value": "{{ secrets[input.x] }}"}]
    _, faults = validate_definition(workflow(log("x", conditions=conditions)), TYPES)
    assert [fault.path for fault in faults] == ["actions[0].conditions[0].field", "actions[0].conditions[0].value"]
    assert fault in faults[0].message


def test_the_conditions_of_a_trigger_cannot_use_secrets() -> None:
    conditions = [
        {"field": "secrets.A", "operator": "exists"},
        {"field": "webhook.body.a", "operator": "equals", "value": "{{ secrets.B }}"},
    ]
    raw = workflow(triggers=[{"type": "webhook", "config": {}, "conditions": conditions}])
    _, faults = validate_definition(raw, TYPES)
    assert [fault.path for fault in faults] == [
        "triggers[0].conditions[0].field", "triggers[0].conditions[1].value",
    ]  # fmt: skip
    assert all("cannot use secrets" in fault.message for fault in faults)
