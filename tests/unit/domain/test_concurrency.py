"""The concurrency of a definition: what is accepted, what its key may name, and the text that a key becomes."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.concurrency import MAX_KEY, compile_key, skipped
from libs.common.domain.template_error import TemplateError
from libs.common.domain.validation import no_faults, validate_definition
from libs.common.domain.workflow import Concurrency, Definition
from libs.common.errors import Fault

TYPES = {"log": no_faults, "http_request": no_faults}


def read(**more: Any) -> tuple[Definition | None, list[Fault]]:
    action = {"key": "save", "type": "log"}
    return validate_definition({"name": "n", "actions": [action], **more}, TYPES)


def key_of(key: str | None, **scope: Any) -> str:
    return compile_key(Concurrency(key))(scope)


def test_what_is_left_out_has_its_default() -> None:
    definition, faults = read(concurrency={})
    assert faults == []
    assert definition is not None
    assert definition.concurrency == Concurrency(None, 1, "queue")
    absent, _ = read(concurrency=None)
    assert absent is not None
    assert absent.concurrency is None


@pytest.mark.parametrize(
    "given",
    [{}, {"key": "{{ input.id }}-{{ workflow.id }}", "limit": 1000, "policy": "cancel_running"}, {"policy": "skip"}],
)
def test_it_survives_json(given: dict[str, Any]) -> None:
    definition, _ = read(concurrency=given, on_failure="Alarm")
    encoded = msgspec.json.encode(definition)
    assert msgspec.json.decode(encoded, type=Definition) == definition
    assert json.loads(encoded)["concurrency"] == given
    assert json.loads(encoded)["on_failure"] == "Alarm"


def test_every_fault_is_named() -> None:
    _, faults = read(concurrency={"key": "{{ 1 + }}", "limit": "two", "policy": 3, "polcy": "skip"})
    assert {fault.path for fault in faults} == {
        "concurrency.key", "concurrency.limit", "concurrency.policy", "concurrency.polcy",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("{{ secrets.TOKEN }}", "in the open"),
        ("a {{ actions.save.output }}", "before the first action"),
        ("{{ action_0_result.id }}", "before the first action"),
        ("{{ vars.total }}", "variables"),
        ("{{ actions.none.output }}", "no action"),
    ],
)
def test_a_key_names_only_what_there_is_before_the_first_action(key: str, why: str) -> None:
    _, faults = read(concurrency={"key": key})
    assert [fault.path for fault in faults] == ["concurrency.key"]
    assert why in faults[0].message


@pytest.mark.parametrize(("kind", "is_right"), [("http_request", True), ("log", False)])
def test_only_an_effect_can_be_asked_about(kind: str, is_right: bool) -> None:
    _, faults = read(actions=[{"key": "a", "type": kind, "on_unknown": "ask"}])
    assert [fault.path for fault in faults] == ([] if is_right else ["actions[0].on_unknown"])


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (None, 1, ""), ("all", 1, "all"), ("{{ id }}", "a", "a"), ("{{ id }}", 5, "5"), ("{{ id }}", 5.0, "5"),
        ("{{ id }}", None, ""), ("{{ id }}", True, "true"), ("{{ id }}", ["a", 1], '["a",1]'),
        ("c-{{ id }}", "ß", "c-ß"), ("{{ id }}", datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
    ],
)  # fmt: skip
def test_a_key_is_a_text(key: str | None, value: Any, text: str) -> None:
    assert key_of(key, id=value) == text


def test_an_unknown_name_is_an_error_that_names_it() -> None:
    with pytest.raises(TemplateError, match="nobody"):
        key_of("{{ nobody.id }}", id=1)


@given(st.text(max_size=600), st.text(max_size=600))
def test_any_text_makes_a_key_that_can_be_stored_and_others_make_other_keys(one: str, other: str) -> None:
    first, second = key_of("{{ id }}", id=one), key_of("{{ id }}", id=other)
    assert (first == second) == (one == other)
    assert len(first) <= MAX_KEY
    assert "\0" not in first
    first.encode()


def test_a_long_key_keeps_its_beginning() -> None:
    first, second = (key_of("{{ id }}", id="x" * 300 + end) for end in "ab")
    assert first != second
    assert first.startswith("x" * 100)


def test_a_skipped_run_says_who_holds_the_place() -> None:
    holder = uuid4()
    assert skipped(holder).error_class == "concurrency_skipped"
    assert str(holder) in skipped(holder).message
    assert "another" in skipped(None).message
