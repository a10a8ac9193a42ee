"""Validation: a good definition, every kind of fault at its path, and what holds for any JSON at all."""

import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.trigger import event_config, schedule_config, webhook_config
from libs.common.domain.validation import no_faults, validate_definition
from libs.common.domain.webhook_auth import HmacAuth
from libs.common.domain.workflow import Definition, parse_branch, walk_actions
from libs.common.errors import Fault

TYPES = {"log": no_faults, "http_request": no_faults, "branch": no_faults}

GOOD: dict[str, Any] = {
    "name": "Payments",
    "tags": ["billing"],
    "triggers": [
        {
            "key": "paid",
            "type": "webhook",
            "config": {"auth": {"type": "hmac", "secret": "s3cret-s3cret"}, "methods": ["POST"]},
            "conditions": [{"field": "webhook.body.amount", "operator": "greater_than", "value": 0}],
        },
        {"type": "schedule", "config": {"type": "cron", "expression": "0 9 * * 1-5", "timezone": "America/New_York"}},
        {"key": "deal", "type": "event", "config": {"event": "deal_created"}},
    ],
    "actions": [
        {"key": "save", "type": "log", "config": {"message": "{{ webhook.body.customer.id }}"}},
        {
            "type": "branch",
            "config": {
                "cases": [
                    {
                        "if": "{{ webhook.body.amount > 5 }}",
                        "actions": [
                            {"type": "log", "config": {"message": "x"}, "on_error": {"goto": "z"}},
                            {"key": "z", "type": "log", "timeout_seconds": 5},
                        ],
                    }
                ],
                "default": [{"type": "log"}],
            },
        },
        {
            "key": "crm",
            "type": "http_request",
            "needs": ["save"],
            "retry": {"max_attempts": 5, "retry_on": ["timeout", 409, "5xx"]},
            "config": {"url": "https://x/{{ actions.save.output.id }}"},
        },
    ],
    "input_schema": {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "number"}}},
    "output": {"id": "{{ actions.save.output.id }}"},
    "timeout_seconds": 3600,
}


def accepted(raw: Any) -> Definition:
    definition, faults = validate_definition(raw, TYPES)
    assert faults == []
    assert definition is not None
    return definition


def faults_of(raw: Any) -> list[Fault]:
    definition, faults = validate_definition(raw, TYPES)
    assert definition is None
    assert faults
    return faults


def test_a_good_definition() -> None:
    definition = accepted(GOOD)
    assert [trigger.key for trigger in definition.triggers] == ["paid", "trigger_1", "deal"]
    assert [(path, action.key, nested) for path, action, nested in walk_actions(definition)] == [
        ("actions[0]", "save", False),
        ("actions[1]", "action_1", False),
        ("actions[1].config.cases[0].actions[0]", "action_2", True),
        ("actions[1].config.cases[0].actions[1]", "z", True),
        ("actions[1].config.default[0]", "action_4", True),
        ("actions[2]", "crm", False),
    ]
    assert parse_branch(definition.actions[1].config).cases[0].actions[0].on_error == "goto:z"
    assert definition.actions[2].needs == ("save",)


def test_typed_configs_of_triggers() -> None:
    webhook, schedule, event = accepted(GOOD).triggers
    assert webhook_config(webhook).auth == HmacAuth("s3cret-s3cret")
    assert webhook_config(webhook).max_bytes == 1_048_576
    assert schedule_config(schedule).timezone == "America/New_York"
    assert event_config(event).event == "deal_created"


def test_a_definition_survives_json_and_validates_to_itself() -> None:
    definition = accepted(GOOD)
    encoded = msgspec.json.encode(definition)
    assert msgspec.json.decode(encoded, type=Definition) == definition
    assert accepted(json.loads(encoded)) == definition
    assert accepted(msgspec.to_builtins(definition)) == definition


def test_validation_leaves_its_input_alone() -> None:
    raw = copy.deepcopy(GOOD)
    accepted(raw)
    assert raw == GOOD


def test_generated_keys_avoid_given_ones() -> None:
    definition = accepted(
        {"name": "n", "actions": [{"type": "log"}, {"key": "action_0", "type": "log"}, {"type": "log"}]}
    )
    assert [action.key for action in definition.actions] == ["action_1", "action_0", "action_2"]


def _changed(path: list[Any], value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(GOOD)
    target: Any = raw
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return raw


NESTED: list[Any] = ["actions", 1, "config", "cases", 0, "actions", 0]


CASES: list[tuple[list[Any], Any, str]] = [
    (["name"], "", "name"),
    (["name"], 5, "name"),
    (["colour"], 5, "colour"),
    (["tags", 0], 5, "tags[0]"),
    (["enabled"], "yes", "enabled"),
    (["timeout_seconds"], -1, "timeout_seconds"),
    (["triggers"], {}, "triggers"),
    (["triggers", 0], 5, "triggers[0]"),
    (["triggers", 0, "key"], "a b", "triggers[0].key"),
    (["triggers", 2, "key"], "paid", "triggers[2].key"),
    (["triggers", 0, "type"], "cron", "triggers[0].type"),
    (["triggers", 0, "config"], [], "triggers[0].config"),
    (["triggers", 0, "config", "auth"], {"type": "magic"}, "triggers[0].config.auth.type"),
    (["triggers", 0, "config", "auth"], "none", "triggers[0].config.auth"),
    (["triggers", 0, "config", "auth", "secret"], "short", "triggers[0].config.auth.secret"),
    (["triggers", 0, "config", "auth", "algorithm"], "md5", "triggers[0].config.auth.algorithm"),
    (["triggers", 0, "config", "auth", "signed_content"], "x", "triggers[0].config.auth.signed_content"),
    (["triggers", 0, "config", "auth", "header"], "a b", "triggers[0].config.auth.header"),
    (["triggers", 0, "config", "methods"], ["FETCH"], "triggers[0].config.methods[0]"),
    (["triggers", 0, "config", "rate"], "often", "triggers[0].config.rate"),
    (["triggers", 0, "config", "networks"], ["10.0.0.0/8", "10.0.0.0/99"], "triggers[0].config.networks[1]"),
    (["triggers", 0, "config", "origins"], ["https://a.example/path"], "triggers[0].config.origins[0]"),
    (["triggers", 0, "config", "content_types"], ["json"], "triggers[0].config.content_types[0]"),
    (["triggers", 0, "config", "dedupe_key"], "constant", "triggers[0].config.dedupe_key"),
    (["triggers", 0, "config", "dedupe_key"], "{{ secrets.A }}", "triggers[0].config.dedupe_key"),
    (["triggers", 0, "config", "transform"], {"a": "{{ boddy }}"}, "triggers[0].config.transform.a"),
    (["triggers", 0, "config", "event"], "{{ 1 + }}", "triggers[0].config.event"),
    (["triggers", 0, "config", "response"], {"mode": "later"}, "triggers[0].config.response.mode"),
    (["triggers", 0, "config", "response"], {"timeout_seconds": 61}, "triggers[0].config.response.timeout_seconds"),
    (["triggers", 0, "config", "response"], {"mode": "sync", "status": 200}, "triggers[0].config.response.status"),
    (
        ["triggers", 0, "config", "response"],
        {"headers": {"Upgrade": "x"}},
        "triggers[0].config.response.headers.Upgrade",
    ),
    (["triggers", 0, "conditions", 0, "operator"], "gt", "triggers[0].conditions[0].operator"),
    (["triggers", 1, "config", "expression"], "x", "triggers[1].config.expression"),
    (["triggers", 1, "config", "timezone"], "Mars", "triggers[1].config.timezone"),
    (["triggers", 2, "config"], {}, "triggers[2].config.event"),
    (["actions"], "none", "actions"),
    (["actions", 0], None, "actions[0]"),
    (["actions", 0, "key"], "1a", "actions[0].key"),
    (["actions", 2, "key"], "save", "actions[2].key"),
    (["actions", 0, "type"], "lgo", "actions[0].type"),
    (["actions", 0, "config"], 5, "actions[0].config"),
    (["actions", 0, "if"], 5, "actions[0].if"),
    (["actions", 0, "if"], "{{ 1 + }}", "actions[0].if"),
    (["actions", 0, "config", "deep"], [{"x": "{{ nope( }}"}], "actions[0].config.deep[0].x"),
    (["actions", 0, "config", "message"], "{{ actions.svae.output }}", "actions[0].config.message"),
    (
        ["actions", 0, "conditions"],
        [{"field": "actions.nope.status", "operator": "exists"}],
        "actions[0].conditions[0].field",
    ),
    (["actions", 0, "delay_seconds"], 367 * 86_400, "actions[0].delay_seconds"),
    (["actions", 0, "timeout_seconds"], 3601, "actions[0].timeout_seconds"),
    (["actions", 0, "retry"], {"max_attempts": 51}, "actions[0].retry.max_attempts"),
    (["actions", 0, "retry"], {"backof": "fixed"}, "actions[0].retry.backof"),
    (["actions", 0, "retry"], {"retry_on": [99]}, "actions[0].retry.retry_on[0]"),
    (["actions", 0, "on_error"], "ignore", "actions[0].on_error"),
    (["actions", 0, "on_error"], {"goto": "z"}, "actions[0].on_error"),
    (["actions", 2, "on_error"], "goto:save", "actions[2].on_error"),
    (["actions", 2, "needs"], ["nope"], "actions[2].needs[0]"),
    (["actions", 2, "needs"], ["crm"], "actions[2].needs[0]"),
    (["actions", 2, "needs"], ["z"], "actions[2].needs[0]"),
    (["actions", 0, "needs"], ["crm"], "actions[0].needs[0]"),
    (["actions", 1, "config", "cases"], [], "actions[1].config.cases"),
    (["actions", 1, "config", "case"], [], "actions[1].config.case"),
    (["actions", 1, "config", "default"], {}, "actions[1].config.default"),
    (["actions", 1, "config", "cases", 0, "if"], None, "actions[1].config.cases[0]"),
    ([*NESTED, "key"], "save", "actions[1].config.cases[0].actions[0].key"),
    ([*NESTED, "key"], "a-b", "actions[1].config.cases[0].actions[0].key"),
    ([*NESTED, "type"], "x", "actions[1].config.cases[0].actions[0].type"),
    ([*NESTED, "config", "message"], "{{", "actions[1].config.cases[0].actions[0].config.message"),
    (["input_schema"], {"type": "objet"}, "input_schema"),
    (["input_schema"], {"$ref": "file:///etc/passwd"}, "input_schema"),
    (["input_schema"], {"$ref": "http://127.0.0.1/x"}, "input_schema"),
    (["input_schema"], {"$id": "http://127.0.0.1/", "$ref": "x"}, "input_schema"),
    (["input_schema"], {"pattern": "(?=a)b"}, "input_schema"),
    (["input_schema"], {"enum": ["x" * 70_000]}, "input_schema"),
    (["input_schema"], {"allOf": [{}] * 600}, "input_schema"),
    (["output_schema"], "object", "output_schema"),
    (["output"], ["{{ nope( }}"], "output[0]"),
    (["concurrency"], "one", "concurrency"),
    (["concurrency"], {"keys": "a"}, "concurrency.keys"),
    (["concurrency"], {"key": 5}, "concurrency.key"),
    (["concurrency"], {"key": "{{ nope( }}"}, "concurrency.key"),
    (["concurrency"], {"limit": 0}, "concurrency.limit"),
    (["concurrency"], {"limit": 1001}, "concurrency.limit"),
    (["concurrency"], {"policy": "wait"}, "concurrency.policy"),
    (["on_failure"], 5, "on_failure"),
    (["on_failure"], "", "on_failure"),
    (["on_failure"], "Payments", "on_failure"),
    (["actions", 0, "on_unknown"], "guess", "actions[0].on_unknown"),
    (["actions", 0, "on_unknown"], "ask", "actions[0].on_unknown"),
    (["description"], "a\0b", "description"),
    (["output"], 2**70, "output"),
    (["output"], float("inf"), "output"),
]


@pytest.mark.parametrize(("path", "value", "fault"), CASES)
def test_a_fault_is_found_at_its_path(path: list[Any], value: Any, fault: str) -> None:
    assert fault in [found.path for found in faults_of(_changed(path, value))]


def test_every_fault_is_named_not_the_first() -> None:
    raw: dict[str, Any] = {
        "name": 5,
        "nam": 1,
        "triggers": [{}, 5],
        "actions": [{"type": "x"}, {"key": "?", "retry": 5, "type": "log"}],
    }
    assert {fault.path for fault in faults_of(raw)} == {
        "name", "nam", "triggers[0].type", "triggers[1]", "actions[0].type", "actions[1].key", "actions[1].retry",
    }  # fmt: skip


def test_a_cycle_is_called_one() -> None:
    actions = [{"key": "a", "type": "log", "needs": ["b"]}, {"key": "b", "type": "log", "needs": ["a"]}]
    assert "cycle" in faults_of({"name": "n", "actions": actions})[0].message


def test_the_check_of_an_action_type_is_asked() -> None:
    def picky(config: dict[str, Any], path: str) -> list[Fault]:
        return [Fault(f"{path}.url", "is required")] if "url" not in config else []

    raw = {"name": "n", "actions": [{"type": "call"}, {"type": "call", "config": {"url": "x"}}]}
    assert validate_definition(raw, {"call": picky})[1] == [Fault("actions[0].config.url", "is required")]


def test_unknown_names_are_faults_where_no_data_can_bring_them() -> None:
    actions = [{"type": "log", "config": {"message": "{{ deal_title }}"}}]
    hook = [{"type": "webhook"}]
    assert "deal_title" in faults_of({"name": "n", "triggers": hook, "actions": actions})[0].message
    accepted({"name": "n", "triggers": [*hook, {"type": "event", "config": {"event": "e"}}], "actions": actions})
    accepted({"name": "n", "triggers": hook, "actions": actions, "input_schema": {"properties": {"deal_title": {}}}})
    accepted({"name": "n", "actions": actions})


def test_size_depth_and_number_are_bounded() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    assert "nested deeper" in faults_of({"name": "n", "output": deep})[0].message
    assert "larger than" in faults_of({"name": "n", "output": "x" * 600_000})[0].message
    assert "at most 500 actions" in faults_of({"name": "n", "actions": [{"type": "log"}] * 501})[0].message
    assert len(faults_of({"name": "n", "actions": [{"type": "x", "key": "?"}] * 500})) == 500


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)
keys = st.sampled_from(["a", "b", "c", "", "1"])
texts = st.sampled_from(["{{ input.x }}", "{{", "x", "{{ actions.a.output }}", "${1+}"])


def mostly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(good, good, good, scalars)


def actions(depth: int) -> st.SearchStrategy[Any]:
    config: st.SearchStrategy[Any] = st.dictionaries(
        st.sampled_from(["url", "message", "cases"]), json_values | texts, max_size=2
    )
    if depth:
        case = st.fixed_dictionaries({"if": mostly(texts), "actions": actions(depth - 1)})
        config |= st.fixed_dictionaries(
            {"cases": mostly(st.lists(case, max_size=2))}, optional={"default": actions(depth - 1)}
        )
    action = st.fixed_dictionaries(
        {"type": mostly(st.sampled_from(["log", "branch", "http_request"]))},
        optional={
            "key": mostly(keys),
            "config": mostly(config),
            "if": mostly(texts),
            "needs": mostly(st.lists(keys, max_size=2)),
            "on_error": mostly(st.sampled_from(["stop", "continue", "goto:b", {"goto": "c"}])),
            "retry": mostly(st.fixed_dictionaries({"max_attempts": st.integers(0, 60)})),
            "timeout_seconds": mostly(st.integers(1, 10)),
            "conditions": json_values,
        },
    )
    return mostly(st.lists(mostly(action), max_size=3))


definitions = st.fixed_dictionaries(
    {"name": mostly(st.just("n"))},
    optional={
        "actions": actions(1),
        "triggers": mostly(
            st.lists(
                mostly(
                    st.fixed_dictionaries(
                        {"type": st.sampled_from(["manual", "webhook", "schedule", "event"])},
                        optional={"config": json_values, "key": keys},
                    )
                ),
                max_size=2,
            )
        ),
        "output": json_values | texts,
        "input_schema": json_values,
        "tags": json_values,
        "concurrency": json_values,
    },
)


@given(json_values | definitions)
def test_any_json_gives_faults_or_a_definition_that_round_trips(raw: Any) -> None:
    definition, faults = validate_definition(raw, TYPES)
    assert (definition is None) == bool(faults)
    assert all(fault.message for fault in faults)
    if definition is not None:
        encoded = msgspec.json.encode(definition)
        assert msgspec.json.decode(encoded, type=Definition) == definition
        assert validate_definition(json.loads(encoded), TYPES) == (definition, [])
